package shard

import (
	"math"
	"slices"
)

// Tick repeats what was not answered, opens what waited for a lease, and
// starts the attempts that are due. It looks only at slots where something
// is under way or a member is dead.
func (c *Core) Tick(now int64) {
	c.telling = now-c.toldAt >= int64(c.cfg.Resend)
	if c.telling {
		c.toldAt = now
		c.tellAllUnaware()
	}
	busy := c.busy
	c.busy = nil
	for _, slot := range busy {
		c.at(slot).lists &^= inBusy
	}
	busy = append(c.due(now), busy...)
	c.crowded = len(busy)+len(c.waiting) >= crowd
	for _, slot := range busy {
		s := c.at(slot)
		if s.due = c.tick(slot, s, now); s.due == 0 {
			continue
		}
		s.due = max(s.due, now+int64(c.cfg.Resend)/50)
		c.nextDue = min(c.nextDue, s.due)
		if s.lists&inWaiting == 0 {
			s.lists |= inWaiting
			c.waiting = append(c.waiting, slot)
		}
	}
}

// due takes those that have waited long enough off the list of those that
// wait. They are thousands for as long as a node is cut off, so they are left alone
// until something may have come of it.
func (c *Core) due(now int64) (due []uint16) {
	all := c.telling || c.weighed != c.deaths
	if c.weighed = c.deaths; !all && now < c.nextDue {
		return nil
	}
	c.nextDue = math.MaxInt64
	c.waiting = slices.DeleteFunc(c.waiting, func(slot uint16) bool {
		s := c.at(slot)
		if all || now >= s.due {
			s.lists &^= inWaiting
			due = append(due, slot)
			return true
		}
		c.nextDue = min(c.nextDue, s.due)
		return false
	})
	return due
}

// Busy reports whether Tick has anything to look at now, or within soon.
func (c *Core) Busy(soon int64) bool {
	return len(c.busy) > 0 || len(c.unaware) > 0 || len(c.waiting) > 0 && c.nextDue <= soon
}

// tick reports when the slot must be looked at again, whatever happens; 0: it
// need not be.
func (c *Core) tick(slot uint16, s *slotState, now int64) (due int64) {
	if s == nil {
		return 0
	}
	if c.telling {
		c.remind(slot, s)
	}
	later := now + int64(c.cfg.Resend)
	switch {
	case s.attempt != nil:
		if c.overtaken(s) {
			c.fail(slot, s, now)
		} else {
			c.press(slot, s, now)
		}
		return now + int64(c.cfg.Resend)/8
	case s.known != nil && s.known.Primary == c.self:
		return c.tickPrimary(slot, s, now)
	}
	n := s.newest()
	switch {
	case n == nil:
		return 0
	case c.holds(n) && c.cutFrom(n):
		// It may serve on with others, and drop this node: that takes a while to hear.
		if due = max(s.notBefore, c.cut[n.Primary]+(1+c.rank(n))*int64(c.cfg.Failure)); now >= due {
			c.Promote(slot, now)
		}
		return min(max(due, now), later)
	case c.holds(n) && n.Primary != c.self && c.IsDown(n.Primary):
		if due = max(s.notBefore, c.down[n.Primary]+c.rank(n)*int64(c.cfg.Failure)); now >= due {
			c.Promote(slot, now)
		}
		return min(max(due, now), later)
	case n.Primary == c.self: // own proposal that never came in force
		if due = s.notBefore; now >= due {
			c.Promote(slot, now)
		}
		return min(max(due, now), later)
	case c.IsDown(n.Primary):
		return later
	}
	return 0
}

// remind tells the backups of a claim whose proposer died half-way that it
// lists them: they may not know, and nobody else can take it up.
func (c *Core) remind(slot uint16, s *slotState) {
	n := s.accepted
	if Compare(n, s.known) <= 0 || c.holds(n) || !c.IsDown(n.Primary) {
		return
	}
	for _, id := range n.Backups {
		if !c.IsDown(id) {
			c.repeat(id, Message{Kind: MsgFenceReply, Slot: slot, Seat: c.self, Promised: s.promised, Claim: n, Known: s.known})
		}
	}
}

// rank is how many candidates for succession stand before this node.
func (c *Core) rank(n *Claim) (rank int64) {
	for _, id := range n.Backups {
		if id == c.self {
			break
		}
		if !c.lacks(id) {
			rank++
		}
	}
	return rank
}

func (c *Core) tickPrimary(slot uint16, s *slotState, now int64) (due int64) {
	switch {
	case s.promised.Epoch > s.known.Epoch:
		due = s.notBefore // an own fence that failed
		if s.promised.To != c.self && !c.IsDown(s.promised.To) {
			// Fenced in favour of a node that has not come in force since.
			due = max(due, s.fencedAt+int64(c.cfg.Failure))
		}
	case s.seen > s.known.Epoch || Compare(s.accepted, s.known) > 0 && s.accepted.Primary != c.self:
		due = s.notBefore
	case !s.opened:
		c.settle(slot, s, now)
		if c.tryOpen(slot, s, now); s.opened && s.attempt == nil {
			return 0
		}
		if now < s.lentUntil {
			return min(s.lentUntil, now+int64(c.cfg.Resend)/8)
		}
		return now
	default:
		return 0
	}
	if now >= due {
		c.Promote(slot, now)
	}
	return min(max(due, now), now+int64(c.cfg.Resend))
}

// settle presses the backups of a claim in force that is not open, and drops one
// that is dead, late, or refuses to be listed: the one change allowed before opening.
func (c *Core) settle(slot uint16, s *slotState, now int64) {
	late := now-s.inForceAt > int64(c.cfg.Settle)
	patience := int64(c.cfg.Failure)
	if c.slow { // so may they be
		patience *= 4
	}
	for _, id := range s.known.Backups {
		if slices.Contains(s.settled, id) && slices.Contains(s.acceptors, id) {
			continue
		}
		patient := c.cfg.Awake != nil && c.cfg.Awake(id) && now-s.inForceAt <= patience
		if (late && !patient || c.IsDown(id) || slices.Contains(s.unfit, id)) && !c.cfg.off.dropFirst {
			backups := slices.DeleteFunc(slices.Clone(s.known.Backups), func(b NodeID) bool { return b == id })
			s.inForceAt = now
			c.Change(slot, backups, append(slices.Clone(s.known.Witnesses), id), now)
			return
		}
		if !slices.Contains(s.acceptors, id) && c.telling && now-s.inForceAt > int64(c.cfg.Resend) {
			c.repeat(id, Message{Kind: MsgAccept, Slot: slot, Epoch: s.known.Epoch, Rev: s.known.Rev, Seat: id, Claim: s.known, Known: s.known})
		}
	}
}

// Messages that are not answered are repeated after Resend. With so many slots under
// way that is done more and more seldom, after 1, 2, 4, 8 and then each 16 times
// Resend: the answers may take longer than that, and repetitions delay them further.
// A change of who is alive begins anew, since whatever was on its way may be lost.
const (
	crowd  = 512
	seldom = 4
)

// press repeats an attempt's unanswered messages, and goes on without a
// quorum where the policy and the wait allow it.
func (c *Core) press(slot uint16, s *slotState, now int64) {
	a := s.attempt
	if !a.careful && !a.orphan && !a.invited && a.claim == nil && c.cutFrom(a.newest) {
		a.careful, a.fork, a.forkAt = true, false, 0 // it was taken for dead
	}
	if a.careful && !c.cutFrom(a.newest) {
		a.careful = false
		if a.claim == nil && !c.IsDown(a.newest.Primary) { // it is heard again
			c.fail(slot, s, now)
			return
		}
	}
	if c.hopeless(s) {
		c.fence(slot, s, s.highest()+1, a.orphan, now)
		return
	}
	if a.weighed != c.deaths {
		a.resent = 0
	} else if now-a.weighedAt < int64(c.cfg.Resend)/8 {
		return // thousands of slots wait at once, and little changes from tick to tick
	}
	a.weighed, a.weighedAt = c.deaths, now
	if c.mayFork(a, now) {
		if a.claim != nil {
			// A claim is never proposed again under another lineage.
			c.fence(slot, s, s.highest()+1, a.orphan, now)
			if a = s.attempt; a == nil || a.claim != nil {
				return
			}
		}
		if a.forkAt == 0 {
			a.forkAt = now + 2*int64(c.cfg.Resend)
		}
		c.fenced(slot, s, now)
		if s.attempt != a {
			return
		}
	} else if a.claim == nil && a.forkAt != 0 {
		c.fenced(slot, s, now)
	}
	shift := 0
	if c.slow {
		shift = 2
	}
	if c.crowded {
		shift = max(shift, min(a.resent, seldom))
	}
	if now-a.sent < int64(c.cfg.Resend)<<shift {
		return
	}
	a.sent = now
	a.resent++
	if a.claim == nil {
		for _, id := range a.asked {
			if !slices.Contains(a.promises, id) && !c.gone[id] {
				c.repeat(id, Message{Kind: MsgFence, Slot: slot, Epoch: a.epoch, Seat: id, Known: s.known, Careful: a.careful})
			}
		}
		return
	}
	for _, id := range a.voters() {
		if !slices.Contains(a.accepts, id) && !c.gone[id] {
			c.repeat(id, Message{Kind: MsgAccept, Slot: slot, Epoch: a.claim.Epoch, Rev: a.claim.Rev, Seat: id, Claim: a.claim, Known: s.known})
		}
	}
}

// sleepless is how many times longer than others a member is waited for that
// does not answer but is heard from: it is busy rather than cut off.
const sleepless = 10

// mayFork reports whether an attempt lacks a quorum and need not wait for it:
// no word from a missing member for PartitionWait, or all of them have ended. Those
// that are heard from otherwise are waited for longer.
func (c *Core) mayFork(a *attempt, now int64) bool {
	if a.careful || a.fork && a.claim != nil && !c.lost(a.claim.Backups, a.accepts) {
		return false
	}
	votes, groups := a.accepts, a.need
	if a.claim == nil {
		votes, groups = a.promises, [][]NodeID{a.newest.Group(), a.newest.base()}
	} else {
		groups = append(groups[:len(groups):len(groups)], a.claim.Group())
	}
	lacking := a.fork // its listed backups must all accept, and one is lost
	ended, awake := true, false
	for _, g := range groups {
		if quorum(g, votes) {
			continue
		}
		lacking = true
		for _, id := range diff(g, votes) {
			ended = ended && c.ended(id)
			awake = awake || c.cfg.Awake != nil && c.cfg.Awake(id)
		}
	}
	wait := int64(c.cfg.PartitionWait)
	if awake {
		wait *= sleepless
	}
	return lacking && (ended || !c.cfg.Majority && now-a.heard >= wait)
}

// ended reports whether the vote of a node is not worth waiting for: there is proof that
// it is gone, and with Majority its place is taken again. A network that refuses what it
// does not let through may give such proof of nodes that live, but starts none.
func (c *Core) ended(id NodeID) bool {
	return c.gone[id] && (!c.cfg.Majority || c.cfg.Back != nil && c.cfg.Back(id))
}

// votersEnded reports whether all have ended whose promise a quorum lacks.
func (c *Core) votersEnded(a *attempt) bool {
	for _, g := range [][]NodeID{a.newest.Group(), a.newest.base()} {
		if !quorum(g, a.promises) && slices.ContainsFunc(diff(g, a.promises), func(id NodeID) bool { return !c.ended(id) }) {
			return false
		}
	}
	return true
}

// overtaken reports whether an epoch was met that will refuse a change of the
// own claim: it is abandoned, and this node fences itself above.
func (c *Core) overtaken(s *slotState) bool {
	a := s.attempt
	return a.claim != nil && s.known != nil && s.known.Primary == c.self && a.epoch == s.known.Epoch && s.seen > a.epoch
}

// hopeless reports whether a promotion waits for the acceptance of a node that
// will not give it; the next attempt does not list it.
func (c *Core) hopeless(s *slotState) bool {
	a := s.attempt
	if a.claim == nil || a.newest == nil {
		return false
	}
	for _, id := range diff(a.claim.Backups, a.accepts) {
		if slices.Contains(s.unfit, id) {
			return true
		}
		if (a.fork || s.known != nil && s.known.Primary == c.self && !s.known.Holds(id)) && c.IsDown(id) {
			return true
		}
	}
	return false
}

// holderLives reports whether a node that cl lists may be alive.
func (c *Core) holderLives(cl *Claim) bool {
	return !c.IsDown(cl.Primary) || slices.ContainsFunc(cl.Backups, func(id NodeID) bool { return !c.IsDown(id) })
}

// holdersGone reports whether there is proof that each node that cl lists is dead.
func (c *Core) holdersGone(cl *Claim) bool {
	return c.gone[cl.Primary] && !slices.ContainsFunc(cl.Backups, func(id NodeID) bool { return !c.gone[id] })
}

// firstHolder reports whether no living node but this one holds a copy under cl, or
// all that do come after it.
func (c *Core) firstHolder(cl *Claim) bool {
	if cl == nil || cl.Primary == c.self {
		return true
	}
	if !c.IsDown(cl.Primary) {
		return false
	}
	for _, id := range cl.Backups {
		if id == c.self || !c.IsDown(id) {
			return id == c.self
		}
	}
	return true
}

// lost reports whether one of ids that has not voted is dead.
func (c *Core) lost(ids, votes []NodeID) bool {
	return slices.ContainsFunc(diff(ids, votes), c.IsDown)
}

// missing reports whether a member that may be alive has not answered.
func (c *Core) missing(a *attempt) bool {
	return slices.ContainsFunc(diff(a.asked, a.promises), func(id NodeID) bool { return !c.gone[id] && !c.IsDown(id) })
}

// Orphaned reports whether all holders of the newest claim are dead, and have been
// for OrphanWait by this node's count. Where that claim is not known in force, and
// holders of the one that is live, it is for the first of these to say: perhaps it
// serves the slot and never heard of the other, and if not it has the better copy.
// That one need not have heard of the newest of all, though. When nothing has come of
// the newest claim that it knows for as long, it asks by a fence, and hears.
func (c *Core) Orphaned(slot uint16, now int64) bool {
	s := c.at(slot)
	if s == nil || s.attempt != nil {
		return false
	}
	n := s.newest()
	overtaken := n != s.known && s.known.Holds(c.self)
	if n == nil || n.Holds(c.self) || c.holderLives(n) && !overtaken || n != s.known && !c.firstHolder(s.known) {
		s.orphanAt = 0
		return false
	}
	if s.orphanAt == 0 {
		s.orphanAt = now
	}
	// A holder may have been back in between.
	since := max(s.orphanAt, c.down[n.Primary])
	for _, id := range n.Backups {
		since = max(since, c.down[id])
	}
	return now-since >= int64(c.cfg.OrphanWait) && now >= s.notBefore
}

// Orphan starts a slot anew from what this node has, for want of a living
// holder, under a new lineage number. With Majority it needs a quorum of the newest
// claim's group, or proof that each holder is gone: they may be alive on the other side
// of a cut.
func (c *Core) Orphan(slot uint16, now int64) {
	s := c.at(slot)
	if s == nil || s.newest() == nil || s.attempt != nil {
		return
	}
	c.fence(slot, s, s.highest()+1, true, now)
	if s.attempt != nil && s.attempt.claim == nil {
		s.attempt.forkAt = now + 2*int64(c.cfg.Resend)
	}
}

// Merge mints an epoch above the other side's, taking over its lineage, so
// that what it offers can be written anew. The claim other lost to this one.
func (c *Core) Merge(slot uint16, other *Claim, now int64) bool {
	s := c.at(slot)
	if s == nil || s.known == nil || s.known.Primary != c.self || !s.opened {
		return false
	}
	if contains(s.known.Lineage, other.Lineage) && s.known.Epoch > other.Epoch {
		return true // also while the members change: that may wait for this
	}
	if s.attempt != nil {
		return false
	}
	s.merge = other.Lineage
	s.seen = max(s.seen, other.Epoch)
	c.fence(slot, s, s.highest()+1, false, now)
	return false
}
