package transport

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// outbox is a stream's outgoing queue. Senders encode into the batch being
// filled. Whoever finds nobody writing writes what is queued, batch by batch,
// where that needs no waiting; else, and where many send at a time, the writer
// goroutine does. What queues up during a write leaves together in the next.
type outbox struct {
	pool  *pool
	limit int // bytes queued above which senders are refused
	head  int // bytes left free at the start of each batch, for the sink
	sink  sink
	eager trier // the sink, if it can write without waiting; else nil
	fail  func(error)
	nudge func() // tells a send that waits that there is credit
	corks *corks // nil: messages leave at once

	mu     sync.Mutex // guards all below
	enc    *encoder   // its buf is the batch being filled
	cur    *[]byte    // where enc.buf came from, nil if enc.buf is
	full   []*[]byte  // batches before it
	first  []*[]byte  // batches before those, outside of seq; see hasten
	seq    uint64     // of the batch being filled, from 1
	taken  uint64     // the last batch given to the sink
	queued int        // bytes not yet through the sink, the batch in its hands included
	acks   []AppendAck
	count  int    // messages since a batch was taken last
	crowd  int    // above 0: one of the last batches held more than one
	hurry  int    // turns of the writer in which it does not yield
	credit int    // bytes received that the peer may send anew
	turn   turn   // whose it is to write
	begun  *batch // left to the writer goroutine half written
	held   bool   // waits for a cork to be pulled; guarded by corks.mu
	closed bool
	wake   chan struct{} // capacity 1
	room   chan struct{} // closed when there is room again; nil if nobody waits
}

// turn says who writes to the sink.
type turn uint8

const (
	nobodys turn = iota
	senders      // one of those who queue
	writers      // the writer goroutine, which is awake or being woken
)

// sink takes batches on their way. Calls come one at a time.
type sink interface {
	// send writes a batch, or what try left of it.
	send(b *batch, credit int) error
}

// trier is a sink that may not have to wait.
type trier interface {
	sink
	// try is send without waiting; done false leaves the batch to send.
	try(b *batch, credit int) (done bool, err error)
}

const (
	softBatch    = 64 << 10             // a batch this full is followed by another
	corkedBatch  = 16 << 10             // so much is not held back by a cork
	crowdMemory  = 16                   // batches of one message until there is no crowd
	loneCalls    = 1                    // so many calls at a time are no crowd
	eagerTurns   = 4                    // batches that a sender writes before it leaves the rest to the writer
	lateYield    = 2 * time.Millisecond // a yield this long met busy goroutines, not callers
	hurriedTurns = 64                   // after one, so many turns go without
	ackWindow    = 8                    // so many pending acks are searched for the same slot
	maxAcks      = 512                  // pending before they are encoded
)

// urgency tells answers and acks, which may not be lost, from requests and
// appends: they may use as much of the queue again.
type urgency bool

const (
	normal urgency = false
	urgent urgency = true
)

func newOutbox(self NodeID, p *pool, limit int) *outbox {
	return &outbox{pool: p, limit: limit, enc: newEncoder(self), seq: 1, wake: make(chan struct{}, 1)}
}

// place is where a message lies: its batch and its offset there.
type place struct {
	out *outbox
	seq uint64
	off int
}

// lock reserves room for a message of at most size bytes and returns where it
// will be; the caller then encodes and calls unlock. On an error nothing is
// locked.
func (o *outbox) lock(size int, u urgency) (place, error) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return place{}, ErrNotSent
	}
	if o.queued >= o.limit {
		if u == normal {
			o.mu.Unlock()
			return place{}, ErrOverloaded
		}
		if o.queued >= 2*o.limit {
			o.mu.Unlock()
			return place{}, ErrStalled
		}
	}
	o.roomLocked(size)
	return place{o, o.seq, len(o.enc.buf)}, nil
}

// roomLocked makes sure that there is a batch to be filled with size bytes.
func (o *outbox) roomLocked(size int) {
	if n := len(o.enc.buf); n > o.head && n+size > softBatch {
		o.sealLocked()
	}
	if o.cur == nil {
		o.cur = o.pool.Get(o.head + size)
		o.enc.buf = (*o.cur)[:o.head]
	}
}

// unlock counts the message encoded since off. A call's leaves at once, but
// for a crowd's, others' when the handlers that run are done.
func (o *outbox) unlock(off int) { o.unlockCall(off, 0) }

func (o *outbox) unlockCall(off, live int) {
	o.queued += len(o.enc.buf) - off
	o.count++
	large := len(o.enc.buf) > corkedBatch
	if live > loneCalls {
		o.crowd = max(o.crowd, 1)
	}
	if o.turn != nobodys {
		o.mu.Unlock()
		return
	}
	if live == 0 && !large && o.corks != nil {
		o.mu.Unlock()
		if !o.corks.hold(o) {
			o.kick(false)
		}
		return
	}
	o.startLocked(large || o.crowd > 0)
}

// kick sees to it that what is queued leaves.
func (o *outbox) kick(gathered bool) {
	o.mu.Lock()
	if o.turn != nobodys || o.closed || o.emptyLocked() {
		o.mu.Unlock()
		return
	}
	o.startLocked(o.crowd > 0 && !gathered)
}

// hasten queues a body that leaves before all that waits, in a batch of its own.
func (o *outbox) hasten(k kind, body []byte) error {
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return ErrNotSent
	case o.queued >= 2*o.limit:
		o.mu.Unlock()
		return ErrOverloaded
	}
	b, filling := o.pool.Get(o.head+len(body)+sizeAck), o.enc.buf
	o.enc.buf = (*b)[:o.head]
	o.enc.body(k, body)
	*b, o.enc.buf = o.enc.buf, filling
	o.first = append(o.first, b)
	o.queued += len(*b) - o.head
	if o.turn != nobodys {
		o.mu.Unlock()
		return nil
	}
	o.startLocked(false)
	return nil
}

// startLocked writes, or has the writer goroutine write, and unlocks.
func (o *outbox) startLocked(later bool) {
	if later || o.eager == nil {
		o.leaveLocked()
		return
	}
	o.turn = senders
	for range eagerTurns {
		out, credit := o.takeLocked()
		o.mu.Unlock()
		n := len(*out.data)
		done, err := o.eager.try(&out, credit)
		if err != nil {
			o.fail(err)
			return
		}
		o.mu.Lock()
		if !done && o.closed { // the writer may be gone: let go of what try holds
			o.mu.Unlock()
			_ = o.sink.send(&out, 0) // its connection is closed
			return
		}
		if !done {
			o.begun = &batch{data: out.data, pool: out.pool}
			break
		}
		o.sentLocked(n)
		if o.closed || o.emptyLocked() {
			o.turn = nobodys
			o.mu.Unlock()
			return
		}
	}
	o.leaveLocked()
}

// leaveLocked leaves what is queued to the writer goroutine, and unlocks.
func (o *outbox) leaveLocked() {
	o.turn = writers
	o.mu.Unlock()
	o.wakeWriter()
}

func (o *outbox) wakeWriter() {
	select {
	case o.wake <- struct{}{}:
	default: // it is about to look
	}
}

// sealLocked moves the batch being filled to those that are full.
func (o *outbox) sealLocked() {
	*o.cur = o.enc.buf
	o.full = append(o.full, o.cur)
	o.cur, o.enc.buf = nil, nil
	o.seq++
}

// ack queues a cumulative acknowledgement; a later one of the same slot,
// epoch and session replaces one that has not left.
func (o *outbox) ack(a *AppendAck) error {
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return ErrNotSent
	case o.queued >= 2*o.limit:
		o.mu.Unlock()
		return ErrStalled
	}
	if !o.mergeLocked(a) {
		if len(o.acks) >= maxAcks {
			o.flushAcksLocked()
		}
		o.acks = append(o.acks, *a)
	}
	busy := o.turn != nobodys
	o.mu.Unlock()
	if !busy && (o.corks == nil || !o.corks.hold(o)) {
		o.kick(false)
	}
	return nil
}

func (o *outbox) mergeLocked(a *AppendAck) bool {
	for i := len(o.acks) - 1; i >= 0 && i >= len(o.acks)-ackWindow; i-- {
		b := &o.acks[i]
		if b.Slot != a.Slot {
			continue
		}
		if b.Epoch != a.Epoch || b.Session != a.Session || b.Gap || b.Refused || b.Short != a.Short {
			return false
		}
		*b = *a
		return true
	}
	return false
}

func (o *outbox) flushAcksLocked() {
	for i := range o.acks {
		o.roomLocked(sizeAck)
		off := len(o.enc.buf)
		o.enc.ack(&o.acks[i])
		o.queued += len(o.enc.buf) - off
	}
	o.acks = o.acks[:0]
}

// withdraw makes a message void if it has not left; false means that it may
// have.
func (at place) withdraw() bool {
	o := at.out
	if o == nil { // it goes in pieces
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if at.seq <= o.taken || o.closed {
		return at.seq > o.taken
	}
	b := o.enc.buf
	if at.seq < o.seq {
		b = *o.full[at.seq-o.taken-1]
	}
	b[at.off+4] = byte(kindVoid)
	return true
}

func (o *outbox) emptyLocked() bool {
	return len(o.first) == 0 && len(o.full) == 0 && len(o.enc.buf) <= o.head && len(o.acks) == 0 && o.credit == 0
}

// allow lets the peer send n bytes more.
func (o *outbox) allow(n int) {
	o.mu.Lock()
	o.credit += n
	busy := o.turn != nobodys
	o.mu.Unlock()
	if busy {
		o.nudge()
		return
	}
	o.kick(true)
}

// takeCredit returns what the peer may send anew and was not told.
func (o *outbox) takeCredit() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.credit
	o.credit = 0
	return n
}

// write sends what is left to it until o is closed or sending fails.
func (o *outbox) write() error {
	var out batch
	for {
		credit, ok := o.take(&out)
		if !ok {
			return ErrNotSent
		}
		n := len(*out.data)
		if err := o.sink.send(&out, credit); err != nil {
			return err
		}
		o.mu.Lock()
		o.sentLocked(n)
		o.mu.Unlock()
	}
}

// take waits for the next batch left to the writer; false means closed.
func (o *outbox) take(out *batch) (credit int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if b := o.begun; b != nil {
			o.begun = nil
			*out = *b
			return 0, true
		}
		if o.closed {
			return 0, false
		}
		if o.turn == writers {
			if !o.emptyLocked() {
				*out, credit = o.takeLocked()
				return credit, true
			}
			o.turn = nobodys
		}
		o.mu.Unlock()
		<-o.wake
		o.mu.Lock()
		if o.crowd > 0 && o.begun == nil {
			// Let concurrent callers join. It would cost a lone caller a third
			// of its latency, and where the program's other goroutines use all
			// cores, every call a turn of each of those.
			if o.hurry > 0 {
				o.hurry--
				continue
			}
			o.mu.Unlock()
			began := time.Now()
			runtime.Gosched()
			if time.Since(began) > lateYield {
				o.hurry = hurriedTurns
			}
			o.mu.Lock()
		}
	}
}

// takeLocked takes the next batch, and the credit to go with it. The batch is
// empty where there is nothing else.
func (o *outbox) takeLocked() (out batch, credit int) {
	out.pool = o.pool
	if len(o.first) > 0 {
		out.data, o.first = o.first[0], o.first[1:]
		credit, o.credit = o.credit, 0
		return out, credit
	}
	o.flushAcksLocked()
	if len(o.full) > 0 {
		out.data, o.full = o.full[0], o.full[1:]
	} else {
		o.roomLocked(0)
		*o.cur = o.enc.buf
		out.data, o.cur, o.enc.buf = o.cur, nil, nil
		o.seq++
	}
	o.taken++
	if o.crowd--; o.count > 1 {
		o.crowd = crowdMemory
	}
	o.count = 0
	credit, o.credit = o.credit, 0
	return out, credit
}

// sentLocked gives the room of n bytes back.
func (o *outbox) sentLocked(n int) {
	if !o.closed {
		o.queued -= n - o.head
	}
	if o.room != nil && o.queued < o.limit/2 {
		close(o.room)
		o.room = nil
	}
}

// close drops what is queued and ends the writer. It returns the last batch
// that may have left.
func (o *outbox) close() (taken uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.queued = true, 0
		o.first, o.full, o.cur, o.enc.buf, o.acks = nil, nil, nil, nil, nil
		if o.room != nil {
			close(o.room)
			o.room = nil
		}
		o.wakeWriter()
	}
	return o.taken
}

// bytes returns how much is queued.
func (o *outbox) bytes() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued
}

// wait returns when there is room for more, ctx is done or o is closed.
func (o *outbox) wait(ctx context.Context) error {
	for {
		o.mu.Lock()
		switch {
		case o.closed:
			o.mu.Unlock()
			return ErrNotSent
		case o.queued < o.limit:
			o.mu.Unlock()
			return nil
		case o.room == nil:
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
