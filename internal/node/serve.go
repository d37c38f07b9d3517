package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Outcomes inside a node that are not the caller's: the router acts on them.
var (
	errMoved  = errors.New("slot is served by another node")
	errNotYet = errors.New("slot is not open yet") // and nothing happened
	errAsk    = errors.New("slot is being handed over")
	errRepeat = errors.New("write was given a version under a claim that ended")

	errAnswerLost = fmt.Errorf("answer lost: %w: %w", ErrOverloaded, errRepeat)
)

// licensed reports whether sv's leases are held now. The caller's call came
// in before.
func (n *Node) licensed(sv *serving, now time.Time) bool {
	return !sv.gathering && sv.held(sv.claim.Slot, int64(now.Sub(n.start)), now.UnixNano())
}

// openLocked returns what an open slot is served under; otherwise it unlocks the slot
// and says where the call goes.
func (n *Node) openLocked(s *slot) (*serving, error) {
	sv := s.serving.Load()
	if sv == nil || sv.gathering {
		s.mu.Unlock()
		return nil, n.notServing(s)
	}
	return sv, nil
}

// leasedLocked is openLocked for calls that need the leases whatever they find.
func (n *Node) leasedLocked(s *slot, now time.Time) (*serving, error) {
	sv, err := n.openLocked(s)
	if err == nil && !n.licensed(sv, now) {
		s.mu.Unlock()
		n.stats.leaseRefusals.Add(1)
		return nil, errNotYet
	}
	return sv, err
}

func (l *licence) held(slot uint16, mono, wall int64) bool {
	for _, p := range l.lenders {
		if !p.lends(slot, mono, wall) {
			return false
		}
	}
	if l.needed > 0 {
		have := 0
		for _, p := range l.voters {
			if p.lends(slot, mono, wall) {
				have++
			}
		}
		return have >= l.needed
	}
	return true
}

// slotTime is the clock that expiry goes by: it never runs back on a node,
// and a promoted node starts from what its predecessor announced.
func (n *Node) slotTime(now time.Time) int64 { return max(now.UnixMilli(), n.clock.Load()) }

// read answers Get and Peek from this node's own copy. It is on the hot path:
// one atomic load, a clock read, the leases, a store access. wait is not 0
// where the answer depends on a write not yet acknowledged: once that is, the
// answer stands, since at that moment no later write was. began is for looked.
func (n *Node) read(c *Call, r *Result) (wait uint64, began int64, err error) {
	f := &n.fronts[c.Slot]
	shuts, l := f.shuts.Load(), f.licence.Load()
	if l == nil {
		return 0, 0, n.notServing(&n.slots[c.Slot])
	}
	now := n.env.Now()
	began = int64(now.Sub(n.start))
	if !l.held(c.Slot, began, now.UnixNano()) {
		n.stats.leaseRefusals.Add(1)
		return 0, 0, errNotYet
	}
	var dst []byte
	var scratch *[]byte
	if c.Op == transport.OpGet {
		dst = c.Value
	} else { // the value is not wanted, but the engine appends it somewhere
		scratch = scratches.Get().(*[]byte)
		dst = (*scratch)[:0]
	}
	it, err := n.engine.Get(dst, c.Slot, c.Kind, c.Key, c.Field, n.slotTime(now))
	if err == nil && it.State == store.NotResident {
		it, err = n.engine.Fetch(dst, c.Slot, c.Kind, c.Key, c.Field, n.slotTime(now))
		if took := time.Duration(n.now() - began); n.tooLong(c.Op, took) {
			n.slowCall(c.Op, c.Slot, &trip{}, took, err)
		}
	}
	if scratch != nil {
		if cap(it.Value) > cap(*scratch) && cap(it.Value) <= maxScratch {
			*scratch = it.Value
		}
		scratches.Put(scratch)
	}
	if err != nil {
		return 0, 0, engineError(err)
	}
	pending := it.Version > f.acked.Load()
	if f.licence.Load() == nil || f.shuts.Load() != shuts { // the records may have been another generation's
		return 0, 0, errNotYet
	}
	r.Found = it.State == store.Found && it.Schema&SchemaAbsent == 0
	r.Version, r.Expiry, r.Schema = 0, 0, 0
	if r.Found {
		r.Version, r.Expiry, r.Schema = it.Version, it.Expiry, it.Schema
		if it.Expiry > 0 {
			r.Int = max(it.Expiry-n.slotTime(now), 1)
		}
		if c.Op == transport.OpGet {
			r.Value = it.Value
		}
	} else {
		r.Schema = it.Schema & SchemaAbsent // a miss that is known to be one
	}
	if pending && !n.cfg.Off.Gate {
		return it.Version, began, nil
	}
	return 0, began, nil
}

// lookHere is read for this node's own callers, where it can answer at once.
// Whose slot it is instead, or what it has to wait for, is not asked.
func (n *Node) lookHere(c *Call, r *Result) bool {
	if n.fronts[c.Slot].licence.Load() == nil {
		return false
	}
	wait, began, err := n.read(c, r)
	if err != nil || wait != 0 {
		return false
	}
	n.looked(SourceLocal, c, r.Found, began)
	r.Local = true
	return true
}

const maxScratch = 64 << 10

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// notServing says where a call for a slot that is not served here goes.
func (n *Node) notServing(s *slot) error {
	if n.closing.Load() {
		return ErrClosed
	}
	cl := n.table.Load().Claim(s.no)
	if cl == nil || cl.Primary == n.id {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.view.Handover.IsZero() {
			return errAsk
		}
		return errNotYet
	}
	return errMoved
}

// isRead reports whether a call never gets a version of its caller's, and so
// may be made again.
func isRead(op transport.Op) bool {
	return looks(op) || op == transport.OpScan || op == transport.OpExplain || parks(op)
}

// run runs a call on this node's own copy. done is called once, under no lock,
// perhaps before run returns and perhaps on another goroutine; r is filled by
// then. An error from run itself means that done is not called and nothing
// happened.
func (n *Node) run(c *Call, req *transport.Request, r *Result, done func(error)) error {
	switch {
	case looks(c.Op):
		wait, _, err := n.read(c, r)
		if err != nil {
			return err
		}
		if wait == 0 {
			done(nil)
			return nil
		}
		return n.readLater(c.Slot, wait, done)
	case isRead(c.Op):
		return n.visit(c, req, r, done)
	}
	return n.write(c, req, r, done)
}

// readLater calls done once the write that a read depends on is acknowledged.
// Where it may never be, the read is made again.
func (n *Node) readLater(slot uint16, version uint64, done func(error)) error {
	s := &n.slots[slot]
	s.mu.Lock()
	if s.serving.Load() == nil || version > s.last {
		s.mu.Unlock()
		return errNotYet
	}
	s.afterLocked(version, done)
	return nil
}

// afterLocked calls done once version is acknowledged, of a call that is made again
// where that may never be. It unlocks the slot.
func (s *slot) afterLocked(version uint64, done func(error)) {
	if version <= s.acked.Load() {
		s.mu.Unlock()
		done(nil)
		return
	}
	s.insertWaiterLocked(version, func(err error) {
		if err != nil {
			err = errNotYet
		}
		done(err)
	})
	s.mu.Unlock()
}

func (s *slot) insertWaiterLocked(version uint64, done func(error)) {
	i := len(s.waiters)
	for i > 0 && s.waiters[i-1].version > version {
		i--
	}
	s.waiters = append(s.waiters, waiter{})
	copy(s.waiters[i+1:], s.waiters[i:])
	s.waiters[i] = waiter{version: version, done: done}
}

// lookUp reads a record, from disk where memory has no more than its place.
func (n *Node) lookUp(dst []byte, slot uint16, kind uint8, key, field string, now int64) (store.Item, error) {
	it, err := n.engine.Get(dst, slot, kind, key, field, now)
	if err == nil && it.State == store.NotResident {
		return n.engine.Fetch(dst, slot, kind, key, field, now)
	}
	return it, err
}

// engineError turns an engine's error into one that callers know.
func engineError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNoMemory):
		return ErrNoMemory
	case errors.Is(err, store.ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, store.ErrClosed):
		return ErrClosed
	}
	return errors.Join(ErrDisk, err)
}
