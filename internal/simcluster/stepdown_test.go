//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A node that steps down and is back with its disk costs no write more than a
// hand-over, moves nothing but what was written meanwhile, and has its slots again.
func TestStepDown(t *testing.T) {
	t.Parallel()
	for _, backups := range variants(1, 1, 2) {
		t.Run(fmt.Sprint(backups, " backups"), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Backups: backups, Seed: 72, Disks: LazyDisks}, func(sc *Cluster) {
				const keys = 1000
				sc.Fill("n1", keys)
				sc.AwaitStable(time.Minute)
				copied := func() (sum uint64) {
					for _, h := range sc.Up() {
						sum += h.Node().Stats().BytesCopied
					}
					return sum
				}
				served := sc.Node("n3").Stats().Primaries
				before := copied() - sc.Node("n3").Stats().BytesCopied
				over := make(chan error)
				go func() { over <- sc.StepDown("n3", time.Minute) }()
				var longest time.Duration
				began := time.Now()
				write := func(i int) {
					from := time.Now()
					sc.Must(sc.Set("n1", fmt.Sprint("written", i%100), fmt.Sprint(i)))
					longest = max(longest, time.Since(from))
				}
				i, down := 0, false
				for ; !down; i++ {
					write(i)
					select {
					case err := <-over:
						sc.Must(err)
						down = true
					default:
					}
				}
				t.Logf("stepped down in %v", time.Since(began))
				for until := time.Now().Add(time.Second); time.Now().Before(until); i++ { // half of the repair delay
					write(i)
				}
				if longest > 150*time.Millisecond {
					t.Errorf("a write took %v", longest)
				}
				if now := copied(); now != before {
					t.Errorf("%d bytes were copied while the node was away", now-before)
				}
				sc.Start("n3")
				sc.AwaitStable(time.Minute)
				sc.AwaitCopies()
				sc.CheckFilled("n3", keys)
				if st := sc.Node("n3").Stats(); st.Primaries != served {
					t.Errorf("the node is primary of %d slots, want %d as before", st.Primaries, served)
				}
				t.Logf("the longest of %d writes took %v, %d bytes were copied", i, longest, copied()-before)
			})
		})
	}
}

// Of two nodes the one that stays is a group of its own before the other has stepped
// down, and goes on without it whatever the policy.
func TestStepDownOfOneOfTwo(t *testing.T) {
	t.Parallel()
	for _, policy := range []node.PartitionPolicy{node.Majority, node.Available} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			Run(t, Config{Nodes: 2, Seed: 73, Disks: LazyDisks, Policy: policy}, func(sc *Cluster) {
				var ledger Ledger
				write := func(when string) {
					for i := range 50 {
						began := time.Now()
						if err := ledger.Do(context.Background(), sc, "n1", fmt.Sprint(when, i), when); err != nil {
							sc.T.Fatalf("%s: %v", when, err)
						}
						if took := time.Since(began); took > 100*time.Millisecond {
							sc.T.Fatalf("%s: a write took %v", when, took)
						}
					}
				}
				sc.AwaitStable(time.Minute)
				sc.Fill("n1", 100)
				sc.Must(sc.StepDown("n2", time.Minute))
				write("alone")
				sc.Start("n2")
				sc.AwaitStable(time.Minute)
				write("together")
				sc.AwaitCopies()
				sc.CheckFilled("n2", 100)
				ledger.Check(sc)
			})
		})
	}
}

// Nodes that step down at once do not wait for each other: what only they have is
// copied to one that stays, and where none does they end.
func TestStepDownOfSeveral(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{2, 3, 4} { // of four one leaves meanwhile
		t.Run(fmt.Sprint("two of ", nodes), func(t *testing.T) {
			adjust := func(_ string, c *node.Config) { c.RepairDelay = time.Minute }
			Run(t, Config{Nodes: nodes, Seed: 74, Disks: LazyDisks, Adjust: adjust}, func(sc *Cluster) {
				const keys = 300
				sc.AwaitStable(2 * time.Minute)
				sc.Fill("n1", keys)
				over := make(chan error)
				began := time.Now()
				gone := []string{"n1", "n2"}
				for _, name := range gone {
					go func() { over <- sc.StepDown(name, 30*time.Second) }()
				}
				if nodes == 4 {
					go func() { over <- sc.Shutdown("n3", 30*time.Second) }()
					gone = append(gone, "n3")
				}
				for range gone {
					if err := <-over; err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("stepping down took %v", took)
				}
				if nodes > 2 {
					sc.CheckFilled(fmt.Sprint("n", nodes), keys)
				}
				sc.Start(gone...)
				sc.AwaitStable(2 * time.Minute)
				sc.CheckFilled("n1", keys)
			})
		})
	}
}

// Copies under way do not hold up a node that steps down: whom it hands the slots to
// makes them.
func TestStepDownBeforeCopiesEnd(t *testing.T) {
	t.Parallel()
	slow := func(_ string, c *node.Config) { c.MoveBudget = 64 << 10 }
	Run(t, Config{Nodes: 3, Seed: 75, Disks: LazyDisks, Adjust: slow}, func(sc *Cluster) {
		sc.AwaitStable(time.Minute)
		sc.Must(sc.Shutdown("n3", time.Minute))
		sc.WipeDisk("n3")
		sc.AwaitStable(time.Minute)
		value := strings.Repeat("v", 64<<10)
		for i := range 200 {
			sc.Must(sc.Set("n1", fmt.Sprint("big", i), value))
		}
		before := sc.Node("n1").Stats().BytesCopied
		sc.Start("n3")
		for began := time.Now(); sc.Node("n1").Stats().BytesCopied <= before; sc.Advance(100 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatal("nothing is copied")
			}
		}
		began := time.Now()
		sc.Must(sc.StepDown("n1", time.Minute))
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("stepping down took %v", took)
		}
		for i := range 200 {
			if v, _, err := sc.Get("n2", fmt.Sprint("big", i)); err != nil || v != value {
				t.Errorf("big%d: %d bytes, %v", i, len(v), err)
			}
		}
	})
}
