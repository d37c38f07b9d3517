package shard

import (
	"slices"
)

// attempt is one claim being brought in force by this node.
type attempt struct {
	epoch     uint64
	started   int64
	sent      int64    // when its messages last went out
	resent    int      // how often they did again, since the last change of who is alive
	heard     int64    // when a member last answered
	weighedAt int64    // when it was last looked at whether to go on without a quorum
	weighed   uint64   // Core.deaths then
	against   []NodeID // the primaries being succeeded without their leave
	lentUntil int64    // when the last lease to them for this slot runs out

	// Fencing, until claim is set.
	newest   *Claim // of all answers and of this node
	asked    []NodeID
	promises []NodeID
	orphan   bool // no holder of newest lives: anybody may start anew
	careful  bool // newest's primary is only cut off from here
	invited  bool // newest's own primary has fenced itself for this epoch, all its writes acknowledged

	claim   *Claim
	need    [][]NodeID // a quorum of each must accept, and one of the claim's own group
	accepts []NodeID
	fork    bool  // no quorum: all whom the claim lists must accept instead
	forkAt  int64 // when a fork stops waiting for more members to answer; 0: not decided
}

// quorum reports whether a majority of group is in votes.
func quorum(group, votes []NodeID) bool {
	n := 0
	for _, id := range group {
		if slices.Contains(votes, id) {
			n++
		}
	}
	return n >= Quorum(len(group))
}

// base is the group that a claim not known in force needs beside its own.
func (c *Claim) base() []NodeID {
	if len(c.Base) > 0 {
		return c.Base
	}
	return c.Group()
}

// Found claims a slot that never was, with backups that hold nothing yet.
func (c *Core) Found(slot uint16, backups, witnesses []NodeID, now int64) bool {
	s := c.slot(slot)
	if s.known != nil || s.accepted != nil || s.attempt != nil || now < s.notBefore {
		return false
	}
	epoch := s.highest() + 1
	cl := &Claim{Slot: slot, Epoch: epoch, Primary: c.self, Backups: backups, Witnesses: witnesses, Lineage: []uint64{c.lineage()}}
	a := &attempt{epoch: epoch, started: now, heard: now}
	s.attempt = a
	c.promiseSelf(slot, s, epoch)
	c.propose(slot, s, cl, nil, now) // its own group
	return true
}

// Change proposes other backups and witnesses for a slot that this node
// serves; it touches at most one holder. An outstanding change is replaced.
// It reports whether the claim was proposed.
func (c *Core) Change(slot uint16, backups, witnesses []NodeID, now int64) bool {
	s := c.at(slot)
	if s == nil || s.known == nil || s.known.Primary != c.self || s.promised.Epoch > s.known.Epoch || s.seen > s.known.Epoch {
		return false // fenced, or about to be: a higher epoch would refuse it
	}
	added, dropped := diff(backups, s.known.Backups), diff(s.known.Backups, backups)
	if len(added)+len(dropped) > 1 || !s.opened && len(added) > 0 {
		return false
	}
	s.lastRev = max(s.lastRev, s.known.Rev) + 1
	cl := &Claim{
		Slot: slot, Epoch: s.known.Epoch, Rev: s.lastRev, Primary: c.self,
		Backups: backups, Witnesses: witnesses, Base: s.known.Group(), Lineage: s.known.Lineage,
	}
	a := &attempt{epoch: cl.Epoch, started: now, heard: now}
	if s.attempt != nil {
		a.started = s.attempt.started
		c.endAttempt(slot, s)
	}
	s.attempt = a
	c.stats.Drops += uint64(len(dropped))
	c.propose(slot, s, cl, [][]NodeID{s.known.Group()}, now)
	return true
}

// diff returns those of a that are not in b.
func diff(a, b []NodeID) (d []NodeID) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			d = append(d, id)
		}
	}
	return d
}

// Promote starts to bring in force a claim that names this node primary, in
// place of the newest one, which must list it.
func (c *Core) Promote(slot uint16, now int64) bool {
	s := c.slot(slot)
	if n := s.newest(); n == nil || !c.holds(n) {
		return false
	}
	c.fence(slot, s, s.highest()+1, false, now)
	return true
}

// holds reports whether cl lists this node under its present ID.
func (c *Core) holds(cl *Claim) bool { return cl.Holds(c.self) }

// fence starts the first step. Those in promised have promised the epoch.
func (c *Core) fence(slot uint16, s *slotState, epoch uint64, orphan bool, now int64, promised ...NodeID) {
	if epoch > MaxEpoch {
		return // 2^24 claims of one slot: refused rather than wrapped
	}
	if s.attempt != nil {
		c.endAttempt(slot, s)
	}
	a := &attempt{epoch: epoch, started: now, heard: now, sent: now, newest: s.newest(), orphan: orphan}
	s.attempt = a
	for _, id := range s.priors {
		c.oppose(slot, s, id)
	}
	for _, cl := range []*Claim{s.known, s.accepted} {
		// A primary that invites has fenced itself. What was accepted from it may
		// be what is known by now, from another message.
		if cl != nil && (s.invitedBy != cl.Primary || Compare(cl, s.known) > 0) {
			c.oppose(slot, s, cl.Primary)
		}
	}
	s.handover = NodeID{}
	c.promiseSelf(slot, s, epoch)
	a.promises = append(append(a.promises, c.self), promised...)
	a.asked = append(a.asked, promised...)
	a.invited = len(promised) > 0
	a.careful = !orphan && !a.invited && c.cutFrom(a.newest)
	for seat := range c.seats {
		if seat != c.self {
			a.promises = append(a.promises, seat)
		}
	}
	c.ask(slot, s, now)
	c.fenced(slot, s, now)
}

// cutFrom reports whether the primary of cl is alive and cut off from this node.
func (c *Core) cutFrom(cl *Claim) bool {
	return cl != nil && cl.Primary != c.self && c.lacks(cl.Primary) && !c.IsDown(cl.Primary)
}

// oppose leaves the slot out of this node's leases to a primary that the
// attempt succeeds, until that primary knows or the attempt is over.
func (c *Core) oppose(slot uint16, s *slotState, old NodeID) {
	if a := s.attempt; old != c.self && !slices.Contains(a.against, old) {
		a.against = append(a.against, old)
		a.lentUntil = max(a.lentUntil, c.lent.oppose(old, slot))
	}
}

func (c *Core) promiseSelf(slot uint16, s *slotState, epoch uint64) {
	s.promised = Ballot{epoch, c.self}
	s.opened = false
	c.save(slot)
	c.touch(slot)
	c.watch(slot)
}

// ask sends the fence to members of the newest claim's group not asked yet.
func (c *Core) ask(slot uint16, s *slotState, now int64) {
	a := s.attempt
	for _, id := range append(a.newest.Group(), a.newest.Base...) {
		if !slices.Contains(a.asked, id) {
			a.asked = append(a.asked, id)
			if !c.seats[id] {
				c.send(id, Message{Kind: MsgFence, Slot: slot, Epoch: a.epoch, Seat: id, Known: s.known, Careful: a.careful})
			}
		}
	}
}

func (c *Core) endAttempt(slot uint16, s *slotState) {
	for _, old := range s.attempt.against {
		if !c.unaware[old].of(slot) {
			c.lent.release(old, slot)
		}
	}
	s.attempt = nil
	c.touch(slot)
}

// fail ends an attempt and waits a random time that doubles before the next.
func (c *Core) fail(slot uint16, s *slotState, now int64) {
	c.endAttempt(slot, s)
	if c.cfg.off.unionVoid {
		s.union = nil
	}
	if c.cfg.off.backOff {
		c.watch(slot)
		return
	}
	s.tries = min(s.tries+1, 6)
	span := uint64(c.cfg.BackOff) << s.tries
	s.notBefore = now + int64(c.cfg.Rand()%span)
	c.watch(slot)
}

// fenced looks whether enough members have promised, and goes on to step 2.
func (c *Core) fenced(slot uint16, s *slotState, now int64) {
	a := s.attempt
	if a == nil || a.claim != nil {
		return
	}
	n := a.newest
	if !c.holds(n) && (!a.orphan || c.holderLives(n)) {
		if a.orphan && (a.forkAt == 0 || now < a.forkAt && c.missing(a)) {
			return // others may know of a newer one
		}
		// Not in sync in the newest claim accepted: keep that, and stop. Whose
		// promises are lacking does not matter, and they may never come.
		if Compare(n, s.accepted) > 0 {
			s.accepted = n
			c.save(slot)
		}
		c.fail(slot, s, now)
		return
	}
	inForce := Compare(n, s.known) <= 0
	if !n.quorum(a.promises) || !inForce && !quorum(n.base(), a.promises) {
		if a.forkAt == 0 || now < a.forkAt && c.missing(a) || c.cfg.Majority && !c.holdersGone(n) && !c.votersEnded(a) {
			return
		}
		a.fork = true
	}
	need := [][]NodeID{n.Group()}
	cl := &Claim{Slot: slot, Epoch: a.epoch, Primary: c.self, Lineage: n.Lineage, Base: n.base()}
	if inForce {
		cl.Base = n.Group()
	} else {
		need = append(need, n.base())
	}
	stray := c.stray(n)
	switch {
	case a.orphan:
		a.fork = true
		c.stats.Orphans++
	case stray == nil:
		for _, id := range append(slices.Clone(n.Backups), n.Primary) {
			if id == c.self || c.lacks(id) || slices.Contains(s.unfit, id) || a.fork && !slices.Contains(a.promises, id) {
				continue
			}
			cl.Backups = append(cl.Backups, id)
		}
	}
	for _, id := range n.Group() {
		if !cl.Holds(id) && !(a.fork && !slices.Contains(a.promises, id)) && !(c.seats[id] && id != c.self) {
			cl.Witnesses = append(cl.Witnesses, id)
		}
	}
	var others [][]uint64
	for _, taken := range [][]uint64{stray, s.merge} {
		if !contains(n.Lineage, taken) {
			others = append(others, taken)
		}
	}
	if a.fork || len(others) > 0 {
		cl.Lineage = c.inherit(n.Lineage, others...)
	}
	if a.fork {
		cl.Base, need = nil, nil
		c.stats.Forks++
	}
	c.propose(slot, s, cl, need, now)
}

// stray is the lineage of this node's copy where cl, which lists it, does not
// include it; see CoreConfig.
func (c *Core) stray(cl *Claim) []uint64 {
	if c.cfg.Stray == nil || !c.holds(cl) {
		return nil
	}
	return slices.Clone(c.cfg.Stray(cl))
}

// propose starts the second step.
func (c *Core) propose(slot uint16, s *slotState, cl *Claim, need [][]NodeID, now int64) {
	a := s.attempt
	if cl.Base != nil && slices.Equal(cl.Base, cl.Group()) {
		cl.Base = nil
	}
	a.claim, a.need, a.sent = cl, need, now
	a.accepts = make([]NodeID, 0, 1+len(cl.Backups)+len(cl.Witnesses))
	if len(s.union) == 0 {
		s.union = slices.Clip(cl.Backups)
	}
	for _, id := range cl.Backups {
		if !slices.Contains(s.union, id) {
			s.union = append(s.union, id)
		}
	}
	s.accepted = cl
	for seat := range c.seats {
		a.accepts = append(a.accepts, seat)
	}
	c.save(slot)
	c.touch(slot)
	c.watch(slot)
	for _, id := range a.voters() {
		if !c.seats[id] {
			c.send(id, Message{Kind: MsgAccept, Slot: slot, Epoch: cl.Epoch, Rev: cl.Rev, Seat: id, Claim: cl, Known: s.known})
		}
	}
	c.accepted(slot, s, now)
}

// voters are all whom a proposed claim is sent to, each once.
func (a *attempt) voters() []NodeID {
	v := a.claim.Group()
	for _, g := range a.need {
		for _, id := range g {
			if !slices.Contains(v, id) {
				v = append(v, id)
			}
		}
	}
	return v
}

// accepted looks whether the proposed claim is in force.
func (c *Core) accepted(slot uint16, s *slotState, now int64) {
	a := s.attempt
	if a == nil || a.claim == nil {
		return
	}
	if c.cfg.OffForce {
		a.need = nil
	} else if a.fork {
		for _, id := range a.claim.Backups {
			if !slices.Contains(a.accepts, id) {
				return
			}
		}
	} else {
		if !a.claim.quorum(a.accepts) {
			return
		}
		for _, g := range a.need {
			if !quorum(g, a.accepts) {
				return
			}
		}
	}
	for _, id := range a.claim.Backups {
		// Whoever is added says itself that it holds the copy.
		if s.known != nil && s.known.Primary == c.self && !s.known.Holds(id) && !slices.Contains(a.accepts, id) {
			return
		}
	}
	first := s.known == nil || s.known.Primary != c.self || s.known.Epoch != a.epoch
	var have []NodeID // the others acknowledge a change of an open primary later
	for _, id := range a.claim.Backups {
		if slices.Contains(a.accepts, id) {
			have = append(have, id)
		}
	}
	s.lentUntil = max(s.lentUntil, a.lentUntil)
	s.known = a.claim
	s.union, s.unfit, s.merge = nil, nil, nil
	s.tries = 0
	s.orphanAt = 0
	s.handover = NodeID{}
	s.acceptors = have
	if first {
		s.opened, s.settled, s.inForceAt = false, nil, now
		if a.invited {
			// The old primary had every write acknowledged before it invited:
			// there is nothing above the mark on any copy.
			s.settled = slices.Clone(a.claim.Backups)
		}
		s.lastRev = 0
		c.stats.Promotions++
	}
	for _, old := range a.against {
		c.tellUnaware(old, slot, s)
	}
	a.against = nil // they stay opposed until they know
	c.endAttempt(slot, s)
	c.inForce = append(c.inForce, s.known)
	c.save(slot)
	c.watch(slot)
	c.tryOpen(slot, s, now)
}

// Settled says that a backup holds the union of the records above the
// acknowledged mark, as this node does, under the present claim.
func (c *Core) Settled(slot uint16, epoch uint64, backup NodeID, now int64) {
	s := c.at(slot)
	if s == nil || s.known == nil || s.known.Primary != c.self || s.known.Epoch != epoch || s.opened {
		return
	}
	if !slices.Contains(s.settled, backup) {
		s.settled = append(s.settled, backup)
	}
	c.tryOpen(slot, s, now)
}

// tryOpen takes the third step if it can be taken.
func (c *Core) tryOpen(slot uint16, s *slotState, now int64) {
	if s.opened || s.known == nil || s.known.Primary != c.self || s.promised.Epoch > s.known.Epoch {
		return
	}
	for _, id := range s.known.Backups {
		if !slices.Contains(s.acceptors, id) || !slices.Contains(s.settled, id) {
			return
		}
	}
	if len(s.union) > 0 {
		return // a proposal is out: its backups have not settled
	}
	if now < s.lentUntil && !c.cfg.off.lentWait {
		if s.lists&inWaiting == 0 || s.due > s.lentUntil {
			c.watch(slot)
		}
		return
	}
	s.opened = true
	s.invitedBy = NodeID{}
	s.priors = nil
	c.touch(slot)
}
