//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// A node succeeds a primary that is cut off, and dies before anybody hears that its
// claim is in force. Whoever accepted that holds the old primary to it: once it is
// back it begins the slot anew, from its own copy, since no holder of the other lives.
func TestClaimThatDiedHalfwayIsReplaced(t *testing.T) {
	t.Parallel()
	for _, policy := range []node.PartitionPolicy{node.Available, node.Majority} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			adjust := func(_ string, c *node.Config) { c.OrphanWait = 3 * time.Second }
			Run(t, Config{Nodes: 3, Seed: 29, Policy: policy, Adjust: adjust}, func(sc *Cluster) {
				key := sc.KeyHeldBy("n1", "n2")
				slot := hashtag.Slot(key)
				sc.Must(sc.Set("n1", key, "x"))
				backup := sc.Node("n2")
				sc.Net.SetOneWay("n3", "n2", simnet.Link{Delay: 100 * time.Millisecond})
				sc.Isolate("n1")
				for want := fmt.Sprintf("newest (2,0,%v,", backup.Self().ID); !strings.Contains(sc.Node("n3").Describe(slot), want); {
					sc.Advance(time.Millisecond)
				}
				if known := backup.Table().Claim(slot); known.Epoch > 1 {
					t.Fatalf("%v is in force", known)
				}
				sc.Kill("n2")
				sc.Heal()
				sc.AwaitStable(30 * time.Second)
				if v, _, err := sc.Get("n3", key); err != nil || v != "x" {
					t.Errorf("Get = %q, %v", v, err)
				}
			})
		})
	}
}
