//go:build !race || slow

package simcluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// The link between two of three nodes is down, and both are members: calls between
// them go by way of the third.
func TestCallsGoAroundACutLink(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 31}, func(sc *Cluster) {
		sc.Fill("n1", 500)
		sc.AwaitStable(30 * time.Second)
		sc.Cut("n1", "n2")
		counts := map[string]int64{}
		var longest [2]time.Duration
		for i := range 300 {
			for _, who := range []string{"n1", "n2", "n3"} {
				began := time.Now()
				key := fmt.Sprint("c", i%100)
				sum, err := sc.Incr(who, key, 1)
				sc.Must(err)
				if counts[key]++; sum != counts[key] {
					t.Fatalf("Incr(%s) = %d, want %d", key, sum, counts[key])
				}
				_, _, err = sc.Get(who, fmt.Sprint("fill", i))
				sc.Must(err)
				late := min(i/150, 1)
				longest[late] = max(longest[late], time.Since(began))
			}
			sc.Advance(20 * time.Millisecond)
		}
		t.Logf("the slowest calls took %v, later %v", longest[0], longest[1])
		if longest[1] > 100*time.Millisecond {
			t.Errorf("a call by way of the third node took %v", longest[1])
		}
		sc.Heal()
		sc.AwaitStable(30 * time.Second)
		sc.CheckFilled("n2", 500)
	})
}

// Behind a link that is down nobody counts as dead: no slot changes hands, and the
// copies that can't be kept across it are kept elsewhere.
func TestCutLinkMovesNoSlots(t *testing.T) {
	t.Parallel()
	for _, nodes := range variants(1, 3, 5) {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			Run(t, Config{Nodes: nodes, Seed: 32}, func(sc *Cluster) {
				sc.Fill("n3", 300)
				sc.AwaitStable(30 * time.Second)
				before := sc.Node("n3").Table()
				sc.Cut("n1", "n2")
				for i := range 300 {
					for _, who := range []string{"n1", "n2", "n3"} {
						sc.Must(sc.Set(who, fmt.Sprint(who, i), "v"))
					}
					sc.Advance(100 * time.Millisecond)
				}
				for cl := range sc.Node("n3").Table().All() {
					was := before.Claim(cl.Slot)
					// A write that was on its way, and is repeated by another, costs an epoch.
					if cl.Primary != was.Primary || cl.Epoch > was.Epoch+1 {
						t.Fatalf("slot %d went from %v to %v", cl.Slot, was, cl)
					}
					if len(cl.Backups) != 1 {
						t.Fatalf("slot %d has no copy half a minute after the link failed: %v", cl.Slot, cl)
					}
				}
				for _, h := range sc.Up() {
					if alive := len(h.Node().Members()); alive != nodes {
						t.Errorf("%s counts %d members, want %d", h.Name, alive, nodes)
					}
				}
				sc.Heal()
				sc.AwaitStable(30 * time.Second)
				sc.CheckCopies()
				for i := range 300 {
					for _, who := range []string{"n1", "n2", "n3"} {
						if _, found, err := sc.Get("n2", fmt.Sprint(who, i)); err != nil || !found {
							t.Errorf("%s%d: found %v, %v", who, i, found, err)
						}
					}
				}
			})
		})
	}
}

// A node behind a link that is down hands its slots to whom it reaches and leaves.
func TestShutdownBehindACutLink(t *testing.T) {
	t.Parallel()
	for _, wait := range variants(1, 2*time.Second, 10*time.Second) {
		t.Run(wait.String(), func(t *testing.T) {
			t.Parallel()
			Run(t, Config{Nodes: 3, Seed: 33}, func(sc *Cluster) {
				sc.Fill("n1", 500)
				sc.AwaitStable(30 * time.Second)
				sc.Cut("n1", "n2")
				sc.Advance(wait)
				began := time.Now()
				sc.Must(sc.Shutdown("n1", 30*time.Second))
				t.Logf("it took %v", time.Since(began))
				for _, who := range []string{"n2", "n3"} {
					sc.CheckFilled(who, 500)
				}
				sc.AwaitStable(30 * time.Second)
			})
		})
	}
}

// A fleet that starts with a link down serves all slots, once the two have learned from
// others what each of them might have told the other.
func TestFleetStartsWithALinkDown(t *testing.T) {
	t.Parallel()
	for _, policy := range []node.PartitionPolicy{node.Available, node.Majority} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			Run(t, Config{Nodes: 3, Idle: true, Seed: 35, Policy: policy}, func(sc *Cluster) {
				sc.Cut("n1", "n2")
				began := time.Now()
				sc.Start("n3", "n1", "n2")
				for _, who := range []string{"n1", "n2", "n3"} {
					for sc.Node(who).Health().Unclaimed > 0 {
						if sc.Advance(100 * time.Millisecond); time.Since(began) > time.Minute {
							t.Fatalf("%s: %v", who, sc.Node(who).Health().Reasons)
						}
					}
				}
				t.Logf("all slots are claimed after %v", time.Since(began))
				sc.Fill("n1", 300)
				sc.CheckFilled("n2", 300)
				sc.Heal()
				sc.AwaitStable(30 * time.Second)
				sc.CheckCopies()
				sc.CheckFilled("n3", 300)
			})
		})
	}
}

// Callers on both sides of a link that is down stand in one line.
func TestLocksAcrossACutLink(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 34}, func(sc *Cluster) {
		sc.AwaitStable(30 * time.Second)
		key := sc.KeyServedBy("n2")
		sc.Cut("n1", "n2")
		sc.Advance(2 * time.Second)
		held := 0
		var wg sync.WaitGroup
		for token, who := range []string{"n1", "n2", "n3"} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				token := uint64(token + 1)
				for range 20 {
					_, err := sc.Do(ctx, who, node.Lock{Token: token, TTL: 20 * time.Second}.Call(0, key))
					sc.Must(err)
					if held++; held != 1 {
						t.Errorf("%d hold the lock", held)
					}
					sc.Advance(10 * time.Millisecond)
					held--
					_, err = sc.Do(ctx, who, node.Unlock(token, 0, key))
					sc.Must(err)
				}
			})
		}
		wg.Wait()
	})
}
