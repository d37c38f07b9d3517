//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// Disks that are synced once a second lose, when the power of all fails, what was
// acknowledged in the last second and one flush, and nothing older; when one
// copy stays up they lose nothing.
func TestLazyDisksLoseASecondAtMost(t *testing.T) {
	t.Parallel()
	lost := 0
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			cfg := Config{Nodes: 3, Seed: seed, Policy: node.PartitionPolicy(seed % 2), Disks: LazyDisks, Adjust: patient}
			Run(t, cfg, func(sc *Cluster) {
				flush := time.Duration(r.IntN(300)) * time.Millisecond
				sc.SlowDisk("n2", flush)
				names := []string{"n1", "n2", "n3"}
				var acked []time.Time
				write := func(d time.Duration, from []string) {
					for begun := time.Now(); time.Since(begun) < d; sc.Advance(4 * time.Millisecond) {
						i := len(acked)
						sc.Must(sc.Set(from[i%len(from)], fmt.Sprint("key", i), fmt.Sprint(i)))
						acked = append(acked, time.Now())
					}
				}
				// check counts the writes that are gone, which none before a time may be.
				check := func(until time.Time) (gone int) {
					for i, at := range acked {
						if v, found, err := sc.Get(names[i%3], fmt.Sprint("key", i)); err != nil || found && v != fmt.Sprint(i) || !found && at.Before(until) {
							t.Fatalf("write %d, acknowledged %v before, is %q, %v, %v", i, until.Sub(at), v, found, err)
						} else if !found {
							gone++
						}
					}
					return gone
				}
				write(time.Second, names)
				sc.KillSilent("n3")
				write(time.Duration(r.IntN(1000))*time.Millisecond, names[:2])
				sc.Start("n3")
				sc.AwaitStable(time.Minute)
				check(time.Now())

				write(time.Second+time.Duration(r.IntN(2000))*time.Millisecond, names)
				failed := time.Now()
				sc.PowerLoss()
				r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
				sc.StartEvery(time.Duration(r.IntN(3000))*time.Millisecond, names...)
				sc.AwaitStable(time.Minute)
				gone := check(failed.Add(-time.Second - flush))
				t.Logf("%d of %d writes are lost", gone, len(acked))
				lost += gone
				sc.AwaitCopies()
			})
			if t.Failed() {
				t.Logf("go test ./internal/simcluster -run LazyDisks -seeds 1 -seed %d", seed)
			}
		})
	}
	if lost == 0 {
		t.Error("nothing is lost, as if no power had failed")
	}
}
