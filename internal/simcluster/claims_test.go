package simcluster_test

import (
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/shard"
)

// watchClaims reports breaches of I2 for the slots of some keys until stop
// closes: on every node claims in force move forward only, and of one lineage
// no two primaries hold one epoch.
func watchClaims(sc *Cluster, keys []string, stop <-chan struct{}) {
	type place struct {
		node shard.NodeID
		slot uint16
	}
	last := map[place]*shard.Claim{}
	seen := map[uint16]map[uint64][]*shard.Claim{} // by slot and epoch, one of each primary
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		for _, h := range sc.Up() {
			n := h.Node()
			for _, key := range keys {
				slot := hashtag.Slot(key)
				cl := n.Table().Claim(slot)
				if cl == nil {
					continue
				}
				at := place{n.Self().ID, slot}
				if before := last[at]; before == cl {
					continue
				} else if shard.Compare(cl, before) < 0 {
					sc.T.Errorf("I2: on %s slot %d went back from %v to %v", h.Name, slot, before, cl)
				}
				last[at] = cl
				if seen[slot] == nil {
					seen[slot] = map[uint64][]*shard.Claim{}
				}
				known := false
				for _, other := range seen[slot][cl.Epoch] {
					switch {
					case other.Primary == cl.Primary:
						known = true
					case shard.SameLineage(other, cl):
						sc.T.Errorf("I2: two claims in force of one epoch: %v and %v", other, cl)
					}
				}
				if !known {
					seen[slot][cl.Epoch] = append(seen[slot][cl.Epoch], cl)
				}
			}
		}
	}
}
