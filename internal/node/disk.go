package node

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
)

// Names of what a node saves with its data. Values are part of the disk format.
const (
	metaCounter = "node/counter" // counter of the last node ID of this disk
	metaNames   = "node/names"   // names of the node IDs met
	metaOwn     = "node/own"     // node IDs that this disk was used under, the newest last
	metaSlot    = "slot/"        // shard.Core.Save of each slot
	metaOwed    = "owed/"        // the claim whose records a slot owes to the winner of a fork
)

// past is what the disks of the members remember. No disk is authoritative by
// itself: what they say counts only for slots that nobody serves.
type past struct {
	claims map[uint16]*shard.Claim // the newest that any disk knows in force
	names  map[shard.NodeID]string
	old    map[shard.NodeID]bool // IDs that this node's disk was used under before
	last   uint64                // counter of the last of them
	own    []shard.NodeID        // the same and the present one, the newest last
	held   map[shard.NodeID]bool // holders of the claims on this node's own disk when it was opened
}

// savedCounter is the counter of the ID this disk was last used under.
func (n *Node) savedCounter() (c uint64) {
	_ = n.engine.Meta(metaCounter, func(_ string, v []byte) bool {
		if len(v) == 8 {
			c = binary.BigEndian.Uint64(v)
		}
		return false
	})
	return c
}

// readPast takes in what this node's own disk remembers.
func (n *Node) readPast() {
	if n.readNames(); !n.engine.Durable() {
		return
	}
	saved := shard.NewCore(shard.CoreConfig{})
	_ = n.engine.Meta(metaSlot, func(name string, v []byte) bool {
		no, ok := slotNamed(name, metaSlot)
		if !ok || saved.Restore(no, v) != nil {
			n.log.Error("saved claim is damaged", "slot", no)
			return true
		}
		n.core.SeeEpoch(no, saved.Highest(no))
		cl := saved.View(no).Known
		if cl == nil {
			return true
		}
		n.past.claims[no] = cl
		addHolders(n.past.held, cl)
		// What was accepted may have been in force, and this node not have heard it yet.
		for _, cl := range []*shard.Claim{saved.Newest(no), cl} {
			for id := range n.past.old {
				if cl.Holds(id) {
					n.slots[no].standing.Store(cl)
				}
			}
		}
		return true
	})
	_ = n.engine.Meta(metaOwed, func(name string, v []byte) bool {
		no, ok := slotNamed(name, metaOwed)
		if cl, _, err := shard.DecodeClaim(v); ok && err == nil && cl.Slot == no {
			n.takeDutyLocked(&n.slots[no], cl, 0) // nobody else has the node yet
			n.owes[no] = true
		}
		return true
	})
	for i := range n.slots {
		s := &n.slots[i]
		if v := n.engine.MaxVersion(s.no); v > 0 {
			n.core.SeeEpoch(s.no, v>>seqBits)
			s.ring.reset(v)
			if s.standing.Load() == nil && s.duty == nil {
				s.leftAt.Store(1)
			}
		}
		s.noteLocked()
	}
	n.savePast()
}

// readNames takes in which nodes there were. Hello is answered already, and tells
// of them.
func (n *Node) readNames() {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	n.past = past{claims: map[uint16]*shard.Claim{}, names: map[shard.NodeID]string{}, old: map[shard.NodeID]bool{}, held: map[shard.NodeID]bool{}}
	if !n.engine.Durable() {
		return
	}
	_ = n.engine.Meta(metaNames, func(_ string, v []byte) bool {
		n.takeNames(&fields{b: v})
		return false
	})
	n.past.last = n.savedCounter()
	_ = n.engine.Meta(metaOwn, func(_ string, v []byte) bool {
		n.past.own = decodeIDs(v)
		return false
	})
	for _, id := range n.past.own {
		n.past.old[id] = true
		n.past.names[id] = n.cfg.Name // whatever it was called then
	}
}

// maxOwn bounds how many of its IDs a node remembers: claims name one of before
// where a slot had no primary since.
const maxOwn = 1024

// decodeIDs reads node IDs one after another; what is left over is ignored.
func decodeIDs(b []byte) (ids []shard.NodeID) {
	for len(b) >= len(shard.NodeID{}) && len(ids) < maxOwn {
		ids = append(ids, shard.NodeID(b))
		b = b[len(shard.NodeID{}):]
	}
	return ids
}

func encodeIDs(b []byte, ids []shard.NodeID) []byte {
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

// savePast writes this node's identity and the names it knows.
func (n *Node) savePast() {
	if !n.engine.Durable() {
		return
	}
	n.membersMu.Lock()
	n.past.names[n.id] = n.cfg.Name
	if own := n.past.own; !slices.Contains(own, n.id) {
		n.past.own = append(own[max(0, len(own)-maxOwn+1):], n.id)
	}
	names, own := n.namesLocked(), encodeIDs(nil, n.past.own)
	n.namesDirty = false
	n.membersMu.Unlock()
	err := n.save(map[string][]byte{
		metaCounter: binary.BigEndian.AppendUint64(nil, n.id.Counter()), metaNames: names, metaOwn: own,
	})
	if err != nil {
		n.log.Error("cannot save the node's identity", "err", err)
	}
}

// tellPast sends a peer what the disks remember, then the mark that ends it.
func (n *Node) tellPast(to *peer) {
	n.membersMu.Lock()
	past := [][]byte{append([]byte{ctlNames}, n.namesLocked()...), encodeIDs([]byte{ctlOwn}, n.past.own)}
	var claims []*shard.Claim
	for _, cl := range n.past.claims {
		if cl != nil {
			claims = append(claims, cl)
		}
	}
	n.membersMu.Unlock()
	for part := range slices.Chunk(claims, claimBatch) {
		past = append(past, shard.AppendClaims([]byte{ctlPast}, part))
	}
	if t := to.live(); t != nil {
		n.inTurn(to, t.SendControl, append(past, []byte{ctlTableEnd}))
	}
}

// onOwn takes in under which IDs a peer's disk was used: whatever it was called
// then, what they held is there.
func (n *Node) onOwn(from shard.NodeID, b []byte) {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	m, ok := n.members[from]
	if !ok {
		return
	}
	for _, id := range decodeIDs(b) {
		n.noteNameLocked(id, m.Name)
	}
}

func (n *Node) onPast(b []byte) {
	claims, err := shard.DecodeClaims(b, shard.Slots)
	if err != nil {
		return
	}
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for _, cl := range claims {
		if shard.Compare(cl, n.past.claims[cl.Slot]) > 0 {
			n.past.claims[cl.Slot] = cl
		}
	}
}

// heirs says who recovers a slot that the disks remember.
type heirs struct {
	first   shard.NodeID // zero: nobody yet
	others  []string     // further holders that are back
	missing []string     // those that are not
}

// heir says who recovers a slot: of the holders of the newest claim, by name, the
// first that is back. It waits for all of them, for at most ColdStartWait; after
// that, where none is back, the planned primary starts from what it has. back says
// which names are.
func (n *Node) heir(old *shard.Claim, planned shard.NodeID, back map[string]shard.NodeID, now int64) (h heirs) {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for _, id := range append([]shard.NodeID{old.Primary}, old.Backups...) {
		name := n.past.names[id]
		now, ok := back[name]
		switch {
		case !ok:
			h.missing = append(h.missing, cmp.Or(name, id.String()))
		case h.first.IsZero():
			h.first = now
		case now != h.first && !slices.Contains(h.others, name):
			h.others = append(h.others, name)
		}
	}
	switch {
	case len(h.missing) == 0:
	case now-n.openedAt < int64(n.cfg.ColdStartWait):
		h.first = shard.NodeID{}
	case h.first.IsZero():
		h.first = planned
	}
	return h
}

// outdated reports whether a copy on this disk had been dropped by a claim
// that another disk remembers, and whose holder now serves the slot: it has
// nothing to offer.
func (n *Node) outdated(standing, winner *shard.Claim) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	newer := n.past.claims[standing.Slot]
	if shard.Compare(newer, standing) <= 0 || !shard.SameLineage(newer, standing) {
		return false
	}
	name := n.past.names[winner.Primary]
	held := false
	for _, id := range append([]shard.NodeID{newer.Primary}, newer.Backups...) {
		if n.past.old[id] {
			return false
		}
		held = held || n.past.names[id] == name
	}
	return held && !slices.Contains(newer.Backups, n.id)
}

// slotNamed is the slot that a saved value's name ends with.
func slotNamed(name, prefix string) (no uint16, ok bool) {
	if len(name) != len(prefix)+2 {
		return 0, false
	}
	no = binary.BigEndian.Uint16([]byte(name[len(prefix):]))
	return no, int(no) < shard.Slots
}

func nameOfSlot(prefix string, no uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte(prefix), no))
}

// durable encodes what must be on disk before the node speaks and acts: what the
// core says, and what the slots owe that a claim takes from this node. By the time
// that is back from a crash the winner may have their lineage, as if it had never
// lacked anything.
func (n *Node) durable(out *shard.Output, views []shard.View) map[string][]byte {
	if !n.engine.Durable() {
		return nil
	}
	var saved map[string][]byte
	save := func(prefix string, no uint16, v []byte) {
		if saved == nil {
			saved = make(map[string][]byte, len(out.Persist))
		}
		saved[nameOfSlot(prefix, no)] = v
	}
	for _, no := range out.Persist {
		save(metaSlot, no, n.core.Save(no))
	}
	for i, no := range out.Touched {
		standing, known := n.slots[no].standing.Load(), views[i].Known
		if standing != nil && known != nil && n.lacks(known, standing) {
			save(metaOwed, no, standing.Append(nil))
			n.owes[no] = true
		}
	}
	return saved
}

// forgetOwed removes from the disk what is owed no more. Control loop only.
func (n *Node) forgetOwed() {
	var gone map[string][]byte
	var slots []uint16
	for no := range n.owes {
		s := &n.slots[no]
		s.mu.Lock()
		standing, known := s.standing.Load(), s.view.Known
		over := s.duty == nil && !(standing != nil && known != nil && n.lacks(known, standing))
		s.mu.Unlock()
		if over {
			if gone == nil {
				gone = map[string][]byte{}
			}
			gone[nameOfSlot(metaOwed, no)] = nil
			slots = append(slots, no)
		}
	}
	if gone == nil {
		return
	}
	if err := n.save(gone); err != nil {
		n.log.Error("cannot save claims", "err", err)
		return // it is tried again
	}
	for _, no := range slots {
		delete(n.owes, no)
	}
}

// onDurable: the engine has synced a slot up to version. Copies acknowledge
// only then, where each write is to be synced.
func (n *Node) onDurable(no uint16, version uint64) {
	s := &n.slots[no]
	s.mu.Lock()
	s.durable = max(s.durable, version)
	ready := n.advanceLocked(s)
	st := &s.stream
	if s.serving.Load() == nil && !st.primary.IsZero() && !st.filling {
		n.ackLocked(s)
	}
	s.mu.Unlock()
	finish(ready, nil)
}
