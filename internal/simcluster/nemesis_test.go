//go:build !race || slow

package simcluster_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

var (
	seeds     = flag.Int("seeds", 1, "how many seeds the nemeses run")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
	steps     = flag.Int("steps", 3, "how many faults befall a cluster")
	large     = flag.Bool("large", false, "have the nemeses run up to five nodes, not three, and other tests all their variants")
)

// TestNemesis has random faults befall a cluster under load. Under policy
// Majority, with crashes one at a time or of all with their disks, every key's
// history is linearizable whoever calls (I1-I5, I8); after the faults the
// cluster comes to rest (I9).
func TestNemesis(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var hist History
			r := rand.New(rand.NewPCG(seed, 1))
			nodes, backups := 3, 1
			if *large {
				nodes += r.IntN(3)
			}
			if nodes == 5 {
				backups += r.IntN(2)
			}
			cfg := Config{Nodes: nodes, Backups: backups, Policy: node.Majority, Seed: seed, Disks: Disks(r.IntN(3)), Adjust: patient}
			Run(t, cfg, func(sc *Cluster) {
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for c := range 4 {
					wg.Go(func() { load(sc, &hist, c, nodes, seed, stop) })
				}
				wg.Go(func() { watchClaims(sc, loadKeys, stop) })
				nm := &nemesis{sc: sc, r: r, t: t, disks: cfg.Disks, begin: time.Now()}
				for range *steps {
					nm.step()
				}
				nm.end()
				close(stop)
				wg.Wait()
				if !t.Failed() {
					sc.AwaitCopies()
				}
			})
			hist.Check(t)
			if t.Failed() {
				t.Log(again("Nemesis", seed))
			}
		})
	}
}

// again is the command that runs a seed once more.
func again(test string, seed uint64) string {
	tags := ""
	if shard.Slots < 16384 {
		tags = "-tags slotmesh_fewslots "
	}
	return fmt.Sprintf("go test %s./internal/simcluster -run %s -seeds 1 -seed %d -steps %d", tags, test, seed, *steps)
}

// variants are those of a test that run: without -large the first few.
func variants[T any](few int, all ...T) []T {
	if *large {
		return all
	}
	return all[:few]
}

// patient keeps a slot whose holders are cut off from being started anew.
func patient(_ string, c *node.Config) { c.OrphanWait = 40 * time.Second }

var loadKeys = []string{"key0", "key1", "key2", "key3", "counter0", "counter1"}

// load makes calls from random nodes until stop closes.
func load(sc *Cluster, hist *History, client, nodes int, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, uint64(client)+100))
	last := map[string]string{}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(5+r.IntN(60)) * time.Millisecond):
		}
		from := fmt.Sprintf("n%d", 1+r.IntN(nodes))
		key := fmt.Sprintf("key%d", r.IntN(4))
		c := node.Call{Op: transport.OpGet, Key: key}
		switch n := r.IntN(20); {
		case n < 1:
			c.Op = transport.OpDelete
		case n < 6:
			c.Op, c.Value = transport.OpSet, fmt.Appendf(nil, "%d-%d", client, i)
		case n < 10 && last[key] != "":
			c.Op, c.Old, c.Value = transport.OpCompare, []byte(last[key]), fmt.Appendf(nil, "%d-%d", client, i)
		case n < 14:
			c.Op, c.Key, c.Delta = transport.OpIncr, fmt.Sprintf("counter%d", r.IntN(2)), 1
		case n < 16:
			c.Key = fmt.Sprintf("counter%d", r.IntN(2))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		res, err := hist.Do(ctx, sc, client, from, c)
		cancel()
		if err == nil && c.Op == transport.OpGet {
			last[key] = string(res.Value)
		} else if err == nil {
			last[key] = string(c.Value)
		}
	}
}
