//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// With Majority a slot waits for most of its nodes, and goes on when they have been
// started anew: their votes of before never come.
func TestMajorityIsBackWithItsNames(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{2, 3} {
		t.Run(fmt.Sprint("of ", nodes), func(t *testing.T) {
			Run(t, Config{Nodes: nodes, Backups: nodes - 1, Seed: 71, Policy: node.Majority}, func(sc *Cluster) {
				sc.Fill("n1", 100)
				others := []string{"n2", "n3"}[:nodes-1]
				for _, name := range others {
					sc.Kill(name)
				}
				sc.Advance(20 * time.Second)
				get := node.Call{Op: transport.OpGet, Key: sc.KeyServedBy("n1")}
				if _, err := sc.DoWithin(time.Second, "n1", get); !errors.Is(err, node.ErrNoPrimary) {
					t.Errorf("Get without a majority = %v, want ErrNoPrimary", err)
				}
				sc.Start(others...)
				sc.AwaitStable(time.Minute)
				sc.CheckFilled("n2", 100)
				sc.AwaitCopies()
			})
		})
	}
}
