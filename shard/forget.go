package shard

// Dead returns the nodes that have counted as dead since before a time.
func (c *Core) Dead(before int64) (ids []NodeID) {
	for id, since := range c.down {
		if since < before {
			ids = append(ids, id)
		}
	}
	return ids
}

// Forget drops what is known of nodes that nobody tells of any more, as if they
// had never been heard of: of those in ids, but for those that a claim or an
// attempt names, which it takes out of ids. Leases to them have run out.
func (c *Core) Forget(ids map[NodeID]bool) {
	spare := func(list []NodeID) {
		for _, id := range list {
			delete(ids, id)
		}
	}
	spareClaim := func(cl *Claim) {
		if cl != nil {
			delete(ids, cl.Primary)
			spare(cl.Backups)
			spare(cl.Witnesses)
			spare(cl.Base)
		}
	}
	for id := range c.seats {
		delete(ids, id)
	}
	for id := range c.unaware {
		delete(ids, id)
	}
	c.each(func(_ uint16, s *slotState) {
		if len(ids) == 0 {
			return
		}
		spareClaim(s.known)
		if s.accepted != s.known {
			spareClaim(s.accepted)
		}
		for _, list := range [...][]NodeID{s.priors, s.union, s.unfit, {s.promised.To, s.invitedBy, s.handover}} {
			spare(list)
		}
		if a := s.attempt; a != nil {
			spareClaim(a.newest)
			spareClaim(a.claim)
			spare(a.asked)
			spare(a.against)
			for _, group := range a.need {
				spare(group)
			}
		}
	})
	for id := range ids {
		delete(c.down, id)
		delete(c.gone, id)
	}
	c.lent.forget(ids)
}
