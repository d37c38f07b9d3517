package node

import (
	"errors"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A call that was sent on by an ASK goes there while the claim under which that was
// said is in force, and afterwards by the newer one: it must not be taken for younger
// than it is by those who look up what became of it.
func TestAskEndsWithItsClaim(t *testing.T) {
	var ids [4]shard.NodeID
	for i := range ids {
		ids[i] = shard.NewNodeID(uint64(i+1), 1)
	}
	self, first, asked, later := ids[0], ids[1], ids[2], ids[3]
	claim := func(epoch uint64, primary shard.NodeID) *shard.Claim {
		return &shard.Claim{Slot: 5, Epoch: epoch, Primary: primary, Lineage: []uint64{1}}
	}
	for _, tt := range []struct {
		name string
		now  *shard.Claim
		to   shard.NodeID
		ask  bool
	}{
		{"still in force", claim(3, first), asked, true},
		{"the asked one serves", claim(4, asked), asked, false},
		{"overtaken", claim(5, later), later, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &Node{id: self, peers: map[shard.NodeID]*peer{}}
			for _, id := range ids {
				n.peers[id] = &peer{id: id}
			}
			table, _ := new(shard.Table).Merge(claim(3, first))
			n.table.Store(table)
			var trip trip
			n.setOut(&trip, &Call{Op: transport.OpSet, Slot: 5})
			if _, err := n.next(t.Context(), &trip); !errors.Is(err, transport.ErrNotSent) || trip.peer.id != first {
				t.Fatalf("next = %v to %v, want %v", err, trip.peer, first)
			}
			trip.ask = n.peer(asked)
			table, _ = table.Merge(tt.now)
			n.table.Store(table)
			_, _ = n.next(t.Context(), &trip)
			if trip.peer.id != tt.to || trip.req.Asked != tt.ask || trip.req.Epoch != tt.now.Epoch {
				t.Errorf("goes to %v, asked %v, under epoch %d; want %v, %v, %d", trip.peer.id, trip.req.Asked, trip.req.Epoch, tt.to, tt.ask, tt.now.Epoch)
			}
		})
	}
}

// A write that has run is not run again because there was no room for its answer.
func TestCallWhoseAnswerWasLostIsLookedUp(t *testing.T) {
	n := new(Node)
	for op, repeat := range map[transport.Op]bool{transport.OpGet: false, transport.OpDelete: true} {
		tr := trip{req: transport.Request{Call: Call{Op: op}}}
		again, _ := n.again(&tr, n.codeError(&transport.Response{Code: transport.CodeLost}))
		if !again || tr.req.Repeat != repeat {
			t.Errorf("op %d: again %v, as a repeat %v; want true, %v", op, again, tr.req.Repeat, repeat)
		}
		if !errors.Is(tr.last, ErrOverloaded) {
			t.Errorf("op %d: %v does not say that a queue was full", op, tr.last)
		}
	}
}
