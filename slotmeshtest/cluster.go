// Package slotmeshtest starts clusters for the tests of programs that use
// slotmesh: real nodes in the test's own process, on loopback.
//
//	func TestCart(t *testing.T) {
//		caches := slotmeshtest.Start(t, 3)
//		shop := NewShop(caches[0])
//		...
//	}
//
// Simulate has them live in virtual time and on a network that can be cut, slowed
// and healed, so that a test can see its program through crashes, stalls and
// partitions in a second:
//
//	func TestCartSurvivesACrash(t *testing.T) {
//		slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
//			shop := NewShop(c.Node("n1"))
//			...
//			c.Kill("n2")
//			...
//		})
//	}
//
// Live is such a cluster in real time, for programs that use sockets and databases.
package slotmeshtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
)

// startTimeout bounds the start of a node in a network of a Cluster, what is waited for
// there, and calls without a deadline.
const startTimeout = 60 * time.Second

// patience bounds Start and Await: a cluster of three takes a second and a half, and more
// than a minute where many other programs want the processors.
const patience = 3 * time.Minute

// silence is how long a node that Start opened may say nothing: far longer than it is
// kept from the processor. One that closes says so, and is not waited for.
const silence = 15 * time.Second

// Start opens a cluster of n nodes named "n1" to "n<n>" and returns once all
// are ready, know each other and every slot is where it should be. They listen
// on free ports of 127.0.0.1 and expect each other (WithBootstrapExpect(n)). Since
// tests may run where processors are short they give calls without a deadline a
// minute (WithOpTimeout), and wait 15s for one that is silent or late
// (WithFailureTimeout, WithReplicationTimeout), but not for one that has closed.
// opts are given to every node after that, so they may change it. A failure ends the
// test; the end of the test closes the nodes.
func Start(t testing.TB, n int, opts ...slotmesh.Option) []*slotmesh.Cache {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	caches := make([]*slotmesh.Cache, 0, n)
	t.Cleanup(func() {
		var wg sync.WaitGroup // side by side, so that none takes over from another
		for _, c := range caches {
			wg.Go(func() {
				if err := c.Close(); err != nil {
					t.Errorf("slotmeshtest: close: %v", err)
				}
			})
		}
		wg.Wait()
	})
	cluster := "test-" + rand.Text()
	for i := range n {
		node := []slotmesh.Option{
			slotmesh.WithName(fmt.Sprintf("n%d", i+1)),
			slotmesh.WithCluster(cluster),
			slotmesh.WithAddr("127.0.0.1:0"),
			slotmesh.WithBootstrapExpect(n), // so that no slot moves
			slotmesh.WithOpTimeout(startTimeout),
			slotmesh.WithFailureTimeout(silence),
			slotmesh.WithReplicationTimeout(silence),
		}
		if i > 0 {
			node = append(node, slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
		}
		c, err := slotmesh.Open(ctx, append(node, opts...)...)
		if err != nil {
			t.Fatalf("slotmeshtest: start node %d of %d: %v", i+1, n, err)
		}
		caches = append(caches, c)
	}
	Await(t, "the cluster is at rest", func() error { return atRest(caches) })
	for i, c := range caches {
		if err := c.Ready(ctx); err != nil {
			t.Fatalf("slotmeshtest: node %d of %d is not ready: %v", i+1, n, err)
		}
	}
	return caches
}

// Await polls until holds returns nil, and fails the test with its last error
// after three minutes. what says what is waited for.
func Await(t testing.TB, what string, holds func() error) {
	t.Helper()
	await(t, what, 25*time.Millisecond, patience, holds)
}

func await(t testing.TB, what string, every, limit time.Duration, holds func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("slotmeshtest: waited %v until %s: %v", limit, what, err)
		}
	}
}

func atRest(caches []*slotmesh.Cache) error {
	for _, c := range caches {
		view := c.Cluster()
		seen := 0
		for _, n := range view.Nodes() {
			if n.State == "alive" {
				seen++
			}
		}
		if seen != len(caches) {
			return fmt.Errorf("%s sees %d nodes of %d", view.Self().Name, seen, len(caches))
		}
		if h := view.Health(); !h.Balanced {
			return fmt.Errorf("%s: %d slots unclaimed, %d moving, %d short of backups %v",
				view.Self().Name, h.Unclaimed, h.Moving, h.ShortBackups, h.Reasons)
		}
	}
	return nil
}
