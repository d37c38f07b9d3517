package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// However much waits for the control loop, it learns who is gone: that is told once.
// Claims that it has no room for come again, so look-ups must not know them either.
func TestFullQueueDropsWhatIsToldAgain(t *testing.T) {
	n, _ := openSlot(t)
	n.wake = make(chan struct{}, 1)
	n.eventsSize = maxEvents
	other := shard.NewNodeID(2, 1)
	n.post(event{kind: evGone, id: other})
	cl := &shard.Claim{Slot: 6, Epoch: 1, Primary: other, Lineage: []uint64{1}}
	n.learn([]*shard.Claim{cl})
	if len(n.events) != 1 || n.events[0].kind != evGone {
		t.Errorf("%d events wait, want that a node is gone", len(n.events))
	}
	if n.table.Load().Claim(6) != nil {
		t.Error("look-ups know a claim that the control loop will not be told again")
	}
	n.eventsSize = 0
	n.learn([]*shard.Claim{cl})
	n.learn([]*shard.Claim{cl}) // from another node
	if n.table.Load().Claim(6) == nil || len(n.events) != 2 || len(n.events[1].claims) != 1 {
		t.Errorf("a claim from two nodes is in the table: %v, events %v", n.table.Load().Claim(6) != nil, n.events)
	}
}
