package node

import (
	"errors"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// openSlot starts a node without others that serves slot 5 alone.
func openSlot(t *testing.T) (*Node, *slot) {
	t.Helper()
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	n.peers = map[shard.NodeID]*peer{}
	n.granting, n.lobby = newGranting(), newLobby()
	n.cfg.Lease, n.cfg.MaxValue = 250*time.Millisecond, 1<<20
	n.stop = make(chan struct{})
	n.table.Store(shard.Empty)
	n.core.Found(5, nil, nil, 1)
	n.core.Take()
	n.applyView(5, n.core.View(5))
	s := &n.slots[5]
	if s.serving.Load() == nil {
		t.Fatal("the slot is not open")
	}
	return n, s
}

// A primary whose group is itself alone may open under a higher epoch without having
// been closed. What was written before ends with it, on disk, since nothing is written
// while the epoch is being saved.
func TestOpenUnderAHigherEpochEndsWhatWaits(t *testing.T) {
	n, s := openSlot(t)
	n.cfg.SyncWrites = true
	ended := 0
	set := func(number uint64) error {
		c := &Call{Op: transport.OpSet, Slot: 5, Key: "k", Value: []byte("v")}
		id := transport.CallID{Node: transport.NodeID(n.id), Number: number}
		return n.write(c, &transport.Request{Call: *c, Epoch: 1, CallID: id}, new(Result), func(err error) {
			if err != nil {
				t.Error(err)
			}
			ended++
		})
	}
	if err := set(1); err != nil || ended != 0 {
		t.Fatalf("%v, %d ended before the sync", err, ended)
	}
	n.core.Promote(5, 2)
	touched := n.core.Take().Touched
	views := []shard.View{n.core.View(5)}
	n.shutRisen(touched, views)
	if err := set(2); !errors.Is(err, errNotYet) {
		t.Errorf("a write while the epoch is being saved: %v", err)
	}
	n.applyView(5, views[0])
	if ended != 1 || len(s.waiters) != 0 {
		t.Errorf("%d writes ended, %d wait", ended, len(s.waiters))
	}
	if _, waits := s.pending(n.now()); waits {
		t.Error("counts as waiting for copies")
	}
}
