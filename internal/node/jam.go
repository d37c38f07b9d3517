package node

import (
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

// A disk may be behind, or hang: then the engine would wait for it before it takes a
// write. Who has read that from a connection holds up all that comes after it there, and
// must hold no slot's lock, so it asks first.

// jammer is an engine that may wait for a disk before it takes a write.
type jammer interface{ Jammed() bool }

// jamLook is how often it is looked whether a disk has caught up.
const jamLook = 5 * time.Millisecond

func (n *Node) jammed() bool { return n.jam != nil && n.jam.Jammed() }

// awaitDisk returns when the disk takes writes; false: the node closes.
func (n *Node) awaitDisk() bool {
	for n.jammed() {
		if !n.restOfJam() {
			return false
		}
	}
	return true
}

func (n *Node) restOfJam() bool {
	select {
	case <-time.After(jamLook):
		return true
	case <-n.stop:
		return false
	}
}

// diskTakes reports whether the disk takes writes. While it was behind for less than
// half of the ReplicationTimeout that is waited for, so that senders are held up too;
// after that what comes for other slots, and the answers to this node, have to get on.
func (n *Node) diskTakes() bool {
	for n.jammed() {
		now := max(n.now(), 1)
		if n.jammedAt.CompareAndSwap(0, now) {
			continue
		}
		if at := n.jammedAt.Load(); at > 0 && now-at > int64(n.cfg.ReplicationTimeout/2) || !n.restOfJam() {
			return false
		}
	}
	if n.jammedAt.Load() != 0 {
		n.jammedAt.Store(0)
	}
	return true
}

// askForMissed asks primaries, once the disk takes writes again, for what copies here
// could not take meanwhile. Primaries that this took too long have dropped the copy.
func (n *Node) askForMissed() {
	if !n.missed.Load() || n.jammed() {
		return
	}
	n.missed.Store(false)
	n.jammedAt.Store(0)
	for i := range n.slots {
		s := &n.slots[i]
		s.mu.Lock()
		if s.stream.missed {
			n.askLocked(s)
		}
		s.mu.Unlock()
	}
}

// askLocked asks a slot's primary for what follows what this copy has.
func (n *Node) askLocked(s *slot) {
	st := &s.stream
	st.missed = false
	if t := n.peer(st.primary).live(); t != nil {
		_ = t.SendAck(&transport.AppendAck{Slot: s.no, Epoch: st.epoch, Session: st.session, Version: st.pos, Gap: true})
	}
}
