package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
)

// After a plan none is made for eight times as long as it took, or for maxPlanRest: where
// many nodes come and go the time that each has goes into the rest of its work.
const (
	planRest    = 8
	maxPlanRest = time.Second
)

// replan computes the plan anew when the member list has changed; changed says
// whether it has, or another set of nodes counts as dead.
func (n *Node) replan(now int64) (changed bool) {
	list, down := n.living()
	changed = !maps.Equal(down, n.downNow)
	n.downNow = down
	settings := n.settings.Load()
	n.planDue = n.plan == nil || !slices.Equal(list, n.planned) || settings != n.plannedWith
	if n.planDue && now >= n.planRests {
		n.planAnew(list, settings, now)
		n.planNear, changed, n.planDue = nil, true, false
		ended := n.now()
		n.planRests = ended + min(planRest*(ended-now), int64(maxPlanRest))
	}
	changed = n.replanNear(list, settings, now) || changed
	if changed {
		n.leavers = nil
		for _, m := range list {
			if m.Leaving || n.stepsDown(m.ID) {
				n.leavers = append(n.leavers, m.ID)
			}
		}
	}
	return changed
}

func (n *Node) planAnew(list []shard.Member, settings *shard.Settings, now int64) {
	was := n.planned
	if len(list) < len(n.planned) && slices.ContainsFunc(n.planned, func(m shard.Member) bool {
		return !m.Leaving && !slices.ContainsFunc(list, func(o shard.Member) bool { return o.ID == m.ID })
	}) { // one that left in peace is not waited for
		n.planBefore, n.plannedBefore, n.settlesBefore, n.failedAt = n.plan, n.planned, n.settlesAt, now
	} else if n.planBefore != nil && allBack(n.plannedBefore, list) {
		was, n.settlesAt = n.plannedBefore, n.settlesBefore
		n.planBefore, n.plannedBefore = nil, nil
	}
	settle := n.cfg.SettleDelay
	if slices.EqualFunc(was, list, sameButID) {
		// Settings need only the time in which they reach the others, and so does
		// who starts again as it was: nobody else is to be expected.
		settle = min(settle, settingsSettle)
	}
	n.settlesAt = max(n.settlesAt, now+int64(settle))
	n.planned, n.plannedWith = list, settings
	n.plan = n.planOf(n.plan, list, settings)
	n.planShared.Store(n.plan)
	n.planFor.Store(settings)
	n.plannedFor.Store(&list) // last: see Balanced
}

// planOf plans for a list of members, after last, which may be nil.
func (n *Node) planOf(last *shard.Assignment, list []shard.Member, settings *shard.Settings) *shard.Assignment {
	return last.Again(list, settings.Pins(), n.cfg.Backups).Yield(aways(settings, list))
}

// replanNear keeps the plan without the members that are cut off from this node or
// about to be away, and those whose disk has failed, which nobody waits for.
func (n *Node) replanNear(list []shard.Member, settings *shard.Settings, now int64) (changed bool) {
	if len(n.aside) == 0 && n.cuts.Load() == 0 && !n.lostDisks.Load() && !n.departing.Load() {
		return false
	}
	aside := map[shard.NodeID]int64{}
	for _, m := range list {
		p := n.knownPeer(m.ID)
		if p == nil {
			continue
		}
		since, known := n.aside[m.ID]
		switch {
		case p.lostDisk.Load() && n.lostDisk.Load() == nil: // else the copies stay where they are
			aside[m.ID] = now - int64(n.cfg.RepairDelay)
			if known {
				aside[m.ID] = since
			}
		case !p.cut.Load() && !p.stepping.Load():
		case known:
			aside[m.ID] = since
		default:
			aside[m.ID], n.cutAt = now, now
		}
	}
	if maps.Equal(aside, n.aside) && (len(aside) == 0 || n.planNear != nil) {
		return false
	}
	n.aside, n.planNear = aside, nil
	if len(aside) > 0 {
		n.planNear = n.planOf(nil, slices.DeleteFunc(slices.Clone(list), func(m shard.Member) bool { return n.isAside(m.ID) }), settings)
	}
	return true
}

// isAside reports whether nothing is to be given to a member: it is cut off from this
// node, about to be away, or can store nothing.
func (n *Node) isAside(id shard.NodeID) bool {
	_, aside := n.aside[id]
	return aside
}

// aim returns who is to hold a slot of this node's, as far as this node can bring it
// about. What is to go to a member that is cut off stays, or goes where that can fetch
// it; and a copy that was to be there is made elsewhere when the link has been down
// for as long as a dead node is waited for, or this one departs and nobody who stays has
// one. Until then others that exist stand in.
func (n *Node) aim(cl *shard.Claim, now int64) (primary shard.NodeID, backups []shard.NodeID) {
	primary, backups = n.plan.Primary(cl.Slot), n.plan.Backups(cl.Slot)
	if len(n.aside) == 0 || !n.isAside(primary) && !slices.ContainsFunc(backups, n.isAside) {
		return primary, backups
	}
	planned := append([]shard.NodeID{primary}, backups...)
	if n.isAside(primary) {
		if primary = n.id; n.outlook.leaving {
			primary = n.planNear.Primary(cl.Slot)
		}
	}
	var near []shard.NodeID
	add := func(ids ...shard.NodeID) {
		for _, id := range ids {
			if len(near) < len(backups) && id != primary && !id.IsZero() && !n.isAside(id) && !slices.Contains(near, id) {
				near = append(near, id)
			}
		}
	}
	bare := n.outlook.leaving && !slices.ContainsFunc(cl.Backups, func(id shard.NodeID) bool { return !n.isAside(id) && !n.isLeaver(id) })
	if !bare && slices.ContainsFunc(planned, func(id shard.NodeID) bool { return n.isAside(id) && now-n.aside[id] < int64(n.cfg.RepairDelay) }) {
		add(backups...)
		add(cl.Backups...)
		return primary, near
	}
	add(n.planNear.Primary(cl.Slot))
	add(n.planNear.Backups(cl.Slot)...)
	return primary, near
}

// allBack reports whether every seat of a list is taken in a later one: nobody
// is waited for any more. A node that starts again has another ID.
func allBack(before, list []shard.Member) bool {
	seat := func(m shard.Member) string { return cmp.Or(m.Seat, m.Name) }
	for _, m := range before {
		if !slices.ContainsFunc(list, func(o shard.Member) bool { return seat(o) == seat(m) }) {
			return false
		}
	}
	return true
}

func sameButID(a, b shard.Member) bool {
	a.ID = b.ID
	return a == b
}

// living lists the members a plan is made for, and the peers that count as dead.
func (n *Node) living() (list []shard.Member, down map[shard.NodeID]bool) {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	down = map[shard.NodeID]bool{}
	for _, p := range n.allPeers() {
		if n.core.IsDown(p.id) {
			down[p.id] = true
		}
	}
	for id := range n.strangers {
		if n.core.IsDown(id) {
			down[id] = true
		}
	}
	return slices.DeleteFunc(n.planMembers(), func(m shard.Member) bool { return down[m.ID] }), down
}

// aways are the settings of that name with the nodes they mean.
func aways(s *shard.Settings, members []shard.Member) map[uint16]shard.NodeID {
	byName := map[string]shard.NodeID{}
	for _, m := range members {
		byName[m.Name] = m.ID // the newest of a name comes last
	}
	byID := map[uint16]shard.NodeID{}
	for slot, name := range s.Aways() {
		byID[slot] = byName[name]
	}
	return byID
}

func (n *Node) planMembers() []shard.Member {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	list := make([]shard.Member, 0, len(n.members)+1)
	for id, m := range n.members {
		if id != n.id && !m.Visitor {
			list = append(list, n.planMember(id, m))
		}
	}
	if !n.cfg.Visitor {
		list = append(list, n.planMember(n.id, n.selfMember()))
	}
	slices.SortFunc(list, func(a, b shard.Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.ID.Compare(b.ID)) })
	return list
}

func (n *Node) planMember(id shard.NodeID, m gossip.Member) shard.Member {
	return shard.Member{Name: m.Name, Seat: m.Seat, Zone: m.Zone, ID: id, Weight: n.weightOf(m), Leaving: m.Leaving}
}
