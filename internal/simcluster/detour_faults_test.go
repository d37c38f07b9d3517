//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// A write that was sent just before a link failed, and repeated by way of a third node,
// is not run again when the link is back and the first one arrives.
func TestRepeatByAnotherWayRunsOnce(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 41}, func(sc *Cluster) {
		key := sc.KeyServedBy("n2")
		_, err := sc.Incr("n1", key, 1)
		sc.Must(err)
		sc.Cut("n1", "n2")
		_, err = sc.Incr("n1", key, 1)
		sc.Must(err)
		sc.Heal()
		sc.Advance(5 * time.Second)
		for _, who := range []string{"n1", "n2", "n3"} {
			sum, err := sc.Incr(who, key, 0)
			sc.Must(err)
			if sum != 2 {
				t.Errorf("%s: the counter is at %d after two Incr by 1 that succeeded", who, sum)
			}
		}
	})
}

// Nor is one that a relay holds back while it stalls, and that was repeated by way of
// another.
func TestStalledRelayRunsNothingTwice(t *testing.T) {
	t.Parallel()
	for _, seed := range variants[uint64](1, 62, 60, 61, 63) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 5, Seed: seed}, func(sc *Cluster) {
				key := sc.KeyServedBy("n2")
				sc.Cut("n1", "n2")
				sc.Advance(10 * time.Second)
				const calls = 32
				errs := make(chan error, calls)
				sc.Cut("n1", "n3")
				for range calls {
					go func() {
						_, err := sc.Incr("n1", key, 1)
						errs <- err
					}()
				}
				var done int64
				for range calls {
					if <-errs == nil {
						done++
					}
				}
				sc.Net.Heal("n1", "n3")
				sc.Advance(5 * time.Second)
				sc.Heal()
				sc.Advance(5 * time.Second)
				sum, err := sc.Incr("n5", key, 0)
				sc.Must(err)
				if sum < done || sum > calls {
					t.Errorf("the counter is at %d after %d Incr, of which %d succeeded", sum, calls, done)
				}
				if done == calls && sum != calls {
					t.Errorf("the counter is at %d after %d Incr that succeeded", sum, calls)
				}
			})
		})
	}
}

// Copies that are in sync stay where the link to a newcomer is down that is to have
// the slot: nothing is lost when one process crashes next.
func TestCopiesStayWhereAnothersLinkIsDown(t *testing.T) {
	t.Parallel()
	adjust := func(_ string, c *node.Config) { c.RepairDelay = 10 * time.Second }
	Run(t, Config{Nodes: 3, Seed: 44, Adjust: adjust}, func(sc *Cluster) {
		sc.Cut("n1", "n4")
		sc.Start("n4")
		sc.Advance(6 * time.Second)
		sc.Fill("n3", 600)
		sc.Kill("n1")
		sc.Advance(30 * time.Second)
		sc.CheckFilled("n2", 600)
	})
}

// A node that another never heard itself counts as dead for that one, too, when nobody
// hears it any more.
func TestNodeKnownFromOthersDies(t *testing.T) {
	t.Parallel()
	for _, silent := range variants(1, true, false) {
		t.Run(fmt.Sprint("silent=", silent), func(t *testing.T) {
			Run(t, Config{Nodes: 4, Idle: true, Seed: 42}, func(sc *Cluster) {
				sc.Cut("n1", "n2")
				sc.Start("n3", "n4", "n1", "n2")
				sc.Advance(30 * time.Second)
				sc.Fill("n1", 300)
				if silent {
					sc.KillSilent("n2")
				} else {
					sc.Kill("n2")
				}
				sc.Advance(30 * time.Second)
				for _, m := range sc.Node("n1").Members() {
					if m.Name == "n2" && m.State == "alive" {
						t.Error("n1 counts n2 as alive half a minute after its death")
					}
				}
				for cl := range sc.Node("n3").Table().All() {
					if len(cl.Backups) == 0 {
						t.Fatalf("no copy was made anew: %v", cl)
					}
				}
				sc.CheckFilled("n1", 300)
			})
		})
	}
}

// A node that one of many hears keeps the slots that it can serve with that one, and
// the others are served by those who don't hear it. No call of anybody else fails.
func TestNodeThatOneOfManyHears(t *testing.T) {
	t.Parallel()
	type variant struct {
		policy  node.PartitionPolicy
		visitor bool // is who hears it
	}
	for _, v := range variants(1, variant{node.Majority, true}, variant{node.Majority, false}, variant{node.Available, false}, variant{node.Available, true}) {
		t.Run(fmt.Sprintf("%+v", v), func(t *testing.T) {
			adjust := func(name string, c *node.Config) {
				if name == "n5" && v.visitor {
					c.Visitor, c.Weight = true, 0
				}
			}
			Run(t, Config{Nodes: 5, Seed: 45, Policy: v.policy, Adjust: adjust}, func(sc *Cluster) {
				for _, other := range []string{"n2", "n3", "n4"} {
					sc.Cut("n1", other)
				}
				sc.Advance(20 * time.Second)
				before := sc.Node("n3").Table()
				for i := range 1000 {
					for _, who := range []string{"n2", "n3", "n5"} {
						sc.Must(sc.Set(who, fmt.Sprint("p", i), "v"))
					}
					sc.Advance(20 * time.Millisecond)
				}
				for cl := range sc.Node("n3").Table().All() {
					if was := before.Claim(cl.Slot); cl.Primary != was.Primary {
						t.Fatalf("slot %d went from %v to %v long after the links failed", cl.Slot, was, cl)
					}
				}
			})
		})
	}
}

// Calls on their way through a node whose host vanishes are made again by another.
func TestCallsOutliveTheirRelay(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 4, Seed: 47}, func(sc *Cluster) {
		key := sc.KeyServedBy("n2")
		sc.Cut("n1", "n2")
		sc.Advance(10 * time.Second)
		var wg sync.WaitGroup
		stop := time.Now().Add(5 * time.Second)
		for i := range 40 {
			wg.Go(func() {
				for time.Now().Before(stop) {
					began := time.Now()
					_, err := sc.DoWithin(30*time.Second, "n1", node.Call{Op: transport.OpGet, Key: key})
					if took := time.Since(began); err != nil || took > 4*time.Second {
						t.Errorf("a read gave %v after %v", err, took)
					}
					sc.Advance(time.Duration(1+i%3) * time.Millisecond)
				}
			})
		}
		sc.Advance(time.Second)
		sc.KillSilent("n3")
		wg.Wait()
	})
}

// Who stands in line for a lock by way of a third node still does when the streams of
// the link that is down have ended.
func TestLineForALockOutlivesStreams(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 51}, func(sc *Cluster) {
		key := sc.KeyServedBy("n2")
		_, err := sc.Do(context.Background(), "n3", node.Lock{Token: 1, TTL: 10 * time.Minute}.Call(0, key))
		sc.Must(err)
		sc.Cut("n1", "n2")
		sc.Advance(5 * time.Second)
		got := make(chan error, 1)
		go func() {
			_, err := sc.DoWithin(5*time.Minute, "n1", node.Lock{Token: 2, TTL: 10 * time.Minute}.Call(0, key))
			got <- err
		}()
		sc.Advance(100 * time.Second)
		if len(got) > 0 {
			t.Fatalf("n1 has the lock that n3 holds: %v", <-got)
		}
		began := time.Now()
		_, err = sc.Do(context.Background(), "n3", node.Unlock(1, 0, key))
		sc.Must(err)
		sc.Must(<-got)
		if late := time.Since(began); late > 5*time.Second {
			t.Errorf("n1 heard of the free lock after %v", late)
		}
	})
}
