package shard

import (
	"maps"
	"testing"
)

// TestForgetSparesWhoClaimsName has all sorts of nodes die, and asks to forget
// them all.
func TestForgetSparesWhoClaimsName(t *testing.T) {
	id := func(n uint64) NodeID { return NewNodeID(n, n) }
	self, primary, backup, witness, based, promised, nobody, lent := id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8)
	c := NewCore(CoreConfig{Self: self, Rand: func() uint64 { return 3 }, Resend: 1, Failure: 10})
	cl := &Claim{Slot: 9, Epoch: 4, Primary: primary, Backups: []NodeID{backup}, Witnesses: []NodeID{witness}, Base: []NodeID{based}, Lineage: []uint64{1}}
	c.Learn([]*Claim{cl}, 1)
	c.promise(8, c.slot(8), Ballot{3, promised}, 1)
	c.Lend(lent, 5)
	c.Lend(nobody, 5)
	dead := []NodeID{primary, backup, witness, based, promised, nobody}
	for i, d := range dead {
		c.Down(d, i%2 == 1, int64(10+i))
	}
	if got := c.Dead(12); len(got) != 2 {
		t.Errorf("Dead(12) = %v, want the first two", got)
	}
	ids := map[NodeID]bool{self: true, lent: true}
	for _, d := range c.Dead(100) {
		ids[d] = true
	}
	c.Forget(ids)
	if want := map[NodeID]bool{nobody: true, lent: true}; !maps.Equal(ids, want) {
		t.Errorf("Forget leaves %v, want %v", ids, want)
	}
	for _, d := range dead {
		if got := c.IsDown(d); got != (d != nobody) {
			t.Errorf("IsDown(%v) = %v afterwards", d, got)
		}
	}
	if len(c.gone) != 2 || len(c.lent.until) != 0 {
		t.Errorf("%d proofs and %d leases are left, want 2 and none", len(c.gone), len(c.lent.until))
	}
	c.Up(nobody)
	c.Down(nobody, false, 200)
	if !c.IsDown(nobody) {
		t.Error("who was forgotten cannot die again")
	}
}
