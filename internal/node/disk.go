package node

import (
	"encoding/binary"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
)

// Names of what a node saves with its data. Values are part of the disk format.
const (
	metaCounter = "node/counter" // counter of the last node ID of this disk
	metaNames   = "node/names"   // names of the node IDs met
	metaSlot    = "slot/"        // shard.Core.Save of each slot
)

// past is what the disks of the members remember. No disk is authoritative by
// itself: what they say counts only for slots that nobody serves.
type past struct {
	claims map[uint16]*shard.Claim // the newest that any disk knows in force
	names  map[shard.NodeID]string
	old    map[shard.NodeID]bool // this node's own earlier IDs
	last   uint64                // counter of the last of them
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
	n.past = past{claims: map[uint16]*shard.Claim{}, names: map[shard.NodeID]string{}, old: map[shard.NodeID]bool{}, held: map[shard.NodeID]bool{}}
	if !n.engine.Durable() {
		return
	}
	_ = n.engine.Meta(metaNames, func(_ string, v []byte) bool {
		n.takeNames(&fields{b: v})
		return false
	})
	n.past.last = n.savedCounter()
	for id, name := range n.past.names {
		if name == n.cfg.Name {
			n.past.old[id] = true
		}
	}
	saved := shard.NewCore(shard.CoreConfig{})
	_ = n.engine.Meta(metaSlot, func(name string, v []byte) bool {
		if len(name) != len(metaSlot)+2 {
			return true
		}
		no := binary.BigEndian.Uint16([]byte(name[len(metaSlot):]))
		if int(no) >= shard.Slots || saved.Restore(no, v) != nil {
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
		for id := range n.past.old {
			if cl.Holds(id) {
				n.slots[no].standing.Store(cl)
			}
		}
		return true
	})
	for i := range n.slots {
		s := &n.slots[i]
		if v := n.engine.MaxVersion(s.no); v > 0 {
			n.core.SeeEpoch(s.no, v>>seqBits)
			s.ring.reset(v)
			if s.standing.Load() == nil {
				s.leftAt.Store(1)
			}
		}
		s.noteLocked() // nobody else has the node yet
	}
	n.savePast()
}

// savePast writes this node's identity and the names it knows.
func (n *Node) savePast() {
	if !n.engine.Durable() {
		return
	}
	n.membersMu.Lock()
	n.past.names[n.id] = n.cfg.Name
	names := n.namesLocked()
	n.namesDirty = false
	n.membersMu.Unlock()
	err := n.engine.SetMeta(map[string][]byte{
		metaCounter: binary.BigEndian.AppendUint64(nil, n.id.Counter()), metaNames: names,
	})
	if err != nil {
		n.log.Error("cannot save the node's identity", "err", err)
	}
}

// tellPast sends a peer what the disks remember, then the mark that ends it.
func (n *Node) tellPast(to shard.NodeID) {
	n.membersMu.Lock()
	names := append([]byte{ctlNames}, n.namesLocked()...)
	var claims []*shard.Claim
	for _, cl := range n.past.claims {
		if cl != nil {
			claims = append(claims, cl)
		}
	}
	n.membersMu.Unlock()
	n.sendControl(to, names)
	for len(claims) > 0 {
		k := min(len(claims), claimBatch)
		n.sendControl(to, shard.AppendClaims([]byte{ctlPast}, claims[:k]))
		claims = claims[k:]
	}
	n.sendControl(to, []byte{ctlTableEnd})
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

// heir says who recovers a slot that the disks remember: of the holders of the
// newest claim, by name, the first that is back. It waits for all of them, for
// at most ColdStartWait; after that, where none is back, the planned primary
// starts from what it has.
func (n *Node) heir(old *shard.Claim, planned shard.NodeID, now int64) (heir shard.NodeID) {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	back := map[string]shard.NodeID{n.cfg.Name: n.id}
	for id, m := range n.members {
		back[m.Name] = id
	}
	all := true
	for _, id := range append([]shard.NodeID{old.Primary}, old.Backups...) {
		now, ok := back[n.past.names[id]]
		if !ok {
			all = false
		} else if heir.IsZero() {
			heir = now
		}
	}
	if all {
		return heir
	}
	if now-n.openedAt < int64(n.cfg.ColdStartWait) {
		return shard.NodeID{}
	}
	if heir.IsZero() {
		return planned
	}
	return heir
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

// durable encodes what the core must have on disk before it speaks.
func (n *Node) durable(slots []uint16) map[string][]byte {
	if len(slots) == 0 || !n.engine.Durable() {
		return nil
	}
	saved := make(map[string][]byte, len(slots))
	for _, no := range slots {
		saved[string(binary.BigEndian.AppendUint16([]byte(metaSlot), no))] = n.core.Save(no)
	}
	return saved
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
