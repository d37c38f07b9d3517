//go:build !race || slow

package simcluster_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// TestHealTakesSeconds has both sides of a cut go on and write. Within five
// seconds of its end all slots are where the plan wants them, with equal copies
// that hold what each side wrote alone (I6, I9): among them those whose copy
// cannot begin before the node that gets it has handed over what it owes.
func TestHealTakesSeconds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Policy: node.Available, Seed: seed}, func(sc *Cluster) {
				var ledger Ledger
				fill := func(from string, first, last int) {
					for i := first; i < last; i++ {
						ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
						_ = ledger.Do(ctx, sc, from, fmt.Sprintf("key%d", i), fmt.Sprint(from, i))
						cancel()
					}
				}
				fill("n1", 0, 200)
				sc.Isolate("n3")
				sc.Advance(30 * time.Second)
				fill("n1", 0, 150)
				fill("n3", 50, 200)
				sc.Heal()
				sc.AwaitStable(5 * time.Second)
				sc.CheckCopies()
				ledger.Check(sc)
			})
		})
	}
}
