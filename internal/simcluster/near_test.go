//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// TestNearReadsAreLinearizable has random faults befall a cluster all of whose
// nodes have near caches, under reads of few keys: every key's history is
// linearizable.
func TestNearReadsAreLinearizable(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hist := nearHistory(t, seed, false)
			hist.Check(t)
			if t.Failed() {
				t.Logf("go test ./internal/simcluster -run NearReads -seeds 1 -seed %d", seed)
			}
		})
	}
}

// TestCheckerFindsKeptGrants shows that the test above can fail: primaries that
// do not revoke read leases are found out.
func TestCheckerFindsKeptGrants(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		if !nearHistory(t, seed, true).Linearizable() {
			return
		}
	}
	t.Error("five histories of a cluster that revokes nothing are linearizable")
}

func nearHistory(t *testing.T, seed uint64, keepGrants bool) *History {
	var hist History
	adjust := func(name string, c *node.Config) {
		patient(name, c)
		c.NearBytes, c.KeepGrants = 1<<20, keepGrants
	}
	const nodes = 3
	Run(t, Config{Nodes: nodes, Policy: node.Majority, Seed: seed, Adjust: adjust}, func(sc *Cluster) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		end := sync.OnceFunc(func() { close(stop) })
		defer end()
		for client := range 6 {
			wg.Go(func() { nearLoad(sc, &hist, client, nodes, seed, stop) })
		}
		nm := &nemesis{sc: sc, r: rand.New(rand.NewPCG(seed, 5)), t: t, begin: time.Now()}
		if keepGrants {
			sc.Advance(5 * time.Second)
		} else {
			for range 5 {
				nm.step()
			}
			nm.end()
		}
		end()
		wg.Wait()
		var hits, revoked uint64
		for _, h := range sc.Up() {
			st := sc.Node(h.Name).Stats()
			hits, revoked = hits+st.NearHits, revoked+st.Revocations
		}
		t.Logf("%d near reads, %d revocations by nodes that live", hits, revoked)
		if hits < 300 || !keepGrants && revoked < 20 {
			t.Error("too few")
		}
		if !t.Failed() {
			sc.AwaitCopies()
		}
	})
	return &hist
}

// nearLoad makes calls from random nodes, most of them reads, until stop closes.
func nearLoad(sc *Cluster, hist *History, client, nodes int, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, uint64(client)+200))
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(2000+r.IntN(20_000)) * time.Microsecond):
		}
		c := node.Call{Op: transport.OpGet, Key: fmt.Sprintf("key%d", r.IntN(3))}
		if r.IntN(100) < 6 {
			c.Op, c.Value = transport.OpSet, fmt.Appendf(nil, "%d-%d", client, i)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, _ = hist.Do(ctx, sc, client, fmt.Sprintf("n%d", 1+r.IntN(nodes)), c)
		cancel()
	}
}
