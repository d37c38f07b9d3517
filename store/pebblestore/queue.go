package pebblestore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/slotmesh/slotmesh/store"
)

// queue holds what is applied to memory and not yet written to disk, in order,
// as a list of units. Writers add to the last one, the flusher takes the first.
//
// The alternative was a set of dirty addresses, whose records are looked up
// when they are flushed: a record that is overwritten often would be written
// once. But then a flush is no prefix of a slot's history, unless it copies
// the slot's state under its lock.
type queue struct {
	*parking
	db    *pebble.DB
	max   int64         // dirty bytes from which on writers wait
	flush int64         // bytes of a unit that are worth a flush
	age   time.Duration // 0: flush at once
	kick  chan struct{} // capacity 1: there is work
	full  atomic.Bool   // dirty is near its maximum: see Jammed
	timer *time.Timer   // kicks when the oldest write is age old

	mu      sync.Mutex // guards all below
	room    sync.Cond  // dirty fell, or the engine is parked or closed
	units   []*unit    // the first one may be with the flusher
	taken   bool       // it is
	due     int        // so many of the first ones are to be written; the others still grow
	dirty   int64
	closing bool
}

// unit is what one flush writes: one batch, and work that follows it.
type unit struct {
	batch *pebble.Batch
	bytes int64
	sync  bool // even where the engine runs without fsync
	slots map[uint16]*span
	after func() error  // work that follows the batch and ends the unit
	metas []func()      // run once it is written: memory has meta values in the order of the disk
	done  chan struct{} // closed once it is written

	key, value []byte // scratch
}

// span is what a unit has of one slot.
type span struct {
	slot    *slot
	lo, hi  uint64   // versions of the records written; hi 0: none
	mark    uint64   // highest version that is the slot's once it is written
	dropped bool     // first of all
	moves   []func() // run once it is written
}

func newQueue(p *parking, db *pebble.DB, max, flush int64, age time.Duration) *queue {
	q := &queue{parking: p, db: db, max: max, flush: flush, age: age, kick: make(chan struct{}, 1)}
	q.room.L = &q.mu
	q.timer = time.AfterFunc(time.Hour, q.press)
	q.timer.Stop()
	p.mu.Lock()
	p.onPark = func() { q.mu.Lock(); q.room.Broadcast(); q.mu.Unlock() }
	p.mu.Unlock()
	return q
}

// press has the flusher write all that is in the queue now.
func (q *queue) press() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pressLocked()
}

func (q *queue) pressLocked() {
	q.due = len(q.units)
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// refusalLocked says why nothing can be added.
func (q *queue) refusalLocked() error {
	if q.closing {
		return store.ErrClosed
	}
	return q.reason()
}

// wait returns when there is room for a write. So dirty bytes are above the
// maximum by at most one write of each writer.
func (q *queue) wait() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if err := q.refusalLocked(); err != nil {
			return err
		}
		if q.dirty < q.max {
			return nil
		}
		q.pressLocked()
		q.room.Wait()
	}
}

// add calls fn with the unit that a write belongs to. What fn puts into it is
// flushed at once or not at all.
func (q *queue) add(fn func(*unit)) (*unit, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusalLocked(); err != nil {
		return nil, err
	}
	u := q.lastLocked()
	before := u.batch.Len()
	fn(u)
	n := int64(u.batch.Len() - before)
	u.bytes += n
	q.dirty += n
	q.full.Store(q.dirty >= q.max-q.max/8)
	switch {
	case q.age == 0 || u.bytes >= q.flush || u.after != nil || u.metas != nil || u.sync:
		q.pressLocked()
	case u.bytes == n:
		q.timer.Reset(q.age)
	}
	return u, nil
}

// lastLocked returns the unit that can be added to.
func (q *queue) lastLocked() *unit {
	if n := len(q.units); n > 1 || n == 1 && !q.taken {
		if u := q.units[n-1]; u.after == nil {
			return u
		}
	}
	u := &unit{batch: q.db.NewBatch(), slots: map[uint16]*span{}, done: make(chan struct{})}
	q.units = append(q.units, u)
	return u
}

// take returns the first unit that is due, nil if none is: what came while the one
// before it was written waits for more, as that did.
func (q *queue) take() *unit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.due == 0 {
		return nil
	}
	q.taken = true
	return q.units[0]
}

// finish is told that the unit taken is written.
func (q *queue) finish(u *unit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.units, q.due = q.units[1:], q.due-1
	q.taken = false
	q.dirty -= u.bytes
	q.full.Store(q.dirty >= q.max-q.max/8)
	close(u.done)
	q.room.Broadcast()
}

// last returns the newest unit that is not written; nil: there is none.
func (q *queue) last() *unit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.units) == 0 {
		return nil
	}
	return q.units[len(q.units)-1]
}

// drain flushes and returns when all that is in the queue now is written.
func (q *queue) drain() error {
	u := q.last()
	if u == nil {
		return nil
	}
	q.press()
	return q.await(u)
}

// await returns when a unit is written.
func (q *queue) await(u *unit) error {
	select {
	case <-u.done:
		return nil
	case <-q.parked:
		return q.reason()
	}
}

// clean reports whether a version of a slot's record is on disk if it is
// applied: a version in the queue stands for all between the lowest and the
// highest there.
func (q *queue) clean(slot uint16, version uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, u := range q.units {
		if sp := u.slots[slot]; sp != nil && sp.hi != 0 && sp.lo <= version && version <= sp.hi {
			return false
		}
	}
	return true
}

// close lets nothing more in.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	q.room.Broadcast()
	q.timer.Stop()
	q.pressLocked()
}

func (q *queue) dirtyBytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dirty
}

// span returns the unit's span of a slot.
func (u *unit) span(n uint16, sl *slot) *span {
	sp := u.slots[n]
	if sp == nil {
		sp = &span{slot: sl}
		u.slots[n] = sp
	}
	return sp
}

// A batch reports errors of its use alone, which there are none of here.

func (u *unit) set(key, value []byte)      { _ = u.batch.Set(key, value, nil) }
func (u *unit) delete(key []byte)          { _ = u.batch.Delete(key, nil) }
func (u *unit) deletePrefix(prefix []byte) { _ = u.batch.DeleteRange(prefix, after(prefix), nil) }

func (u *unit) setRecord(slot uint16, gen generation, r *store.Record) {
	u.key = dataKey(u.key[:0], slot, gen, r.Kind, r.Key, r.Field)
	u.value = appendRecord(u.value[:0], r)
	u.set(u.key, u.value)
	if cap(u.value) > 1<<20 {
		u.value = nil
	}
}

// wrote notes a record.
func (sp *span) wrote(version uint64) {
	if sp.hi == 0 || version < sp.lo {
		sp.lo = version
	}
	sp.hi = max(sp.hi, version)
}

// structure notes a change of the slot's generations: until the unit is
// written, what memory has may lie elsewhere on disk.
func (sp *span) structure(fn func()) {
	sp.slot.busy.Add(1)
	sp.moves = append(sp.moves, fn)
}
