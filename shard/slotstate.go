package shard

// slotBatch states are allocated at once: just under 32 KiB, beyond which Go
// rounds up to whole pages.
const slotBatch = 113

// slotState is what a Core knows of one slot.
type slotState struct {
	known    *Claim // newest in force
	accepted *Claim // newest accepted; may be known
	promised Ballot // never lower than the ballot of known or accepted
	seen     uint64 // highest epoch met anywhere: refusals, records on disk
	lastRev  uint32 // highest rev proposed under the own epoch; revs are never reused
	lists    lists

	// Of a slot whose known claim names this node primary, as what follows:
	opened bool
	tries  int8 // attempts that failed in a row

	attempt   *attempt
	acceptors []NodeID // backups of known that have accepted it
	settled   []NodeID // backups of known that hold the union
	inForceAt int64
	// lentUntil is when the last of this node's promises to earlier primaries
	// of the slot runs out; it opens no claim before.
	lentUntil int64
	// priors are the primaries of claims that others have replaced since this
	// node was last sure that none of them reads. An accepted claim counts: it
	// may have been in force.
	priors []NodeID
	// union holds every node that any claim proposed since known lists: until
	// a claim of this primary is in force again, all of them must acknowledge.
	union []NodeID
	// unfit are nodes that refused to be listed: they have not got the copy.
	unfit []NodeID

	merge     []uint64 // lineage numbers the next claim takes over
	invitedBy NodeID   // the primary that fenced itself for this node
	handover  NodeID   // this primary has fenced itself for that node
	fencedAt  int64    // when this primary promised a higher epoch
	notBefore int64    // back-off: no attempt of one's own before
	orphanAt  int64    // since when no holder lives
	due       int64    // when Tick looks again at a slot that waits
}

// lists says in which of Core's lists a slot is.
type lists uint8

const (
	inBusy lists = 1 << iota
	inWaiting
	inTouched
	inUnsaved
)

// at returns what is known of slot, or nil.
func (c *Core) at(slot uint16) *slotState {
	if b := c.slots[slot/BlockSize]; b != nil {
		return b[slot%BlockSize]
	}
	return nil
}

// slot returns what is known of slot, and makes room for it.
func (c *Core) slot(slot uint16) *slotState {
	b := c.slots[slot/BlockSize]
	if b == nil {
		b = new([BlockSize]*slotState)
		c.slots[slot/BlockSize] = b
	}
	s := b[slot%BlockSize]
	if s == nil {
		if len(c.fresh) == 0 {
			// A node that has many slots gets many at once.
			c.fresh = make([]slotState, min(slotBatch, 1+c.given))
		}
		s, c.fresh = &c.fresh[0], c.fresh[1:]
		c.given++
		b[slot%BlockSize] = s
	}
	return s
}

// each calls f for every slot of which something is known.
func (c *Core) each(f func(slot uint16, s *slotState)) {
	for i, b := range c.slots {
		if b == nil {
			continue
		}
		for j, s := range b {
			if s != nil {
				f(uint16(i*BlockSize+j), s)
			}
		}
	}
}

func (s *slotState) newest() *Claim {
	if Compare(s.accepted, s.known) > 0 {
		return s.accepted
	}
	return s.known
}

func (s *slotState) highest() uint64 {
	e := max(s.promised.Epoch, s.seen)
	if s.known != nil {
		e = max(e, s.known.Epoch)
	}
	if s.accepted != nil {
		e = max(e, s.accepted.Epoch)
	}
	return e
}
