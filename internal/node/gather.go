package node

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/slotmesh/slotmesh/shard"
)

// gathering is what a slot that was recovered from a disk waits for before it
// answers: each holder of before may have records on its own disk that this one
// had not yet synced, and were acknowledged. It offers them, or says that it has
// none.
type gathering struct {
	awaited []string // names of the holders that have not said so
	epoch   uint64   // the first that the slot is open under; 0: not yet
	until   int64    // then it opens all the same
	asked   int64
}

// gather has a slot that this node recovers wait for others. Control loop only.
func (n *Node) gather(no uint16, others []string, until int64) {
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(others) == 0 {
		s.gather = nil
		return
	}
	if s.gather == nil {
		n.gathering = append(n.gathering, no)
	}
	s.gather = &gathering{awaited: others, until: until}
}

// pressGathering asks those who are awaited whether they have anything to offer.
// Who does not answer is waited for as long as one that is not back. Control loop
// only.
func (n *Node) pressGathering(now int64) {
	if len(n.gathering) == 0 || now-n.gatherAt < int64(tickIdle) {
		return
	}
	n.gatherAt = now
	ids := n.idsByName()
	slots := n.gathering
	n.gathering = nil
	ask := map[shard.NodeID][]byte{}
	late := 0
	for _, no := range slots {
		s := &n.slots[no]
		s.mu.Lock()
		g := s.gather
		switch {
		case g == nil:
		case now >= g.until:
			n.gatheredLocked(s)
			late++
		default:
			n.gathering = append(n.gathering, no)
			if g.epoch == 0 || g.asked > 0 && now-g.asked < int64(n.resend) {
				break
			}
			g.asked = now
			for _, name := range g.awaited {
				if id, ok := ids[name]; ok {
					b := ask[id]
					if b == nil {
						b = []byte{ctlGather}
					}
					ask[id] = binary.AppendUvarint(binary.AppendUvarint(b, uint64(no)), g.epoch)
				}
			}
		}
		s.mu.Unlock()
	}
	for id, b := range ask {
		n.sendControl(id, b)
	}
	if len(n.gathering) == 0 {
		n.coveredAt = 0 // so that this is told
	}
	if late > 0 {
		n.log.Warn(eventUnheard, "slots", late)
	}
}

// gatheredLocked opens a slot that waited for the disks of others.
func (n *Node) gatheredLocked(s *slot) {
	s.gather = nil
	if sv := s.serving.Load(); sv != nil {
		s.serve(&serving{claim: sv.claim, licence: sv.licence, since: sv.since})
	}
	s.wakeLocked()
}

// onGather answers which of the slots that a peer recovered this node has nothing
// to offer to. Others are asked about again.
func (n *Node) onGather(from shard.NodeID, f *fields) {
	b := []byte{ctlGathered}
	for f.more() {
		no, epoch := f.num(), f.num()
		if f.bad || no >= shard.Slots {
			return
		}
		s := &n.slots[no]
		s.mu.Lock()
		known := s.view.Known
		if s.duty == nil && known != nil && known.Primary == from && known.Epoch >= epoch {
			b = binary.AppendUvarint(b, no)
		}
		s.mu.Unlock()
	}
	if len(b) > 1 {
		n.sendControl(from, b)
	}
}

// onGathered takes in for which slots a peer has nothing to offer, any more.
func (n *Node) onGathered(from shard.NodeID, f *fields) {
	name := n.who(from)
	for f.more() {
		no := f.num()
		if f.bad || no >= shard.Slots {
			return
		}
		s := &n.slots[no]
		s.mu.Lock()
		if g := s.gather; g != nil {
			g.awaited = slices.DeleteFunc(g.awaited, func(o string) bool { return o == name })
			if len(g.awaited) == 0 {
				n.gatheredLocked(s)
			}
		}
		s.mu.Unlock()
	}
}

// awaited sums up for whose disks slots wait.
type awaited struct {
	slots int
	names map[string]bool
}

// add counts a slot that waits for names.
func (a *awaited) add(names ...string) {
	a.slots++
	for _, name := range names {
		a.names[name] = true
	}
}

// Awaited lists the names of the nodes whose disks slots wait for after a start of
// the whole cluster, as far as this node sees, and how many slots do.
func (n *Node) Awaited() (names []string, slots int) {
	a := n.awaited.Load()
	if a == nil {
		return nil, 0
	}
	return slices.Sorted(maps.Keys(a.names)), a.slots
}

// tellAwaited adds the slots that gather here to those that nobody has recovered
// yet, and logs where others are waited for than before. Control loop only.
func (n *Node) tellAwaited(a awaited) {
	for _, no := range n.gathering {
		s := &n.slots[no]
		s.mu.Lock()
		if s.gather != nil {
			a.add(s.gather.awaited...)
		}
		s.mu.Unlock()
	}
	before, _ := n.Awaited()
	if a.slots == 0 {
		n.awaited.Store(nil)
		return
	}
	n.awaited.Store(&a)
	if names, _ := n.Awaited(); !slices.Equal(names, before) {
		n.log.Info(eventAwaited, "names", strings.Join(names, ","), "slots", a.slots)
	}
}

// idsByName says which names are back, this node's own included.
func (n *Node) idsByName() map[string]shard.NodeID {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	ids := map[string]shard.NodeID{n.cfg.Name: n.id}
	for id, m := range n.members {
		if was, ok := ids[m.Name]; !ok || was != n.id && was.Compare(id) < 0 {
			ids[m.Name] = id
		}
	}
	return ids
}
