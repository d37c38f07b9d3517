package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
)

// A node whose disk has failed, or is full, gives what it holds to others, as one
// that leaves does, but stays: its callers' calls go on, elsewhere. Until a slot has
// passed it answers reads, and writes wait. Its copies count until they would have to
// store a write: then it has itself left out. It goes on to vote, as nodes without a
// disk do: after a start a node has a new ID, and what it promised counts for nothing.

// loseDisk is called by the engine.
func (n *Node) loseDisk(cause error) {
	if n.lostDisk.CompareAndSwap(nil, &cause) {
		n.poke()
	}
}

// notStored logs why a copy lacks something. Of a failed disk the node tells once, for
// all of them.
func (n *Node) notStored(event string, slot uint16, err error) {
	if errors.Is(err, store.ErrParked) {
		n.loseDisk(err)
		return
	}
	n.log.Error(event, "slot", slot, "err", err)
}

// save writes what is to outlive this process. Once the disk has failed nothing does.
func (n *Node) save(values map[string][]byte) error {
	if n.lostDisk.Load() != nil {
		return nil
	}
	err := n.engine.SetMeta(values)
	if errors.Is(err, store.ErrParked) {
		n.loseDisk(err)
		return nil
	}
	return err
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
		n.attributesMu.Lock()
		defer n.attributesMu.Unlock()
		if err := n.gossip.UpdateSelf(n.selfMember()); err != nil {
			n.log.Warn("cannot tell that this node's disk has failed", "err", err)
		}
	})
	unsynced := map[shard.NodeID][]byte{}
	for i := range n.slots {
		s := &n.slots[i]
		s.mu.Lock()
		if st := &s.stream; n.cfg.SyncWrites && !st.primary.IsZero() && !st.filling && s.durable < st.pos {
			unsynced[st.primary] = binary.AppendUvarint(unsynced[st.primary], uint64(i))
		}
		ready := n.advanceLocked(s) // its own disk is not waited for any more
		s.mu.Unlock()
		finish(ready, nil)
	}
	for _, p := range n.allPeers() {
		n.sendControl(p.id, append([]byte{ctlForgo}, unsynced[p.id]...))
	}
}

// forgo tells a primary that this node's copy lacks what it was sent.
func (n *Node) forgo(primary shard.NodeID, slot uint16) {
	n.sendControl(primary, body(ctlForgo, uint64(slot)))
}

// onForgo makes a node whose disk has failed no backup any more, and drops those of
// its copies that lack something: the others are good until the next write.
func (n *Node) onForgo(id shard.NodeID, f *fields) {
	if !n.peer(id).lostDisk.Swap(true) {
		n.lostDisks.Store(true) // before the member list tells that it gives its slots away
		n.poke()
	}
	for f.more() {
		// Where this node's has failed too the copies stay what they are.
		if no := f.num(); !f.bad && no < shard.Slots && n.lostDisk.Load() == nil {
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

// otherHolders counts the other nodes that may hold slots: the members, and those
// that fell silent and are reached again, which become members in a moment. Those that
// leave or step down take none any more: two that wait for each other would do so until
// their time is up.
func (n *Node) otherHolders() (others int) {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	takes := func(m gossip.Member, p *peer) bool { return n.weightOf(m) > 0 && !m.Leaving && !p.stepping.Load() }
	for id, m := range n.members {
		if id != n.id && takes(m, n.peer(id)) {
			others++
		}
	}
	for id, m := range n.vanished {
		if p := n.peer(id); p.up.Load() && takes(m, p) {
			others++
		}
	}
	return others
}
