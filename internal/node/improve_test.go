package node

import (
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// A copy that can't be caught up is lost again with every look at its stream, and
// every claim proposed takes back the one before: what is asked for while one is under
// way must not, or none comes into force.
func TestCopiesAreDroppedOneByOne(t *testing.T) {
	n, _ := openSlot(t)
	n.plan = new(shard.Assignment)
	b, c := shard.NewNodeID(2, 2), shard.NewNodeID(3, 3)
	accepts := func(rev uint32, voters ...shard.NodeID) {
		for _, id := range voters {
			n.core.Receive(id, shard.Message{Kind: shard.MsgAcceptReply, Slot: 6, Epoch: 1, Rev: rev, Seat: id, OK: true}, 1)
		}
	}
	n.core.Found(6, []shard.NodeID{b, c}, nil, 1)
	accepts(0, b, c)
	n.core.Settled(6, 1, b, 1)
	n.core.Settled(6, 1, c, 1)
	if v := n.core.View(6); !v.Open {
		t.Fatalf("the slot is not open: %+v", v)
	}
	for rev, left := range [][]shard.NodeID{{c}, nil} {
		for range 100 {
			n.dropBackup(6, b, 1)
			n.dropBackup(6, c, 1)
		}
		if cl := n.core.Newest(6); cl.Rev != uint32(rev)+1 || !slices.Equal(cl.Backups, left) {
			t.Fatalf("%v is proposed, want revision %d with backups %v", cl, rev+1, left)
		}
		accepts(uint32(rev)+1, b, c)
		if v := n.core.View(6); v.Changing {
			t.Fatalf("still changing: %+v", v)
		}
	}
}
