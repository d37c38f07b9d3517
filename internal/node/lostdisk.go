package node

import (
	"encoding/binary"
	"fmt"

	"github.com/slotmesh/slotmesh/shard"
)

// A node whose disk has failed, or is full, gives what it holds to others, as one
// that leaves does, but stays: its callers' calls go on, elsewhere. Until a slot has
// passed it answers reads, and writes wait. It is no backup any more, and asks the
// primaries of its copies to leave it out. It goes on to vote, as nodes without a disk
// do: after a start a node has a new ID, and what it promised before counts for nothing.

// loseDisk is called by the engine.
func (n *Node) loseDisk(cause error) {
	if n.lostDisk.CompareAndSwap(nil, &cause) {
		n.poke()
	}
}

// leaves reports whether this node gives its slots away.
func (n *Node) leaves() bool { return n.leaving.Load() || n.lostDisk.Load() != nil }

// tellLostDisk has the others know, once. Control loop only.
func (n *Node) tellLostDisk() {
	cause := n.lostDisk.Load()
	if cause == nil || n.lostDiskTold || !n.joined.Load() {
		return
	}
	n.lostDiskTold = true
	n.log.Error(eventLostDisk, "node", n.cfg.Name, "err", *cause)
	n.background(func() {
		if err := n.gossip.UpdateSelf(n.selfMember()); err != nil {
			n.log.Warn("cannot tell that this node's disk has failed", "err", err)
		}
	})
	copies := map[shard.NodeID][]byte{}
	for cl := range n.table.Load().All() {
		if cl.Primary == n.id || !cl.Holds(n.id) {
			continue
		}
		b := copies[cl.Primary]
		if b == nil {
			b = []byte{ctlForgo}
		}
		copies[cl.Primary] = binary.AppendUvarint(b, uint64(cl.Slot))
	}
	for id, b := range copies {
		n.sendControl(id, b)
	}
}

// onForgo drops a backup that can store no more, and makes it none again.
func (n *Node) onForgo(id shard.NodeID, f *fields) {
	n.peer(id).lostDisk.Store(true)
	for f.more() {
		if no := f.num(); !f.bad && no < shard.Slots {
			n.lose(uint16(no), id)
		}
	}
}

// lostDiskErr is the answer to a write that this node can't take: it is made again
// in a moment, elsewhere, if there is anybody else to hold the slot.
func (n *Node) lostDiskErr() error {
	if n.otherHolders() > 0 {
		return errNotYet
	}
	return fmt.Errorf("%w: %w", ErrDisk, *n.lostDisk.Load())
}

// otherHolders counts the other members that may hold slots.
func (n *Node) otherHolders() (others int) {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for id, m := range n.members {
		if id != n.id && n.weightOf(m) > 0 && !m.Leaving {
			others++
		}
	}
	return others
}
