package node

import (
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

// improve takes the next step for one slot that this node serves, and reports
// how far it is.
func (n *Node) improve(s *slot, plan *shard.Assignment, now int64) progress {
	s.mu.Lock()
	learner := s.learner
	p := n.improveLocked(s, plan, now)
	var ready []waiter
	if s.learner != learner { // given up
		ready = n.advanceLocked(s)
	}
	s.mu.Unlock()
	finish(ready, nil)
	return p
}

func (n *Node) improveLocked(s *slot, plan *shard.Assignment, now int64) progress {
	v := &s.view
	if !v.Open {
		if !v.Handover.IsZero() {
			return handing
		}
		return unsettled
	}
	cl := v.Known
	n.restartLocked(s)
	for _, id := range cl.Backups {
		late := n.deadOrLate(s, id, now)
		if !late && !n.stepsDown(id) {
			continue
		}
		if !late && !v.Changing {
			if n.leaveOuts == 0 {
				return toMove
			}
			n.leaveOuts--
		}
		n.proposeLocked(s, plan, without(cl.Backups, id), now)
		return unsettled
	}
	if v.Changing {
		return n.addingLocked(s, plan, now)
	}
	var heir shard.NodeID // that has the slot now
	if n.outlook.stepping {
		heir = n.heirLocked(s)
	}
	if s.learner != nil {
		if !heir.IsZero() {
			n.stopCopyLocked(s) // the heir makes it
			return unsettled
		}
		return n.superviseLocked(s, plan, now)
	}
	if s.hold != nil {
		return n.drainLocked(s, now)
	}
	if n.mendGroupLocked(s, plan, now) {
		return unsettled
	}
	if !heir.IsZero() {
		return n.moveLocked(s, heir, now)
	}
	planned, backups := n.aim(cl, now)
	if planned.IsZero() {
		return atRest
	}
	if n.heldBackLocked(s, backups) {
		return atRest
	}
	if planned != n.id && cl.Holds(planned) && (n.outlook.leaving || len(cl.Backups) >= len(backups)) {
		return n.moveLocked(s, planned, now) // what it lacks is for its new primary to copy
	}
	if p, lacks := n.fillLocked(s, planned, backups, now); lacks {
		return p
	}
	if planned != n.id {
		return n.moveLocked(s, planned, now)
	}
	for _, id := range cl.Backups {
		if !slices.Contains(backups, id) && id != planned {
			n.proposeLocked(s, plan, without(cl.Backups, id), now)
			return unsettled
		}
	}
	for _, l := range s.links {
		if !l.started {
			return unsettled
		}
	}
	return atRest
}

// addingLocked looks after a change under way. A learner that no longer follows,
// or that does not accept the claim that lists it, is given up: writes wait for
// it from the proposal on.
func (n *Node) addingLocked(s *slot, plan *shard.Assignment, now int64) progress {
	n.coreMu.Lock()
	proposed := n.core.Newest(s.no)
	n.coreMu.Unlock()
	for _, id := range proposed.Backups {
		if s.view.Known.Holds(id) {
			continue
		}
		g := s.learner
		if g == nil || g.link.peer.id != id || now-g.touched > int64(copyStall) || n.stepsDown(id) || n.deadOrLate(s, id, now) {
			n.stopCopyLocked(s)
			n.copies.lost(now)
			n.proposeLocked(s, plan, s.view.Known.Backups, now)
			return unsettled
		}
	}
	if slices.ContainsFunc(proposed.Witnesses, n.lost) {
		n.proposeLocked(s, plan, proposed.Backups, now)
	}
	if s.learner != nil {
		return copying
	}
	return unsettled
}

// lost reports whether a vote is not to be counted on.
func (n *Node) lost(id shard.NodeID) bool { return n.isDown(id) || n.isLeaver(id) }

// superviseLocked lists a learner that is ready, and gives up one that does
// not get on.
func (n *Node) superviseLocked(s *slot, plan *shard.Assignment, now int64) progress {
	g := s.learner
	switch id := g.link.peer.id; {
	case g.stage == stageReady:
		if n.stepsDown(id) || n.deadOrLate(s, id, now) {
			n.stopCopyLocked(s)
			n.copies.lost(now)
			return unsettled
		}
		// What was granted so far is not bounded by the lease of this one, and what
		// is still to be heard from others would not be waited for by a successor.
		if s.gather != nil || !n.ungrantedLocked(s) {
			return copying
		}
		g.touched = now
		n.copies.done()
		n.proposeLocked(s, plan, append(slices.Clone(s.view.Known.Backups), id), now)
	case !g.link.started && g.link.peer.live() != nil: // it could not be told
		n.stopCopyLocked(s)
		return unsettled
	case g.unanswered() && now-g.touched > digestAgain*int64(n.resend):
		g.queued, g.asked = true, false // an answer that comes before it is sent does not count
		g.again++
		n.queueCopy(copyJob{slot: s.no, session: g.session, digest: true})
	case now-g.touched > int64(copyStall) && !g.queued, n.isDown(id), n.isAside(id), g.waited && n.late(s, g.link, now):
		n.stopCopyLocked(s)
		n.copies.lost(now)
		return unsettled
	}
	return copying
}

// mendGroupLocked replaces dead witnesses, those that leave a group without a quorum,
// and adds those the group lacks.
func (n *Node) mendGroupLocked(s *slot, plan *shard.Assignment, now int64) bool {
	cl := s.view.Known
	if n.thinned(cl) {
		n.proposeLocked(s, plan, cl.Backups, now)
		return true
	}
	dead := slices.ContainsFunc(cl.Witnesses, n.isDown)
	if !dead && 1+len(cl.Backups)+len(cl.Witnesses) >= shard.GroupSize(n.cfg.Backups) {
		return false
	}
	// Where calls wait for a dead backup to be dropped, or a primary to be
	// replaced, that comes first: in most slots a dead node is but a witness.
	if dead && now-n.failedAt < int64(mendAfter) && !n.mutedLocked(s) {
		return true
	}
	w := n.witnesses(plan, cl.Primary, cl.Backups, s.no)
	// Fewer witnesses only where those that live cannot let this primary serve:
	// without a quorum the change becomes a fork, where the policy allows it.
	if len(w) > len(cl.Witnesses) || dead && (len(w) == len(cl.Witnesses) || n.mutedLocked(s)) {
		n.proposeLocked(s, plan, cl.Backups, now)
		return true
	}
	return false
}

// thinned reports whether a group has no quorum without those that leave, witnesses
// among them: it is replaced while they still vote, by a smaller one if need be.
func (n *Node) thinned(cl *shard.Claim) bool {
	if len(n.leavers) == 0 || !slices.ContainsFunc(cl.Witnesses, n.isLeaver) {
		return false
	}
	staying := 0
	group := cl.Group()
	for _, id := range group {
		if !n.isLeaver(id) && !n.isDown(id) {
			staying++
		}
	}
	return 2*staying <= len(group)
}

// isLeaver is isLeaving as of the plan, or about to be away, without a lock: it is
// asked of every slot.
func (n *Node) isLeaver(id shard.NodeID) bool { return slices.Contains(n.leavers, id) }

// mutedLocked reports whether too many witnesses are dead for a primary without
// backups to get their leases.
func (n *Node) mutedLocked(s *slot) bool {
	sv := s.serving.Load()
	if sv == nil {
		return false
	}
	living := 0
	for _, p := range sv.voters {
		if !n.isDown(p.id) {
			living++
		}
	}
	return living < sv.needed
}

// heldBackLocked reports whether a slot stays where it is because balance is
// paused. What somebody placed, what lacks a copy and what leaves moves all the same.
func (n *Node) heldBackLocked(s *slot, backups []shard.NodeID) bool {
	o := &n.outlook
	return o.paused && !o.leaving && len(s.view.Known.Backups) >= len(backups) &&
		!n.settings.Load().Placed(s.no) && !slices.ContainsFunc(s.view.Known.Backups, n.isLeaving)
}

// fillLocked starts the copy that the plan asks for next. lacks is false where
// the slot has them all, or must go without.
func (n *Node) fillLocked(s *slot, planned shard.NodeID, backups []shard.NodeID, now int64) (p progress, lacks bool) {
	// Who departs, or has lost its disk, waits until one who stays has a copy.
	stuck := n.outlook.leaving && n.heirLocked(s).IsZero()
	// The next write drops the copy on a node whose disk has failed.
	bereft := n.outlook.lostDisk && (len(s.view.Known.Backups) < len(backups) ||
		slices.ContainsFunc(s.view.Known.Backups, func(id shard.NodeID) bool { return n.peer(id).lostDisk.Load() }))
	for i := -1; i < len(backups); i++ {
		id := planned
		if i >= 0 {
			id = backups[i]
		}
		if s.view.Known.Holds(id) {
			continue
		}
		switch p := n.peer(id); {
		case p.lostDisk.Load():
			continue
		case !n.outlook.settled && !bereft, n.mayReturn(s.no, id) && !stuck, p.live() == nil:
			if n.outlook.leaving {
				continue // it hands over to whom it can
			}
			if n.outlook.settled && p.live() == nil {
				return unsettled, true
			}
			return atRest, true // until the outlook changes
		case now-p.upSince.Load() <= int64(50*time.Millisecond):
			return unsettled, true
		case n.lapsed(p, now), n.stalls(p, now): // the copy would be given up, as soon as it is there or before
			return unsettled, true
		case n.agenda.counts[copying] >= n.atOnce(&n.copies, maxCopies, s):
			if len(s.view.Known.Backups) < len(backups) {
				return toRepair, true
			}
			return toMove, true
		case len(s.view.Known.Backups) >= len(backups) && !n.outlook.leaving && !n.pacer.turn(now):
			return toMove, true
		default:
			n.startCopyLocked(s, p)
			return copying, true
		}
	}
	return atRest, false
}

// handoversAtOnce is how many slots with records may be handed over at once. A
// slow disk holds up a hand-over for as long whatever goes with it, as claims
// are saved together: the more at once, the sooner all are over.
func (n *Node) handoversAtOnce() int {
	if n.lostDisk.Load() != nil {
		return maxHandovers // writes wait for theirs anyway
	}
	const quick = 2 * time.Millisecond
	return int(min(max(n.savingTook/int64(quick), 1)*leastHandovers, maxHandovers))
}

// mayReturn reports whether id is to hold the slot only because another node
// died lately, which may be back.
func (n *Node) mayReturn(no uint16, id shard.NodeID) bool {
	return n.outlook.repairing && n.planBefore.Primary(no) != id && !slices.Contains(n.planBefore.Backups(no), id)
}

// moveLocked begins to hand the slot over.
func (n *Node) moveLocked(s *slot, to shard.NodeID, now int64) progress {
	leaving := n.outlook.leaving
	if !s.view.Known.Holds(to) && leaving {
		to = n.heirLocked(s)
	}
	switch {
	case n.outlook.repairing && !leaving && n.planBefore.Primary(s.no) != to && !n.settings.Load().Placed(s.no):
		return atRest // whoever died may be back soon: until the outlook changes
	case !s.view.Known.Holds(to), !n.outlook.settled && !leaving, n.peer(to).live() == nil, s.gather != nil, now < max(s.notBefore, s.stayTill):
		return unsettled
	case n.agenda.counts[handing] >= n.atOnce(&n.handovers, n.handoversAtOnce(), s):
		return toMove
	case !leaving && !n.settings.Load().Placed(s.no) && !n.pacer.turn(now):
		return toMove
	}
	s.hold = &hold{to, now}
	return n.drainLocked(s, now)
}

// heirLocked is the first living in-sync backup.
func (n *Node) heirLocked(s *slot) shard.NodeID {
	for _, id := range s.view.Known.Backups {
		if !n.isDown(id) && !n.isAside(id) && n.peer(id).live() != nil && !n.isLeaving(id) {
			return id
		}
	}
	return shard.NodeID{}
}

// drainLocked hands over once every write is acknowledged.
func (n *Node) drainLocked(s *slot, now int64) progress {
	if ungranted := n.ungrantedLocked(s); ungranted && s.acked.Load() == s.last {
		n.coreMu.Lock()
		ok := n.core.HandOver(s.no, s.hold.to, now)
		n.coreMu.Unlock()
		if ok {
			// From here on nothing is read or acknowledged; the view follows.
			s.darkSince.Store(now)
			s.shut()
			n.stats.handovers.Add(1)
			return handing
		}
	} else if now-s.hold.since < int64(holdLimit) {
		return handing
	}
	s.hold = nil
	s.notBefore = now + int64(holdLimit)
	s.wakeLocked()
	return unsettled
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
	witnesses := n.witnesses(plan, n.id, backups, s.no)
	if s.view.Changing { // repeat nothing that is under way, unless it may have lost its quorum
		c := n.core.Newest(s.no)
		if c != nil && slices.Equal(c.Backups, backups) && !n.losesQuorum(c, witnesses) {
			return
		}
	}
	n.core.Change(s.no, backups, witnesses, now)
}

// losesQuorum reports whether a claim under way has votes that are not to be counted
// on, and these witnesses have none such.
func (n *Node) losesQuorum(c *shard.Claim, witnesses []shard.NodeID) bool {
	return slices.ContainsFunc(c.Witnesses, n.lost) && !slices.ContainsFunc(witnesses, n.lost)
}

func (n *Node) witnesses(plan *shard.Assignment, primary shard.NodeID, backups []shard.NodeID, no uint16) []shard.NodeID {
	if n.planNear != nil && slices.ContainsFunc(n.leavers, n.isAside) {
		plan = n.planNear // whoever steps down has no vote in a moment
	}
	holders := append([]shard.NodeID{primary}, backups...)
	return plan.WitnessesBeside(no, holders, max(0, shard.GroupSize(n.cfg.Backups)-len(holders)))
}

// deadOrLate reports whether a copy no longer follows.
func (n *Node) deadOrLate(s *slot, id shard.NodeID, now int64) bool {
	if n.isDown(id) {
		return true
	}
	l := s.links.to(id)
	if l == nil {
		return true
	}
	if n.late(s, l, now) {
		return true
	}
	return n.lapsed(l.peer, now) // without its lease nothing can be read
}

// late reports whether a write has waited for the copy longer than allowed.
func (n *Node) late(s *slot, l *link, now int64) bool {
	waited, pending := s.pending(now)
	// The time in which this node itself did not run does not count.
	return pending && min(waited, time.Duration(now-n.resumedAt)) > n.patience(l.peer) && l.acked < s.last
}

// dropBackup proposes a claim without a copy that can't be caught up. Who asks for it
// does so until it is in force: a claim that drops one already is left to that.
func (n *Node) dropBackup(no uint16, id shard.NodeID, now int64) {
	v := n.core.View(no)
	if !v.Open || !v.Known.Holds(id) || id == n.id || n.plan == nil {
		return
	}
	backups := without(v.Known.Backups, id)
	witnesses := n.witnesses(n.plan, n.id, backups, no)
	c := n.core.Newest(no)
	if v.Changing && slices.ContainsFunc(v.Known.Backups, func(b shard.NodeID) bool { return !c.Holds(b) }) && !n.losesQuorum(c, witnesses) {
		return
	}
	n.core.Change(no, backups, witnesses, now)
}
