package shard

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSameLineage(t *testing.T) {
	a, b := &Claim{Lineage: []uint64{1, 2}}, &Claim{Slot: 9, Epoch: 4, Lineage: []uint64{1, 2}}
	if !SameLineage(a, b) {
		t.Errorf("SameLineage(%v, %v) = false", a.Lineage, b.Lineage)
	}
	for _, other := range [][]uint64{nil, {1}, {1, 3}, {1, 2, 3}} {
		if SameLineage(a, &Claim{Lineage: other}) {
			t.Errorf("SameLineage(%v, %v) = true", a.Lineage, other)
		}
	}
}

// Three sides part and come together thousands of times, as in a network that
// flaps for weeks.
func TestLineagesStayShort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	c := NewCore(CoreConfig{Rand: rng.Uint64})
	var held []uint64
	for range 5000 {
		a, b := c.inherit(held), c.inherit(held)
		for _, side := range [][]uint64{a, b} {
			if !contains(side, held) {
				t.Fatalf("%x goes on from %x and does not include it", side, held)
			}
			if contains(held, side) {
				t.Fatalf("%x includes %x, which forked from it", held, side)
			}
		}
		if contains(a, b) || contains(b, a) {
			t.Fatalf("two sides of a fork include each other: %x, %x", a, b)
		}
		// The losers, one of them a third side that went on as it was, are taken in
		// until each finds itself.
		both, rounds := a, 0
		for missing := true; missing; rounds++ {
			missing = false
			for _, side := range [][]uint64{b, held} {
				if !contains(both, side) {
					both, missing = c.inherit(both, side), true
				}
			}
		}
		if rounds > 3 {
			t.Fatalf("%d rounds until two losers were taken in", rounds)
		}
		if len(both) > foldAbove {
			t.Fatalf("a lineage of %d numbers", len(both))
		}
		if both[0] == 0 || !slices.IsSorted(both) || len(slices.Compact(slices.Clone(both))) != len(both) {
			t.Fatalf("no sorted set: %x", both)
		}
		held = both
	}
}
