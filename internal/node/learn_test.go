package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
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

// One that the primary gave up meanwhile does not take the place of the next, which
// came while it was about to begin: the primary would wait for an answer to that.
func TestCopyThatWaitedGivesWay(t *testing.T) {
	primary := shard.NewNodeID(2, 1)
	n := &Node{id: shard.NewNodeID(1, 1), peers: map[shard.NodeID]*peer{}, env: env.System(), engine: store.NewMemory(store.MemoryOptions{Limit: 1 << 20}), merger: newMerger()}
	s := &n.slots[5]
	s.no, s.front, s.duty = 5, &n.fronts[5], &duty{claim: &shard.Claim{Slot: 5}}
	begin := copyBegin{from: primary, slot: 5, epoch: 3, session: 100}
	n.beginCopies([]copyBegin{begin})
	n.dischargeLocked(s)
	waited := n.events[0].begin
	begin.session = 101
	n.beginCopies([]copyBegin{begin, waited})
	if s.stream.session != 101 {
		t.Errorf("copy %d is under way, want 101", s.stream.session)
	}
	s.stream.epoch = 2 // as of another claim
	n.beginCopies([]copyBegin{waited})
	if s.stream.session != 100 {
		t.Errorf("copy %d is under way, want 100", s.stream.session)
	}
}
