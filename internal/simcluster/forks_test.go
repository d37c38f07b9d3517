//go:build !race || slow

package simcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// TestNemesisOfForks has random faults befall a cluster of policy Available,
// whose parts go on as forks. After the faults no acknowledged write is gone
// unless a newer one of its key replaced it, all copies and tables are equal
// and as the plan wants them (I1, I2, I6, I9).
func TestNemesisOfForks(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			nodes := 2 + r.IntN(2)
			if *large {
				nodes += r.IntN(3)
			}
			cfg := Config{Nodes: nodes, Policy: node.Available, Seed: seed, Disks: Disks(r.IntN(3)), Adjust: patient}
			Run(t, cfg, func(sc *Cluster) {
				var ledger Ledger
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for c := range 3 {
					wg.Go(func() { writes(sc, &ledger, c, nodes, seed, stop) })
				}
				wg.Go(func() { watchClaims(sc, []string{"key0", "key1", "key2", "key3"}, stop) })
				nm := &nemesis{sc: sc, r: r, t: t, disks: cfg.Disks, begin: time.Now(), forks: true}
				for range *steps {
					nm.step()
				}
				nm.end()
				close(stop)
				wg.Wait()
				if t.Failed() {
					return
				}
				sc.AwaitStable(90 * time.Second) // calls under way have ended
				sc.AwaitCopies()
				ledger.Check(sc)
			})
			if t.Failed() {
				t.Log(again("NemesisOfForks", seed))
			}
		})
	}
}

// Soon after the sides of a fork meet again all slots are where the plan wants them,
// with their backups, and nothing is owed: mostly within four seconds.
func TestForksHealSoon(t *testing.T) {
	t.Parallel()
	for i, cut := range variants(1, slices.Repeat([]time.Duration{8 * time.Second, 30 * time.Second}, 8)...) {
		t.Run(fmt.Sprint(i, " ", cut), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Policy: node.Available, Seed: 630 + uint64(i)}, func(sc *Cluster) {
				sc.Fill("n1", 500)
				sc.Isolate("n3")
				sc.Advance(cut)
				for i := range 200 {
					sc.Must(sc.Set("n3", fmt.Sprint("alone", i), "x"))
					sc.Must(sc.Set("n1", fmt.Sprint("together", i), "x"))
				}
				sc.Heal()
				sc.AwaitStable(8 * time.Second)
				sc.AwaitCopies()
			})
		})
	}
}

// writes sets and deletes keys from random nodes until stop closes.
func writes(sc *Cluster, ledger *Ledger, client, nodes int, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, uint64(client)+300))
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(5+r.IntN(100)) * time.Millisecond):
		}
		value := fmt.Sprintf("%d-%d", client, i)
		if r.IntN(4) == 0 {
			value = ""
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_ = ledger.Do(ctx, sc, fmt.Sprintf("n%d", 1+r.IntN(nodes)), fmt.Sprintf("key%d", r.IntN(40)), value)
		cancel()
	}
}
