//go:build slotmesh_fewslots

package simcluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// A large write that one of two backups has when the primary dies takes longer from
// node to node than what is said of it. The new primary opens when both have it.
func TestLargeWriteOfADeadPrimaryIsOnAllCopies(t *testing.T) {
	t.Parallel()
	for _, heirHas := range []bool{false, true} {
		t.Run(fmt.Sprint("the heir has it: ", heirHas), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Backups: 2, Seed: 67}, func(sc *Cluster) {
				key := sc.KeyServedBy("n1")
				slot := hashtag.Slot(key)
				backups := sc.Node("n1").Table().Claim(slot).Backups
				heir, other := sc.Node("n1").Who(backups[0]), sc.Node("n1").Who(backups[1])
				has, lacks := other, heir
				if heirHas {
					has, lacks = lacks, has
				}
				sc.Must(sc.Set("n1", key, "old"))
				sc.Cut("n1", lacks)
				go func() { _ = sc.Set("n1", key, strings.Repeat("x", 2<<20)) }()
				sc.Advance(200 * time.Millisecond)
				sc.Isolate("n1")
				sc.KillSilent("n1")
				sc.Net.SetOneWay(has, lacks, simnet.Link{Delay: time.Millisecond, BytesPerSecond: 2 << 20})
				for begun := time.Now(); !strings.Contains(sc.Node(heir).Describe(slot), "serving true"); sc.Advance(time.Millisecond) {
					if time.Since(begun) > 20*time.Second {
						t.Fatal("nobody serves the slot")
					}
				}
				sc.Advance(50 * time.Millisecond) // all know
				sc.CheckCopies()
			})
		})
	}
}
