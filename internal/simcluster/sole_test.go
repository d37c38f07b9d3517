//go:build !race || slow

package simcluster_test

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A node that held slots alone is back with its disk: it serves them at once,
// with all that was acknowledged.
func TestSoleHolderComesBackWithItsDisk(t *testing.T) {
	t.Parallel()
	for _, policy := range []node.PartitionPolicy{node.Available, node.Majority} {
		Run(t, Config{Nodes: 3, Seed: 91, Backups: -1, Policy: policy, Disks: SyncedDisks}, func(sc *Cluster) {
			sc.Fill("n1", 300)
			sc.Restart("n2")
			began := time.Now()
			sc.CheckFilled("n1", 300)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the slots were served after %v", took)
			}
			sc.AwaitStable(time.Minute)
			sc.CheckFilled("n3", 300)
		})
	}
}

// Slots of a node that died before another came are begun anew by the newcomer,
// which never met the dead one.
func TestNewcomerBeginsSlotsOfTheDead(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 92, Backups: -1, Policy: node.Available}, func(sc *Cluster) {
		sc.Kill("n2")
		sc.Host("n4")
		sc.Start("n4")
		sc.AwaitStable(time.Minute)
		sc.Fill("n4", 100)
		sc.CheckFilled("n1", 100)
	})
}
