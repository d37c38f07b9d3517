package shard

import (
	"bytes"
	"testing"
)

// FuzzRestore reads what a damaged disk may hold. What it takes is whole: saved
// again and read again it is the same, and the slot's state can be worked with.
func FuzzRestore(f *testing.F) {
	id := func(n uint64) NodeID { return NewNodeID(n, n) }
	cl := &Claim{Slot: 9, Epoch: 4, Primary: id(2), Backups: []NodeID{id(1)}, Witnesses: []NodeID{id(3)}, Lineage: []uint64{1, 7}}
	known := newSavedCore(id(1))
	known.Learn([]*Claim{cl}, 1)
	f.Add(known.Save(9))
	f.Add(newSavedCore(id(1)).Save(9))
	later := *cl
	later.Epoch++
	known.at(9).accepted = &later
	f.Add(known.Save(9))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newSavedCore(id(1))
		if c.Restore(9, b) != nil {
			return
		}
		saved := c.Save(9)
		again := newSavedCore(id(1))
		if err := again.Restore(9, saved); err != nil || !bytes.Equal(again.Save(9), saved) {
			t.Fatalf("what Restore took, saved again, gives %x, %v, want %x", again.Save(9), err, saved)
		}
		if cl := c.Newest(9); cl != nil && cl.Slot != 9 {
			t.Fatalf("slot 9 is restored with %v of slot %d", cl, cl.Slot)
		}
		c.Down(id(2), true, 1)
		for now := int64(2); now < 50; now++ {
			c.Tick(now)
			c.Take()
		}
	})
}

func newSavedCore(self NodeID) *Core {
	return NewCore(CoreConfig{Self: self, Rand: func() uint64 { return 5 }, Resend: 1, Failure: 3, Settle: 3, PartitionWait: 5, OrphanWait: 5, CanList: func(*Claim) bool { return true }})
}

// A claim mostly comes twice, to be accepted and as one in force. A node keeps one of
// the copies, also if it is started again.
func TestClaimIsKeptOnce(t *testing.T) {
	id := func(n uint64) NodeID { return NewNodeID(n, n) }
	cl := &Claim{Slot: 9, Epoch: 4, Primary: id(2), Backups: []NodeID{id(1)}, Lineage: []uint64{1}}
	c := newSavedCore(id(1))
	accepted := *cl
	c.slot(9).accepted = &accepted
	c.Learn([]*Claim{cl}, 1)
	again := newSavedCore(id(1))
	if err := again.Restore(9, c.Save(9)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Core{c, again} {
		if s := c.at(9); s.known == nil || s.accepted != s.known {
			t.Errorf("known %p, accepted %p, want one claim", s.known, s.accepted)
		}
	}
}
