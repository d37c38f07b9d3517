//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// A node that went on alone and is shut down as soon as others are reached again
// hands its slots and records over, though gossip does not count those as members yet.
func TestShutdownRightAfterAHeal(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 641, Policy: node.Available}, func(sc *Cluster) {
		var ledger Ledger
		sc.Isolate("n3")
		sc.Advance(15 * time.Second)
		for i := range 100 {
			if err := ledger.Do(context.Background(), sc, "n3", fmt.Sprint("alone", i), "alone"); err != nil {
				sc.T.Fatal(err)
			}
		}
		sc.Heal()
		sc.Net.SetDefault(simnet.Link{Delay: 100 * time.Millisecond})
		awaitReached(sc, "n3")
		if n := sc.Node("n3").Stats().Alive; n != 1 {
			sc.T.Fatalf("n3 knows of %d living members: too late to tell", n)
		}
		sc.Must(sc.Shutdown("n3", time.Minute))
		sc.AwaitStable(time.Minute)
		ledger.Check(sc)
	})
}

// awaitReached returns once a node is connected to another one.
func awaitReached(sc *Cluster, name string) {
	reached := func() bool {
		return slices.ContainsFunc(sc.Node(name).Stats().Peers, func(p node.PeerStats) bool { return p.Up })
	}
	for end := time.Now().Add(time.Minute); !reached(); sc.Advance(10 * time.Millisecond) {
		if time.Now().After(end) {
			sc.T.Fatalf("%s reaches nobody", name)
		}
	}
}

// Nor is such a node gone before its control loop has seen that it lost the slots: the
// claims of the others are in the table at once, and what it owes them is found out when
// its disk has the claims.
func TestShutdownAwaitsWhatAClaimTakes(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"n1", "n2"} { // one of them loses all slots at a stroke
		t.Run(who, func(t *testing.T) {
			Run(t, Config{Nodes: 2, Seed: 643, Policy: node.Available, Disks: LazyDisks}, func(sc *Cluster) {
				var ledger Ledger
				sc.Isolate(who)
				sc.Advance(15 * time.Second)
				for i := range 100 {
					if err := ledger.Do(context.Background(), sc, who, fmt.Sprint("alone", i), "alone"); err != nil {
						sc.T.Fatal(err)
					}
				}
				sc.SlowDisk(who, 300*time.Millisecond)
				sc.Heal()
				awaitReached(sc, who)
				sc.Must(sc.Shutdown(who, time.Minute))
				sc.AwaitStable(time.Minute)
				ledger.Check(sc)
			})
		})
	}
}

// Of a primary and the one witness that is left, the witness leaves: the primary is a
// group of its own before, and goes on.
func TestShutdownOfTheLastWitness(t *testing.T) {
	t.Parallel()
	guest := func(name string, c *node.Config) {
		if name == "n1" {
			c.Weight = 0
		}
	}
	Run(t, Config{Nodes: 3, Seed: 642, Policy: node.Majority, Adjust: guest}, func(sc *Cluster) {
		var ledger Ledger
		write := func(when string) {
			for i := range 50 {
				if err := ledger.Do(context.Background(), sc, "n3", fmt.Sprint(when, i), when); err != nil {
					sc.T.Fatalf("%s: %v", when, err)
				}
			}
		}
		sc.AwaitStable(time.Minute)
		sc.Kill("n2")
		write("n2 is dead")
		sc.AwaitStable(time.Minute)
		sc.Net.SetDefault(simnet.Link{Delay: 100 * time.Millisecond})
		begun := time.Now()
		sc.Must(sc.Shutdown("n1", time.Minute))
		if took := time.Since(begun); took > 4*time.Second {
			sc.T.Errorf("the shutdown took %v: nobody let the witness go", took)
		}
		write("alone")
		sc.AwaitStable(time.Minute)
		ledger.Check(sc)
	})
}
