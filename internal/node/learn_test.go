package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// A copy that cannot begin, since the node has records of a lost fork to hand over
// first, begins when it has: or the primary waits for it until it gives up.
func TestCopyBeginsWhenTheDutyIsDone(t *testing.T) {
	primary := shard.NewNodeID(2, 1)
	n := &Node{id: shard.NewNodeID(1, 1)}
	begins := make([]copyBegin, 2) // used again, as the control loop does
	for i := range begins {
		no := uint16(i)
		s := &n.slots[no]
		s.no, s.front, s.duty = no, &n.fronts[no], &duty{claim: &shard.Claim{Slot: no}}
		begins[i] = copyBegin{from: primary, slot: no, epoch: 3, session: uint64(100 + i)}
	}
	n.beginCopies(begins)
	clear(begins)
	if len(n.events) > 0 {
		t.Fatal("a copy begins before its time")
	}
	for i := range begins {
		s := &n.slots[i]
		n.dischargeLocked(s)
		n.dischargeLocked(s)
		if len(n.events) != i+1 {
			t.Fatalf("%d copies begin, want %d", len(n.events), i+1)
		}
		if e := n.events[i]; e.kind != evBegin || e.begin.from != primary || e.begin.slot != uint16(i) || e.begin.session != uint64(100+i) {
			t.Errorf("what begins is %+v", e.begin)
		}
	}
}
