package node

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

// A primary goes on as a fork while a backup is being promoted that counts on it
// once more: the new claim is in force and lists it, but what it holds is of
// another lineage. It must not be taken for in sync, or what it acknowledged
// alone were lost and its copy never like the others (found by a walk of the
// explorer, see TestExploreKeptSeeds).
func TestLoserOfAForkIsNotInSync(t *testing.T) {
	var ids [3]shard.NodeID
	for i := range ids {
		ids[i] = shard.NewNodeID(uint64(i+1), 1)
	}
	fork := &shard.Claim{Epoch: 2, Primary: ids[0], Lineage: []uint64{1, 9}}
	winner := &shard.Claim{Epoch: 2, Primary: ids[1], Backups: ids[:1], Witnesses: ids[2:], Lineage: []uint64{1}}
	n := &Node{id: ids[0]}
	n.core = shard.NewCore(shard.CoreConfig{Self: n.id, CanList: n.canList, Rand: func() uint64 { return 1 }})
	s := &n.slots[0]
	s.front = &n.fronts[0]
	s.view = shard.View{Known: fork, Open: true}
	s.standLocked(n.id)

	n.core.Learn([]*shard.Claim{winner}, int64(time.Second))
	if n.canList(winner) {
		t.Error("a copy of another lineage may be listed, since the claim lists it already")
	}
	s.view = shard.View{Known: winner, Promised: shard.Ballot{Epoch: 2, To: ids[1]}}
	s.stream = stream{primary: ids[1], epoch: 2} // as if its stream began
	s.standLocked(n.id)
	if !s.strays(winner) {
		t.Error("it counts as in sync once it follows")
	}
	winner.Lineage = []uint64{1, 5, 9} // the fork's records were taken over
	if !n.canList(winner) {
		t.Error("a copy whose lineage is included may not be listed")
	}
}
