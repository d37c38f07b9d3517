//go:build (!race || slow) && !slotmesh_fewslots

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/shard"
)

// A newcomer whose network fails before it has the whole table takes none of the
// slots that it has not heard of for unclaimed: with Majority never, otherwise not
// before it may take a slot for an orphan (seed 81024 of TestNemesis). With few slots the
// table is one message, and it never has a part.
func TestNewcomerThatIsCutOffFoundsNothing(t *testing.T) {
	t.Parallel()
	for _, policy := range []node.PartitionPolicy{node.Available, node.Majority} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			adjust := func(_ string, c *node.Config) { c.OrphanWait = 8 * time.Second }
			Run(t, Config{Nodes: 3, Seed: 41, Policy: policy, Adjust: adjust}, func(sc *Cluster) {
				sc.Fill("n1", 300)
				sc.AwaitStable(30 * time.Second)
				for _, who := range []string{"n1", "n2", "n3"} {
					sc.Net.SetLink(who, "x1", simnet.Link{Delay: time.Millisecond, BytesPerSecond: 500 << 10})
				}
				sc.Start("x1")
				x := sc.Node("x1")
				known := func() (claims int) {
					for range x.Table().All() {
						claims++
					}
					return claims
				}
				for known() == 0 {
					sc.Advance(10 * time.Millisecond)
				}
				sc.Isolate("x1")
				if at := known(); at == shard.Slots {
					t.Fatal("it has the whole table: choose a slower link")
				}
				wait := 7 * time.Second
				if policy == node.Majority {
					wait = time.Minute
				}
				sc.Advance(wait)
				for cl := range x.Table().All() {
					if cl.Primary == x.Self().ID {
						t.Fatalf("it claims %v", cl)
					}
				}
				for _, who := range []string{"n1", "n2", "n3"} {
					sc.Net.SetLink(who, "x1", simnet.Link{Delay: time.Millisecond})
				}
				sc.Heal()
				sc.AwaitStable(60 * time.Second)
				sc.CheckFilled("x1", 300)
			})
		})
	}
}
