//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A lock is kept for as long as it was asked for, whatever is done to wall clocks: that
// of the primary is set, or another takes over whose clock is ahead. It is free soon
// after (of seeds 130001 to 130115 of TestNemesisOfTransactionsLocksAndLoads).
func TestLocksAreKeptWhenClocksAreSet(t *testing.T) {
	t.Parallel()
	for i, set := range variants(2,
		func(sc *Cluster) { sc.Host("n1").Clock.Step(time.Minute) },
		func(sc *Cluster) {
			sc.Host("n2").Clock.Step(50 * time.Second)
			sc.Kill("n1")
		},
		func(sc *Cluster) { sc.Host("n1").Clock.Step(-time.Minute) },
		func(sc *Cluster) {
			sc.Host("n2").Clock.Step(-50 * time.Second)
			sc.Kill("n1")
		},
	) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 51, Policy: node.Majority}, func(sc *Cluster) {
				const ttl = 20 * time.Second
				key := sc.KeyHeldBy("n1", "n2")
				do := func(l node.Lock) error {
					_, err := sc.DoWithin(5*time.Second, "n3", l.Call(0, key))
					return err
				}
				sc.Must(do(node.Lock{Token: 1, TTL: ttl}))
				began := time.Now()
				sc.Advance(time.Second)
				set(sc)
				for time.Since(began) < ttl-time.Second {
					if err := do(node.Lock{Token: 2, TTL: ttl, How: node.LockTry}); !errors.Is(err, node.ErrLocked) {
						t.Fatalf("after %v: %v, want %v", time.Since(began), err, node.ErrLocked)
					}
					sc.Advance(500 * time.Millisecond)
				}
				began = time.Now()
				sc.Must(do(node.Lock{Token: 1, TTL: ttl, How: node.LockRenew}))
				for do(node.Lock{Token: 2, TTL: ttl, How: node.LockTry}) != nil {
					sc.Advance(100 * time.Millisecond)
				}
				if took := time.Since(began); took < ttl || took > ttl+time.Second {
					t.Errorf("it is free after %v, want %v", took, ttl)
				}
				if err := do(node.Lock{Token: 1, TTL: ttl, How: node.LockRenew}); !errors.Is(err, node.ErrLocked) {
					t.Errorf("the first renews it: %v, want %v", err, node.ErrLocked)
				}
			})
		})
	}
}

// The lock of a process that died with the primary is free when its time has passed
// once more for the node that took over, and one that nobody asks for meanwhile at once.
func TestLocksOfTheDeadAreFree(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 52, Policy: node.Majority}, func(sc *Cluster) {
		const ttl = 20 * time.Second
		key := sc.KeyHeldBy("n1", "n2")
		do := func(l node.Lock, within time.Duration) error {
			_, err := sc.DoWithin(within, "n3", l.Call(0, key))
			return err
		}
		sc.Must(do(node.Lock{Token: 1, TTL: ttl}, time.Second))
		sc.Kill("n1")
		began := time.Now()
		sc.Must(do(node.Lock{Token: 2, TTL: ttl}, time.Minute)) // it waits in line
		if took := time.Since(began); took < ttl-time.Second || took > ttl+3*time.Second {
			t.Errorf("it is free after %v, want %v", took, ttl)
		}
		sc.Advance(ttl + time.Second)
		sc.Must(do(node.Lock{Token: 3, TTL: ttl, How: node.LockTry}, time.Second))
	})
}

// The lock of a fork is its holder's after the heal too, for as long as it was asked
// for: the winner's clock says nothing of when the loser granted it.
func TestLocksOfForksAreKept(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 53, Policy: node.Available}, func(sc *Cluster) {
		const ttl = 20 * time.Second
		do := func(from, key string, l node.Lock) error {
			_, err := sc.DoWithin(20*time.Second, from, l.Call(0, key))
			return err
		}
		sc.Kill("n3")
		sc.AwaitStable(time.Minute)
		sc.Advance(time.Minute) // the clocks of those who stayed are ahead
		sc.Start("n3")
		sc.AwaitStable(time.Minute)
		sc.Isolate("n3")
		sc.Advance(12 * time.Second)
		for range 2 { // the others come to higher epochs, and win
			sc.Kill("n2")
			sc.Advance(5 * time.Second)
			sc.Start("n2")
			sc.Advance(5 * time.Second)
		}
		began := time.Now()
		for i := range 10 {
			sc.Must(do("n3", fmt.Sprint("lock", i), node.Lock{Token: 1, TTL: ttl}))
		}
		sc.Heal()
		sc.AwaitStable(15 * time.Second)
		for time.Since(began) < ttl {
			for i := range 10 {
				if err := do("n2", fmt.Sprint("lock", i), node.Lock{Token: 2, TTL: ttl, How: node.LockTry}); !errors.Is(err, node.ErrLocked) {
					t.Fatalf("lock%d after %v: %v, want %v", i, time.Since(began), err, node.ErrLocked)
				}
			}
			sc.Advance(200 * time.Millisecond)
		}
		sc.Advance(ttl)
		sc.Must(do("n2", "lock0", node.Lock{Token: 2, TTL: ttl, How: node.LockTry}))
	})
}
