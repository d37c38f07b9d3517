package shard

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
)

// A lineage is a set of numbers, sorted. Each fork, and each claim that takes over
// another lineage, adds a random odd one. A network that flaps for days would make
// it grow without end, so a long one is folded: an even number, its sum, stands for
// all of it. Who has a part of a folded lineage is taken for a stranger, and offers
// what he has, which is safe; who has just that lineage is known by the sum.

// foldAbove is how many numbers a lineage has before it is folded: some twenty
// healed forks of one slot.
const foldAbove = 64

// SameLineage reports whether a and b are of one lineage. No claim is of the
// lineage of nil, but nil.
func SameLineage(a, b *Claim) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Lineage, b.Lineage)
}

// Inherits reports whether c's lineage includes all of from's, so that whoever
// brought c in force has met what was acknowledged under from.
func (c *Claim) Inherits(from *Claim) bool { return contains(c.Lineage, from.Lineage) }

// contains reports whether a lineage includes all of another.
func contains(all, some []uint64) bool {
	for _, l := range some {
		if !slices.Contains(all, l) {
			return slices.Contains(all, sum(some))
		}
	}
	return true
}

// LineageSum is an even number that stands for c's whole lineage.
func (c *Claim) LineageSum() uint64 { return sum(c.Lineage) }

func sum(lineage []uint64) uint64 {
	h := fnv.New64a()
	for _, l := range lineage {
		_ = binary.Write(h, binary.BigEndian, l)
	}
	return h.Sum64() &^ 1
}

// lineage returns a new number.
func (c *Core) lineage() uint64 { return c.cfg.Rand()>>1 | 1 }

// inherit returns a new lineage that goes on from one and takes over others. It has
// a number of its own: another side may take over the same, and acknowledge other
// writes.
func (c *Core) inherit(own []uint64, others ...[]uint64) []uint64 {
	l := unite(append(slices.Concat(others...), own...))
	if limit := c.cfg.foldAbove; len(l) >= limit {
		// Sums stay for a while: of several losers each has to find its own.
		l = slices.DeleteFunc(slices.Clone(own), func(n uint64) bool { return n&1 == 1 })
		if len(l) > limit/2 {
			l = nil
		}
		l = append(l, sum(own))
		for _, other := range others {
			l = append(l, sum(other))
		}
	}
	return unite(append(l, c.lineage()))
}

// unite makes a set of numbers.
func unite(numbers []uint64) []uint64 {
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
