package node

import (
	"fmt"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
)

// Unsafe says what records would be lost if this node ended now; nothing where
// a living node has an in-sync copy of each.
func (n *Node) Unsafe() (reasons []string) {
	alive := map[shard.NodeID]bool{}
	for _, m := range n.Members() {
		// One whose connection has just ended may be dead, and still count as a member.
		p := n.knownPeer(m.ID)
		alive[m.ID] = m.State == "alive" && !m.Self && p != nil && (p.up.Load() || p.cut.Load())
	}
	single, orphaned, leftover := 0, 0, 0
	for i := range n.slots {
		s := &n.slots[i]
		if st := n.engine.SlotStats(s.no); st.Records == 0 {
			continue
		}
		s.mu.Lock()
		owed, cl := s.duty != nil, s.view.Known // both from the slot: see firstOf
		s.mu.Unlock()
		switch {
		case owed:
			leftover++
		case cl == nil:
			orphaned++
		case cl.Primary == n.id && !slices.ContainsFunc(cl.Backups, func(id shard.NodeID) bool { return alive[id] }):
			single++
		case cl.Primary != n.id && !alive[cl.Primary]:
			orphaned++
		}
	}
	say := func(count int, what string) {
		if count > 0 {
			reasons = append(reasons, fmt.Sprintf("%d slots %s", count, what))
		}
	}
	say(single, "have no in-sync backup on a living node")
	say(orphaned, "have records here and no living primary")
	say(leftover, "have records here that are owed to the winner of a fork")
	return reasons
}
