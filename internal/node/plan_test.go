package node

import (
	"slices"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
)

// Where members come one after another and a plan takes long, the node rests between
// two plans. Until the next one the list does not count as settled.
func TestPlansLeaveTimeForTheRest(t *testing.T) {
	const look = 10 * time.Millisecond // that each look at the clock takes, and so a plan
	clock := time.Unix(0, 0)
	n := &Node{
		cfg: Config{Name: "n1", Weight: 1, Backups: 1}, id: shard.NewNodeID(1, 1), start: clock,
		env:     env.Env{Now: func() time.Time { clock = clock.Add(look); return clock }},
		core:    shard.NewCore(shard.CoreConfig{}),
		members: map[shard.NodeID]gossip.Member{}, peers: map[shard.NodeID]*peer{},
	}
	n.settings.Store(new(shard.Settings))
	n.attributes.Store(new(map[string]string))
	join := func(name string, no uint64) {
		n.members[shard.NewNodeID(no, 1)] = gossip.Member{Name: name, Weight: 1}
	}
	planned := func() bool {
		return slices.ContainsFunc(n.planned, func(m shard.Member) bool { return m.ID.Counter() == uint64(len(n.members)+1) })
	}
	n.replan(n.now())
	if n.planDue || !planned() {
		t.Fatal("the first plan is not made at once")
	}
	join("n2", 2)
	n.replan(n.now())
	if !n.planDue || planned() {
		t.Error("the next plan is made at once")
	}
	clock = clock.Add(planRest * look)
	n.replan(n.now())
	if n.planDue || !planned() {
		t.Error("the next plan is not made after the rest")
	}
	clock = clock.Add(time.Minute)
	join("n3", 3)
	n.replan(n.now())
	if n.planDue || !planned() {
		t.Error("a plan is not made at once where the last one is long past")
	}
}
