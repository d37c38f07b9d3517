package node

import (
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

const (
	maxCopies    = 256             // copies under way at once
	maxHandovers = 128             // hand-overs under way at once
	copyStall    = 5 * time.Second // a copy that does not get on for so long begins again
	holdLimit    = time.Second     // a hand-over that can't drain for so long is put off
)

// reconcile moves the slots this node serves one step towards the plan, and
// founds those that are its to found. Repair comes before moves. It reports
// whether there is more to do.
func (n *Node) reconcile(now int64) (busy bool) {
	n.replan(now)
	plan := n.plan
	if plan == nil {
		return false
	}
	settled := now-n.membersAt >= int64(n.cfg.SettleDelay)
	found := n.mayFound(settled)
	copying, handing := 0, 0
	for no := range n.slots {
		s := &n.slots[no]
		s.mu.Lock()
		if s.learner != nil {
			copying++
		}
		if s.holding || !s.view.Handover.IsZero() {
			handing++
		}
		s.mu.Unlock()
	}
	unclaimed, uncovered := 0, 0
	table := n.table.Load()
	for i := range n.slots {
		no := uint16(i)
		cl := table.Claim(no)
		if cl == nil {
			unclaimed++
			uncovered++
			if found {
				n.found(no, plan, now)
			}
			continue
		}
		if cl.Primary != n.id {
			if plan.Primary(no) == n.id && !cl.Holds(n.id) {
				n.orphan(no, now)
			}
			if n.isDown(cl.Primary) {
				uncovered++
			}
			continue
		}
		n.improve(&n.slots[no], plan, settled, now, &copying, &handing)
	}
	n.uncovered.Store(int64(uncovered))
	return copying > 0 || handing > 0 || unclaimed > 0 && found
}

// found claims a slot that nobody serves, if it is this node's to claim.
func (n *Node) found(no uint16, plan *shard.Assignment, now int64) {
	n.membersMu.Lock()
	old := n.past.claims[no]
	n.membersMu.Unlock()
	if old == nil && plan.Primary(no) != n.id || old != nil && n.heir(old, plan.Primary(no), now) != n.id {
		return
	}
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	if old == nil {
		n.core.Found(no, plan.Backups(no), plan.Witnesses(no), now)
		return
	}
	n.core.SeeEpoch(no, old.Epoch)
	n.core.Recover(no, old.Lineage, plan.WitnessesBeside(no, []shard.NodeID{n.id}, shard.GroupSize(n.cfg.Backups)-1), now)
}

// orphan starts a slot anew whose holders are all dead.
func (n *Node) orphan(no uint16, now int64) {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	if n.core.Orphaned(no, now) {
		n.log.Warn("slot has no living holder: starting it anew", "slot", no)
		n.core.Orphan(no, now)
	}
}

// improve takes the next step for one slot that this node serves, and reports
// whether the slot is not where it should be.
func (n *Node) improve(s *slot, plan *shard.Assignment, settled bool, now int64, copying, handing *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.view
	if !v.Open {
		return true
	}
	cl := v.Known
	n.restartLocked(s)
	for _, id := range cl.Backups {
		if n.deadOrLate(s, id, now) {
			n.proposeLocked(s, plan, without(cl.Backups, id), now)
			return true
		}
	}
	if v.Changing {
		return true
	}
	if g := s.learner; g != nil {
		switch id := g.link.peer.id; {
		case g.stage == stageReady:
			if n.deadOrLate(s, id, now) {
				n.stopCopyLocked(s)
				return true
			}
			n.proposeLocked(s, plan, append(slices.Clone(cl.Backups), id), now)
		case now-g.touched > int64(copyStall), n.isDown(id), g.waited && n.late(s, g.link, now):
			n.stopCopyLocked(s)
		}
		return true
	}
	planned := plan.Primary(s.no)
	if s.holding {
		return n.drainLocked(s, now)
	}
	if dead := slices.ContainsFunc(cl.Witnesses, n.isDown); dead || 1+len(cl.Backups)+len(cl.Witnesses) < shard.GroupSize(n.cfg.Backups) {
		if w := n.witnesses(plan, cl.Primary, cl.Backups, s.no); len(w) > len(cl.Witnesses) || dead && len(w) == len(cl.Witnesses) {
			n.proposeLocked(s, plan, cl.Backups, now)
			return true
		}
	}
	want := append([]shard.NodeID{planned}, plan.Backups(s.no)...)
	if planned.IsZero() {
		return false
	}
	for _, id := range want {
		if cl.Holds(id) {
			continue
		}
		// A node that is to hold the slot only because another died waits: that
		// one may be back.
		repairing := n.planBefore != nil && now-n.failedAt < int64(n.cfg.RepairDelay) &&
			n.planBefore.Primary(s.no) != id && !slices.Contains(n.planBefore.Backups(s.no), id)
		if p := n.peer(id); settled && !repairing && *copying < maxCopies && p.live() != nil && now-p.upSince.Load() > int64(50*time.Millisecond) {
			*copying++
			n.startCopyLocked(s, p)
			return true
		}
		if !n.leaving.Load() {
			return true
		}
	}
	if planned != n.id {
		to := planned
		if !cl.Holds(to) && n.leaving.Load() {
			to = n.heirLocked(s)
		}
		if cl.Holds(to) && (settled || n.leaving.Load()) && *handing < maxHandovers && n.peer(to).live() != nil && now >= s.notBefore {
			*handing++
			s.holding, s.holdTo, s.heldAt = true, to, now
			return n.drainLocked(s, now)
		}
		return true
	}
	for _, id := range cl.Backups {
		if !slices.Contains(want, id) {
			n.proposeLocked(s, plan, without(cl.Backups, id), now)
			return true
		}
	}
	return false
}

// heirLocked is the first living in-sync backup.
func (n *Node) heirLocked(s *slot) shard.NodeID {
	for _, id := range s.view.Known.Backups {
		if !n.isDown(id) && n.peer(id).live() != nil && !n.isLeaving(id) {
			return id
		}
	}
	return shard.NodeID{}
}

// drainLocked hands over once every write is acknowledged.
func (n *Node) drainLocked(s *slot, now int64) bool {
	if s.acked.Load() == s.last {
		n.coreMu.Lock()
		ok := n.core.HandOver(s.no, s.holdTo, now)
		n.coreMu.Unlock()
		if ok {
			// From here on nothing is read or acknowledged; the view follows.
			s.serving.Store(nil)
			return true
		}
	} else if now-s.heldAt < int64(holdLimit) {
		return true
	}
	s.holding = false
	s.notBefore = now + int64(holdLimit)
	s.wakeLocked()
	return true
}

func without(ids []shard.NodeID, id shard.NodeID) []shard.NodeID {
	return slices.DeleteFunc(slices.Clone(ids), func(o shard.NodeID) bool { return o == id })
}

func sameSet(a, b []shard.NodeID) bool {
	if len(a) != len(b) {
		return false
	}
	for _, id := range a {
		if !slices.Contains(b, id) {
			return false
		}
	}
	return true
}

// proposeLocked proposes other backups, with the witnesses that go with them.
func (n *Node) proposeLocked(s *slot, plan *shard.Assignment, backups []shard.NodeID, now int64) {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	if s.view.Changing { // repeat nothing that is under way
		if c := n.core.Newest(s.no); c != nil && slices.Equal(c.Backups, backups) {
			return
		}
	}
	n.core.Change(s.no, backups, n.witnesses(plan, n.id, backups, s.no), now)
}

func (n *Node) witnesses(plan *shard.Assignment, primary shard.NodeID, backups []shard.NodeID, no uint16) []shard.NodeID {
	holders := append([]shard.NodeID{primary}, backups...)
	return plan.WitnessesBeside(no, holders, max(0, shard.GroupSize(n.cfg.Backups)-len(holders)))
}

func (n *Node) isDown(id shard.NodeID) bool { return n.downNow[id] }

// deadOrLate reports whether a copy no longer follows.
func (n *Node) deadOrLate(s *slot, id shard.NodeID, now int64) bool {
	if n.isDown(id) {
		return true
	}
	l := s.links[id]
	if l == nil {
		return true
	}
	if n.late(s, l, now) {
		return true
	}
	// Without its lease nothing can be read.
	lost := now - max(l.peer.leaseMono.Load(), l.peer.upSince.Load(), n.openedAt, n.resumedAt)
	return lost > int64(n.cfg.ReplicationTimeout)
}

// late reports whether a write has waited for the copy longer than allowed.
func (n *Node) late(s *slot, l *link, now int64) bool {
	since := s.pendingSince.Load()
	// The time in which this node itself did not run does not count.
	return since > 0 && now-max(since, n.resumedAt) > int64(n.cfg.ReplicationTimeout) && l.acked < s.last
}

// dropBackup proposes a claim without a copy that can't be caught up.
func (n *Node) dropBackup(no uint16, id shard.NodeID, now int64) {
	v := n.core.View(no)
	if v.Open && v.Known.Holds(id) && id != n.id && n.plan != nil {
		backups := without(v.Known.Backups, id)
		n.core.Change(no, backups, n.witnesses(n.plan, n.id, backups, no), now)
	}
}
