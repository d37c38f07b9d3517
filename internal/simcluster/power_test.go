//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// The disks of the others have what the first holder's had not synced when the power
// of all failed: no read after that misses it, however early.
func TestRecoveryHearsAllDisks(t *testing.T) {
	t.Parallel()
	for _, seed := range variants(1, uint64(1), 0, 2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 601 + seed, Disks: LazyDisks}, func(sc *Cluster) {
				key := sc.KeyServedBy("n1")
				sc.Must(sc.Set("n1", key, "old"))
				sc.Fill("n1", 500)
				sc.Advance(3 * time.Second) // all of it is on every disk
				sc.SlowDisk("n1", 5*time.Second)
				sc.Must(sc.Set("n1", key, "new"))
				sc.Advance(2 * time.Second)
				sc.PowerLoss()
				sc.SlowDisk("n1", 0)
				sc.StartEvery(time.Second, "n1", "n3", "n2")
				if got := firstRead(t, sc, "n3", key); got != "new" {
					t.Errorf("the first read after the power was back gave %q, want %q", got, "new")
				}
				sc.AwaitStable(time.Minute)
				sc.AwaitCopies()
			})
		})
	}
}

// firstRead is the value that the first read of a key gives that gives any.
func firstRead(t *testing.T, sc *Cluster, from, key string) string {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		v, found, err := sc.Get(from, key)
		switch {
		case err == nil && !found:
			return "none"
		case err == nil:
			return v
		case !errors.Is(err, node.ErrNoPrimary) && !errors.Is(err, context.DeadlineExceeded):
			t.Fatal(err)
		}
	}
	t.Fatal("no read succeeded within a minute")
	return ""
}

// A primary that waits for another's disk, and crashes, is not followed by one that
// does not wait: neither its own next start, nor a backup.
func TestGatheringOutlivesItsPrimary(t *testing.T) {
	t.Parallel()
	for _, restarts := range variants(1, true, false) {
		t.Run(fmt.Sprint(restarts), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 601, Disks: LazyDisks}, func(sc *Cluster) {
				key := sc.KeyServedBy("n1")
				sc.Must(sc.Set("n1", key, "old"))
				sc.Fill("n1", 500)
				sc.Advance(3 * time.Second)
				sc.SlowDisk("n1", 5*time.Second)
				sc.Must(sc.Set("n1", key, "new"))
				sc.Advance(2 * time.Second)
				sc.PowerLoss()
				sc.SlowDisk("n1", 0)
				sc.Start("n1", "n2", "n3")
				for end := time.Now().Add(time.Minute); sc.Owner("n1", key) != "n1"; sc.Advance(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("nobody recovers the slot")
					}
				}
				sc.Cut("n1", "n2")
				if restarts {
					sc.Advance(100 * time.Millisecond)
					sc.Kill("n1")
					sc.Advance(200 * time.Millisecond)
					sc.Heal()
					sc.Start("n1")
				} else {
					sc.Advance(20 * time.Second)
					if names, _ := sc.Node("n1").Awaited(); !slices.Equal(names, []string{"n2"}) {
						t.Errorf("n1 waits for the disks of %v, want n2's", names)
					}
					sc.Kill("n1")
					sc.Heal()
				}
				if got := firstRead(t, sc, "n3", key); got != "new" {
					t.Errorf("the first read gave %q, want %q", got, "new")
				}
			})
		})
	}
}

// A loser of a fork that crashes while it owes its records still does when it is
// back with its disk, also where the winner has taken over its lineage by then.
func TestRestartKeepsWhatIsOwed(t *testing.T) {
	t.Parallel()
	for _, how := range variants(1, "power loss", "shutdown", "crash") {
		t.Run(how, func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 620, Policy: node.Available, Disks: SyncedDisks}, func(sc *Cluster) {
				var ledger Ledger
				write := func(from, prefix string) {
					for i := range 100 {
						if err := ledger.Do(context.Background(), sc, from, fmt.Sprint(prefix, i), prefix); err != nil {
							t.Fatal(err)
						}
					}
				}
				sc.Isolate("n3")
				sc.Advance(15 * time.Second)
				write("n3", "alone")
				write("n1", "together")
				sc.Heal()
				sc.Net.SetDefault(simnet.Link{Delay: 100 * time.Millisecond})
				loser := ""
				for end := time.Now().Add(time.Minute); loser == ""; sc.Advance(50 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("nobody owes anything")
					}
					for _, h := range sc.Up() {
						if h.Node().Stats().Owed > 0 {
							loser = h.Name
						}
					}
				}
				sc.Advance(500 * time.Millisecond) // winners take lineages over
				if sc.Node(loser).Stats().Owed == 0 {
					t.Fatal("all was handed over before the fault")
				}
				sc.Net.SetDefault(simnet.Link{Delay: 200 * time.Microsecond})
				switch how {
				case "crash":
					sc.Kill(loser)
					sc.Advance(time.Second)
					sc.Start(loser)
				case "power loss":
					sc.PowerLoss()
					sc.Start("n1", "n2", "n3")
				case "shutdown": // hands it over first
					sc.Must(sc.Shutdown(loser, time.Minute))
				}
				sc.AwaitStable(2 * time.Minute)
				sc.AwaitCopies()
				ledger.Check(sc)
			})
		})
	}
}
