package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
)

// A backup whose process has ended is a member until that is proved or it has been
// silent for long. Meanwhile its copy is not counted on.
func TestNotSafeWithoutAConnectionToTheBackup(t *testing.T) {
	n, _ := openSlot(t)
	n.attributes.Store(new(map[string]string))
	b := shard.NewNodeID(2, 1)
	n.members[b] = gossip.Member{ID: gossip.NodeID(b), Name: "b", Weight: 1}
	if err := n.engine.Apply(5, []store.Record{{Key: "k", Value: []byte("v"), Version: firstVersion(1)}}); err != nil {
		t.Fatal(err)
	}
	n.slots[5].view.Known = &shard.Claim{Slot: 5, Epoch: 2, Primary: n.id, Backups: []shard.NodeID{b}, Lineage: []uint64{4}}
	p := n.peer(b)
	for _, tt := range []struct {
		up, cut, safe bool
	}{{true, false, true}, {false, false, false}, {false, true, true}} {
		p.up.Store(tt.up)
		p.cut.Store(tt.cut)
		if why := n.Unsafe(); (len(why) == 0) != tt.safe {
			t.Errorf("with a backup that is connected: %v, cut off: %v: %q, want safe: %v", tt.up, tt.cut, why, tt.safe)
		}
	}
}

// Who is asked by name is the latest start, not one that fell silent.
func TestLatestStartOfANameIsAsked(t *testing.T) {
	n, _ := openSlot(t)
	n.attributes.Store(new(map[string]string))
	older, newer := shard.NewNodeID(2, 1), shard.NewNodeID(3, 1)
	n.vanished = map[shard.NodeID]gossip.Member{older: {ID: gossip.NodeID(older), Name: "b", Addr: "10.0.0.1:1"}}
	if m, ok := n.called("b"); !ok || m.ID != older {
		t.Errorf("while only it is known, %v is asked", m.ID)
	}
	n.members[newer] = gossip.Member{ID: gossip.NodeID(newer), Name: "b", Addr: "10.0.0.2:1"}
	if m, ok := n.called("b"); !ok || m.ID != newer {
		t.Errorf("%v is asked, want %v", m.ID, newer)
	}
	if _, ok := n.called("c"); ok {
		t.Error("a node that does not exist is asked")
	}
}
