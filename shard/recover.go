package shard

// Recover claims a slot that nobody serves from a copy on this node's disk.
// It is Found for a slot that was claimed before: the claim takes over the
// lineage it was last served under and adds a number, so that every other copy
// of before is offered to it.
func (c *Core) Recover(slot uint16, lineage []uint64, witnesses []NodeID, now int64) bool {
	s := c.slot(slot)
	if s.known != nil || s.accepted != nil || s.attempt != nil || now < s.notBefore {
		return false
	}
	epoch := s.highest() + 1
	cl := &Claim{Slot: slot, Epoch: epoch, Primary: c.self, Witnesses: witnesses, Lineage: c.inherit(lineage)}
	s.attempt = &attempt{epoch: epoch, started: now, heard: now}
	c.promiseSelf(slot, s, epoch)
	c.propose(slot, s, cl, nil, now)
	return true
}

// Highest is the highest epoch known of a slot.
func (c *Core) Highest(slot uint16) uint64 {
	if s := c.at(slot); s != nil {
		return s.highest()
	}
	return 0
}
