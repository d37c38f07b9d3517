//go:build !race || slow

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A fleet that loses power comes back with every acknowledged write, in
// whatever order its nodes start.
func TestFleetComesBackFromItsDisks(t *testing.T) {
	t.Parallel()
	for i, order := range [][]string{{"n1", "n2", "n3"}, {"n3", "n1", "n2"}, {"n2", "n3", "n1"}} {
		for _, pause := range []time.Duration{0, 4 * time.Second} {
			t.Run(fmt.Sprint(order, pause), func(t *testing.T) {
				Run(t, Config{Nodes: 3, Seed: uint64(40 + i), Policy: node.Majority, Disks: SyncedDisks}, func(sc *Cluster) {
					sc.Fill("n1", 300)
					sc.PowerLoss()
					sc.Advance(time.Second)
					sc.StartEvery(pause, order...)
					sc.AwaitStable(time.Minute)
					sc.CheckFilled("n2", 300)
					sc.AwaitCopies()
				})
			})
		}
	}
}
