package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// full is an engine that has no room for a while.
type full struct {
	store.Engine
	on bool
}

func (f *full) Apply(slot uint16, recs []store.Record) error {
	if f.on {
		return store.ErrNoMemory
	}
	return f.Engine.Apply(slot, recs)
}

// What a backup reports and a new primary has no room for is no part of the union: it
// goes out once a later report could be stored, and not when the slot is looked at again.
// An earlier release does not say how much it reports.
func TestUnionWaitsForRoom(t *testing.T) {
	for _, count := range []int64{0, 1} {
		n, s := openSlot(t)
		e := &full{n.engine, true}
		n.engine = e
		b := shard.NewNodeID(2, 2)
		s.view = shard.View{Known: &shard.Claim{Slot: 5, Epoch: 2, Primary: n.id, Backups: []shard.NodeID{b}, Lineage: []uint64{1}}, Settling: true}
		n.settleLocked(s)
		report := func() {
			record := transport.Record{Key: "k", Value: []byte("v"), Version: firstVersion(1) + 1}
			n.reportedLocked(s, b, &transport.Append{Slot: 5, Epoch: 2, Version: record.Version, Records: []transport.Record{record}})
			n.reportedLocked(s, b, &transport.Append{Slot: 5, Epoch: 2, Version: 1, Result: Result{Int: count}})
		}
		report()
		n.settleLocked(s)
		if s.settle.begun {
			t.Errorf("of %d reported: the union went out without what was reported", count)
		}
		e.on = false
		report()
		if !s.settle.begun {
			t.Errorf("of %d reported: the union did not go out when all was told again", count)
		}
	}
}
