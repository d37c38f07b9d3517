package node

import (
	"math"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// A folded lineage does not say which of its forks the other side has a part in, so
// that nothing may be taken for older than all of them.
func TestNothingIsKnownOfAFoldedLineage(t *testing.T) {
	self := shard.NewNodeID(1, 1)
	claim := func(epoch uint64, lineage ...uint64) *shard.Claim {
		return &shard.Claim{Slot: 7, Epoch: epoch, Primary: self, Lineage: lineage}
	}
	m := newMerger()
	old := claim(1, 1, 3)
	forked := claim(2, 1, 3, 5)
	m.note(self, old, forked, firstVersion(1)+100)
	if got, want := m.since(7, forked.Lineage, old.Lineage), firstVersion(1)+100; got != want {
		t.Errorf("since(forked) = %d, want %d: what was acknowledged when it forked", got, want)
	}
	sum := forked.LineageSum()
	folded := claim(3, sum, 7)
	if !folded.Inherits(forked) {
		t.Fatalf("%x does not inherit %x", folded.Lineage, forked.Lineage)
	}
	m.note(self, forked, folded, firstVersion(2)+100)
	if got := m.since(7, folded.Lineage, old.Lineage); got != 0 {
		t.Errorf("since(folded) = %d, want 0: not known", got)
	}
	again := claim(4, sum, 7, 9)
	m.note(self, folded, again, firstVersion(3)+100)
	if got, want := m.since(7, again.Lineage, folded.Lineage), firstVersion(3)+100; got != want {
		t.Errorf("since(forked after that) = %d, want %d", got, want)
	}
	if got := m.since(7, folded.Lineage, folded.Lineage); got != math.MaxUint64 {
		t.Errorf("since(itself) = %d, want none", got)
	}
}
