package shard

import "slices"

// Receive takes in a message from a node.
func (c *Core) Receive(from NodeID, m Message, now int64) {
	if m.Known != nil {
		c.learn(m.Known, now)
	}
	switch m.Kind {
	case MsgFence:
		c.onFence(from, m, now)
	case MsgAccept:
		c.onAccept(from, m, now)
	case MsgFenceReply, MsgAcceptReply:
		c.onReply(m, now)
	case MsgInvite:
		c.onInvite(from, m, now)
	case MsgInForce: // Known says it; the sender waits for the answer
		if s := c.slot(m.Slot); m.Known != nil && Compare(m.Known, s.known) <= 0 {
			c.send(from, Message{Kind: MsgInForceReply, Slot: m.Slot, Epoch: m.Epoch, Seat: m.Seat, OK: true})
		}
	case MsgInForceReply:
		c.aware(from, m.Slot)
	}
}

// onFence promises an epoch, or says why not. A promise that rests on a lease
// as a witness is not broken.
func (c *Core) onFence(from NodeID, m Message, now int64) {
	s := c.slot(m.Slot)
	b := Ballot{m.Epoch, from}
	reply := Message{Kind: MsgFenceReply, Slot: m.Slot, Epoch: m.Epoch, Seat: m.Seat}
	switch {
	case !c.seats[m.Seat]:
		reply.NoSeat = true
	case b != s.promised && m.Epoch <= s.highestPromise() && !(c.cfg.off.promise && m.Epoch == s.promised.Epoch):
	case c.leans(s.newest(), m.Seat) && s.newest().Primary != from && c.lent.lentUntil(s.newest().Primary) > now:
		reply.Busy = true
	case m.Careful && b != s.promised && c.defends(s.newest(), from):
		reply.Busy = true
	default:
		reply.OK = true
		if b != s.promised {
			c.promise(m.Slot, s, b, now)
		}
	}
	c.tell(from, s, &m, reply)
}

// defends reports whether the primary of cl is alive for all that this node knows.
func (c *Core) defends(cl *Claim, against NodeID) bool {
	return cl != nil && cl.Primary != against && (cl.Primary == c.self || c.cfg.Hears != nil && c.cfg.Hears(cl.Primary))
}

// leans reports whether the primary of cl may serve by a lease of seat, as its witness.
// One that went on alone, as a fork, needs none; if others lent it theirs for other
// slots' sake and refused each other for that, they would for as long as it lives.
func (c *Core) leans(cl *Claim, seat NodeID) bool {
	return cl != nil && len(cl.Backups) == 0 && cl.Primary != c.self && slices.Contains(cl.Witnesses, seat)
}

// highestPromise is the epoch up to which nothing new may be promised.
func (s *slotState) highestPromise() uint64 {
	e := s.promised.Epoch
	if s.known != nil {
		e = max(e, s.known.Epoch)
	}
	if s.accepted != nil {
		e = max(e, s.accepted.Epoch)
	}
	return e
}

// promise binds this node to another proposer: an own attempt below is void,
// and an own claim serves nothing from now on.
func (c *Core) promise(slot uint16, s *slotState, b Ballot, now int64) {
	s.promised = b
	if s.attempt != nil && s.attempt.epoch <= b.Epoch {
		c.fail(slot, s, now)
	}
	if s.known != nil && s.known.Primary == c.self {
		s.opened = false
		s.fencedAt = now
	}
	c.save(slot)
	c.touch(slot)
	c.watch(slot)
}

// tell completes a reply with what this node knows. A consent leaves out what came
// with the question: most replies are such, and claims most of their bytes.
func (c *Core) tell(to NodeID, s *slotState, asked *Message, m Message) {
	m.Promised = s.promised
	if !m.OK || Compare(s.known, asked.Known) != 0 {
		m.Known = s.known
	}
	if Compare(s.accepted, s.known) > 0 && !(m.OK && Compare(s.accepted, asked.Claim) == 0) {
		m.Claim = s.accepted
	}
	if !m.OK {
		c.stats.Refusals++
	}
	c.send(to, m)
}

// onAccept accepts a claim unless something higher is promised or accepted.
func (c *Core) onAccept(from NodeID, m Message, now int64) {
	s := c.slot(m.Slot)
	cl := m.Claim
	b := Ballot{cl.Epoch, cl.Primary}
	reply := Message{Kind: MsgAcceptReply, Slot: m.Slot, Epoch: m.Epoch, Rev: m.Rev, Seat: m.Seat}
	switch {
	case cl.Primary != from || cl.Epoch != m.Epoch || cl.Rev != m.Rev:
		return // not the proposer's own claim
	case !c.seats[m.Seat]:
		reply.NoSeat = true
	case cl.Epoch < s.promised.Epoch || cl.Epoch == s.promised.Epoch && s.promised.To != cl.Primary:
	case Compare(cl, s.accepted) < 0 || Compare(cl, s.known) < 0:
	case cl.Holds(m.Seat) && (m.Seat != c.self || !c.cfg.CanList(cl)):
		reply.Busy = true
	default:
		reply.OK = true
		if Compare(cl, s.accepted) != 0 {
			c.replaced(s, s.newest(), cl)
			s.accepted = cl
			if b != s.promised {
				c.promise(m.Slot, s, b, now)
			}
			c.save(m.Slot)
			c.touch(m.Slot)
			c.watch(m.Slot)
		}
	}
	c.tell(from, s, &m, reply)
}

// onReply counts an answer to the attempt it belongs to; any other is void.
func (c *Core) onReply(m Message, now int64) {
	s := c.slot(m.Slot)
	c.see(m.Slot, s, m.Promised.Epoch)
	if m.Claim != nil {
		c.see(m.Slot, s, m.Claim.Epoch)
	}
	a := s.attempt
	if a == nil && m.Claim != nil && m.Claim.Holds(c.self) && Compare(m.Claim, s.newest()) > 0 &&
		(s.known == nil || c.IsDown(m.Claim.Primary)) {
		// Its proposer died half-way, and this node is to take it up.
		c.replaced(s, s.newest(), m.Claim)
		s.accepted = m.Claim
		c.save(m.Slot)
		c.watch(m.Slot)
		return
	}
	if a == nil {
		// A backup may accept a claim, or refuse to be listed, after it came in force.
		if m.Kind == MsgAcceptReply && s.known != nil && s.known.Primary == c.self && s.known.Epoch == m.Epoch && s.known.Rev == m.Rev {
			c.answeredLate(m, s, now)
		}
		return
	}
	if a.epoch != m.Epoch || (a.claim == nil) != (m.Kind == MsgFenceReply) || a.claim != nil && a.claim.Rev != m.Rev {
		return
	}
	if m.NoSeat {
		return // no vote, now or ever: others may do
	}
	a.heard = now
	if !m.OK {
		if m.Busy {
			if m.Kind == MsgAcceptReply {
				s.refusedBy(m.Seat)
			}
			return
		}
		if m.Promised.Epoch > a.epoch || m.Promised.Epoch == a.epoch && m.Promised.To != c.self ||
			m.Claim != nil && m.Claim.Epoch >= a.epoch && m.Claim.Primary != c.self {
			if s.known != nil && s.known.Epoch == a.epoch { // a change: it needs a higher epoch to vote again
				c.see(m.Slot, s, a.epoch+1)
			}
			c.refused(m.Slot, s, m, now)
		}
		return
	}
	if m.Kind == MsgAcceptReply {
		if !slices.Contains(a.accepts, m.Seat) {
			a.accepts = append(a.accepts, m.Seat)
		}
		c.accepted(m.Slot, s, now)
		return
	}
	if !slices.Contains(a.promises, m.Seat) {
		a.promises = append(a.promises, m.Seat)
	}
	for _, cl := range []*Claim{m.Claim, m.Known} {
		if Compare(cl, a.newest) > 0 {
			c.oppose(m.Slot, s, cl.Primary)
			a.newest, a.invited = cl, false
			c.ask(m.Slot, s, now)
		}
	}
	c.fenced(m.Slot, s, now)
}

func (c *Core) answeredLate(m Message, s *slotState, now int64) {
	switch {
	case !s.known.Holds(m.Seat) || slices.Contains(s.acceptors, m.Seat):
	case m.OK:
		s.acceptors = append(s.acceptors, m.Seat)
		c.tryOpen(m.Slot, s, now)
	case m.Busy && !s.opened:
		s.refusedBy(m.Seat)
		c.watch(m.Slot)
	}
}

// refusedBy notes that a node is not to be listed.
func (s *slotState) refusedBy(id NodeID) {
	if !slices.Contains(s.unfit, id) {
		s.unfit = append(s.unfit, id)
	}
}

// refused abandons what was refused. A primary thereby learns of an epoch
// above its own that is no claim in force; Tick fences above it.
func (c *Core) refused(slot uint16, s *slotState, m Message, now int64) {
	if m.Claim != nil && m.Known == nil && s.known == nil && Compare(m.Claim, s.accepted) > 0 {
		// Someone else is founding, or has founded, the slot.
		s.accepted = m.Claim
		c.save(slot)
	}
	c.fail(slot, s, now)
}

// onInvite promotes this node in place of a primary that fenced itself for it.
func (c *Core) onInvite(from NodeID, m Message, now int64) {
	s := c.slot(m.Slot)
	if s.known == nil || s.known.Primary != from || !c.holds(s.known) || m.Epoch <= s.highestPromise() || Compare(s.accepted, s.known) > 0 {
		return
	}
	s.invitedBy = from
	s.priors = nil // from was open
	// The invitation is the promise of from, and nothing newer is accepted there.
	c.fence(m.Slot, s, m.Epoch, false, now, from)
}

// HandOver fences this primary in favour of a backup and invites it. The data
// path has seen every write acknowledged; it acknowledges and reads nothing
// from the moment View says Fenced.
func (c *Core) HandOver(slot uint16, to NodeID, now int64) bool {
	s := c.at(slot)
	if s == nil || s.known == nil || s.known.Primary != c.self || !s.opened || s.attempt != nil ||
		!slices.Contains(s.known.Backups, to) || s.highest() >= MaxEpoch || len(s.union) > 0 {
		return false
	}
	b := Ballot{s.highest() + 1, to}
	c.promise(slot, s, b, now)
	s.handover = to
	c.send(to, Message{Kind: MsgInvite, Slot: slot, Epoch: b.Epoch, Seat: to, Known: s.known})
	return true
}
