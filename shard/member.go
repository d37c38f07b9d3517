package shard

import (
	"cmp"
	"slices"
)

// MaxWeight is the highest weight that counts; a higher one counts as it.
const MaxWeight = 1 << 16

// Member is what the plan needs to know of a node.
type Member struct {
	Name string // pins refer to it; of two members of a name the newer ID counts
	// Seat is what the node is scored by, Name where empty. A node that takes
	// over the seat of one that is gone takes over its slots, and nothing else
	// moves. While both are there the later one holds nothing, unless the
	// seat is of its own name.
	Seat string
	// Zone is where the node fails together with others. Members that name no
	// zone are all in the same one.
	Zone string
	ID   NodeID
	// Weight is the node's part of the slots, relative to that of others. A
	// node of weight 0 or less holds no data, but may be a witness.
	Weight int
	// Leaving nodes get nothing, not even a vote.
	Leaving bool
}

// holds reports whether m may hold slots.
func (m *Member) holds() bool { return m.Weight > 0 && !m.Leaving }

func (m *Member) seat() string { return cmp.Or(m.Seat, m.Name) }

func (m *Member) compare(o *Member) int {
	leaving := func(m *Member) int {
		if m.Leaving {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(m.Name, o.Name), o.ID.Compare(m.ID), // the newer ID first
		cmp.Compare(m.Seat, o.Seat), cmp.Compare(m.Zone, o.Zone),
		cmp.Compare(m.Weight, o.Weight), cmp.Compare(leaving(m), leaving(o)))
}

// canonical returns members in an order that does not depend on the order
// given: by seat, and each name once.
func canonical(members []Member) []Member {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int { return a.compare(&b) })
	sorted = slices.CompactFunc(sorted, func(a, b Member) bool { return a.Name == b.Name })
	// Of two in a seat the one that is longer there comes first.
	slices.SortFunc(sorted, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.seat(), b.seat()), a.ID.Compare(b.ID), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}
