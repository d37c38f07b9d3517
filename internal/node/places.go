package node

import "github.com/slotmesh/slotmesh/shard"

// Places lists the slots that are not at rest as this node sees it: without a
// living primary for longer than a hand-over takes, with fewer backups than asked
// for and possible, elsewhere than planned or passing to another primary. Slots
// never claimed are in none of them.
func (n *Node) Places() (noPrimary, short, moving []uint16) {
	alive := map[shard.NodeID]bool{n.id: !n.closing.Load()}
	holders := 0
	for _, m := range n.Members() {
		if m.State == "suspect" {
			continue
		}
		alive[m.ID] = alive[m.ID] || !m.Self
		if m.Weight > 0 && m.State == "alive" {
			holders++
		}
	}
	want := min(n.cfg.Backups, holders-1)
	plan, now := n.planShared.Load(), n.env.Now()
	for cl := range n.Table().All() {
		no := cl.Slot
		passes, lost := false, !alive[cl.Primary]
		if lost || cl.Primary == n.id && !n.serving(&n.slots[no], now) {
			if passes = n.passes(cl, now); !passes {
				noPrimary = append(noPrimary, no)
			}
		}
		live := 0
		for _, id := range cl.Backups {
			if alive[id] {
				live++
			}
		}
		if lost && live > 0 {
			live-- // one of them takes its place
		}
		if live < want {
			short = append(short, no)
		}
		if passes || plan != nil && (cl.Primary != plan.Primary(no) || !sameSet(cl.Backups, plan.Backups(no))) {
			moving = append(moving, no)
		}
	}
	return noPrimary, short, moving
}
