package shard

import (
	"slices"
	"sync"
)

// lending keeps what this node promised to primaries: until when it opens no
// claim in their place, but for the slots in which it tries to. It has a lock
// of its own, so that a heartbeat is answered however long the Core is busy.
type lending struct {
	mu    sync.Mutex // guards all below
	until map[NodeID]int64
	// against holds the slots in which this node tries to succeed, or has
	// succeeded, a primary that was not asked and does not know yet: until
	// it does, leases lent to it leave these out. The value is when what was
	// lent before runs out.
	against map[NodeID]map[uint16]int64
	off     bool // leaves nothing out: a rule switched off in tests
}

func newLending(off bool) *lending {
	return &lending{until: map[NodeID]int64{}, against: map[NodeID]map[uint16]int64{}, off: off}
}

// lend promises primary a lease until the given time, and returns for which
// slots not, in order.
func (l *lending) lend(primary NodeID, until int64) (except []uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until[primary] = max(l.until[primary], until)
	if l.off {
		return nil
	}
	for slot := range l.against[primary] {
		except = append(except, slot)
	}
	slices.Sort(except)
	return except
}

// lentUntil is when the last promise to primary runs out.
func (l *lending) lentUntil(primary NodeID) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until[primary]
}

// oppose leaves slot out of what is lent to primary until release, and returns
// when what was lent before runs out.
func (l *lending) oppose(primary NodeID, slot uint16) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	slots := l.against[primary]
	if slots == nil {
		slots = map[uint16]int64{}
		l.against[primary] = slots
	}
	if _, already := slots[slot]; !already {
		slots[slot] = l.until[primary]
	}
	return slots[slot]
}

// release ends oppose.
func (l *lending) release(primary NodeID, slot uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.against[primary], slot); len(l.against[primary]) == 0 {
		delete(l.against, primary)
	}
}

// forget drops what was lent to nodes that are none any more; it spares those
// with slots left out.
func (l *lending) forget(ids map[NodeID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range ids {
		if len(l.against[id]) == 0 {
			delete(l.until, id)
		}
	}
}
