package transport

import (
	"context"
	"runtime"
	"sync"
)

// outbox is a stream's outgoing queue. Senders encode into the batch being
// filled; one writer goroutine takes batch after batch and sends each as one
// message, so that whatever queues up during a send leaves together.
type outbox struct {
	pool  *pool
	limit int // bytes queued above which senders are refused

	mu     sync.Mutex // guards all below
	enc    *encoder   // its buf is the batch being filled
	cur    *[]byte    // where enc.buf came from, nil if enc.buf is
	full   []*[]byte  // batches before it
	seq    uint64     // of the batch being filled, from 1
	taken  uint64     // the last batch given to grpc
	queued int        // bytes not yet through grpc, the batch in its hands included
	acks   []AppendAck
	count  int  // messages since a batch was taken last
	crowd  int  // above 0: one of the last batches held more than one
	idle   bool // the writer waits for wake
	corked bool // the reader is at work: it wakes the writer when done
	closed bool
	wake   chan struct{} // capacity 1
	room   chan struct{} // closed when there is room again; nil if nobody waits
}

const (
	softBatch   = 64 << 10 // a batch this full is followed by another
	corkedBatch = 16 << 10 // so much is not held back by a cork
	crowdMemory = 16       // batches of one message until there is no crowd
	ackWindow   = 8        // so many pending acks are searched for the same slot
	maxAcks     = 512      // pending before they are encoded
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
	if n := len(o.enc.buf); n > 0 && n+size > softBatch {
		o.sealLocked()
	}
	if o.cur == nil {
		o.cur = o.pool.Get(size)
		o.enc.buf = *o.cur
	}
	return place{o, o.seq, len(o.enc.buf)}, nil
}

// unlock counts the message encoded since off and wakes the writer.
func (o *outbox) unlock(off int) {
	o.queued += len(o.enc.buf) - off
	o.count++
	wake := o.idle && (!o.corked || len(o.enc.buf) > corkedBatch)
	o.unlockWake(wake)
}

func (o *outbox) unlockWake(wake bool) {
	if wake {
		o.idle = false
	}
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{} // has room: idle is reset once per wake
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
	o.unlockWake(o.idle && !o.corked)
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
		if n := len(o.enc.buf); n > 0 && n+sizeAck > softBatch {
			o.sealLocked()
		}
		if o.cur == nil {
			o.cur = o.pool.Get(0)
			o.enc.buf = *o.cur
		}
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

// cork holds back the writer while a received batch is worked through, so
// that the answers to it leave together.
func (o *outbox) cork() {
	o.mu.Lock()
	o.corked = true
	o.mu.Unlock()
}

func (o *outbox) uncork() {
	o.mu.Lock()
	o.corked = false
	o.unlockWake(o.idle && !o.emptyLocked())
}

func (o *outbox) emptyLocked() bool {
	return len(o.full) == 0 && len(o.enc.buf) == 0 && len(o.acks) == 0
}

// write sends batches until o is closed or send fails.
func (o *outbox) write(send func(*batch) error) error {
	out := batch{pool: o.pool}
	for o.take(&out) {
		n := len(*out.data)
		if err := send(&out); err != nil {
			return err
		}
		o.sent(n)
	}
	return ErrNotSent
}

// take waits for the next batch; false means closed.
func (o *outbox) take(out *batch) bool {
	o.mu.Lock()
	for {
		if o.closed {
			o.mu.Unlock()
			return false
		}
		if !o.emptyLocked() {
			break
		}
		o.idle = true
		crowd := o.crowd > 0
		o.mu.Unlock()
		<-o.wake
		if crowd {
			// Let concurrent callers join. It would cost a lone caller a third
			// of its latency.
			runtime.Gosched()
		}
		o.mu.Lock()
	}
	o.flushAcksLocked()
	if len(o.full) > 0 {
		out.data, o.full = o.full[0], o.full[1:]
	} else {
		*o.cur = o.enc.buf
		out.data, o.cur, o.enc.buf = o.cur, nil, nil
		o.seq++
	}
	o.taken++
	if o.crowd--; o.count > 1 {
		o.crowd = crowdMemory
	}
	o.count = 0
	o.mu.Unlock()
	return true
}

// sent gives the room of n bytes back.
func (o *outbox) sent(n int) {
	o.mu.Lock()
	if !o.closed {
		o.queued -= n
	}
	if o.room != nil && o.queued < o.limit/2 {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

// close drops what is queued and ends the writer. It returns the last batch
// that may have left.
func (o *outbox) close() (taken uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.queued = true, 0
		o.full, o.cur, o.enc.buf, o.acks = nil, nil, nil, nil
		if o.room != nil {
			close(o.room)
			o.room = nil
		}
		if o.idle {
			o.idle = false
			o.wake <- struct{}{}
		}
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
