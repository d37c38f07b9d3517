//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A disk that is full is nobody's trouble but its node's, which gives its slots to
// the others, goes on for its own callers, and holds some again after a start with
// room on the disk.
func TestFullDiskFailsNoCall(t *testing.T) {
	t.Parallel()
	for _, nodes := range variants(1, 3, 2) {
		for _, disks := range []Disks{LazyDisks, SyncedDisks} {
			t.Run(fmt.Sprint(nodes, disks), func(t *testing.T) {
				t.Parallel()
				Run(t, Config{Nodes: nodes, Seed: 31, Disks: disks}, func(sc *Cluster) {
					sc.Fill("n1", 500)
					sc.AwaitStable(30 * time.Second)
					longest, values := time.Duration(0), map[string]string{}
					for i := range 2000 {
						if i == 100 {
							sc.FillDisk("n2", true)
						}
						from := fmt.Sprintf("n%d", 1+i%nodes)
						key, value := fmt.Sprint("w", i%600), fmt.Sprint(i)
						begun := time.Now()
						sc.Must(sc.Set(from, key, value))
						longest = max(longest, time.Since(begun))
						values[key] = value
						sc.Advance(5 * time.Millisecond)
					}
					if longest > 2*time.Second {
						t.Errorf("a write took %v, want them to go on within the time of a hand-over", longest)
					}
					t.Logf("the slowest write took %v", longest)
					if n2 := sc.Node("n2"); len(n2.Health().Reasons) == 0 {
						t.Error("the node whose disk has failed says nothing of it")
					}
					for no := range sc.Node("n1").Table().All() {
						if no.Holds(sc.Node("n2").Self().ID) {
							t.Fatalf("%v still lists the node whose disk has failed", no)
						}
					}
					sc.Kill("n2")
					sc.FillDisk("n2", false)
					sc.Start("n2")
					sc.AwaitStable(60 * time.Second)
					sc.CheckFilled("n2", 500)
					for key, want := range values {
						if got, _, err := sc.Get("n2", key); err != nil || got != want {
							t.Fatalf("Get(%s) = %q, %v, want %q", key, got, err, want)
						}
					}
				})
			})
		}
	}
}

// Where nobody else may hold anything the caller is told.
func TestFullDiskOfTheOnlyNodeFailsWrites(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 1, Seed: 32, Disks: LazyDisks}, func(sc *Cluster) {
		sc.Must(sc.Set("n1", "k", "v"))
		sc.FillDisk("n1", true)
		var err error
		for range 1000 {
			if err = sc.Set("n1", "other", "v"); err != nil {
				break
			}
			sc.Advance(10 * time.Millisecond)
		}
		if !errors.Is(err, node.ErrDisk) {
			t.Errorf("Set = %v, want ErrDisk", err)
		}
		if v, _, err := sc.Get("n1", "k"); err != nil || v != "v" {
			t.Errorf("Get = %q, %v: reads go on", v, err)
		}
	})
}

// The only copy left is on a node whose disk fails: it is copied, and then goes.
func TestFullDiskOfTheLastCopy(t *testing.T) {
	t.Parallel()
	for _, disks := range []Disks{LazyDisks, SyncedDisks} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			t.Parallel()
			adjust := func(_ string, c *node.Config) { c.RepairDelay = time.Minute }
			Run(t, Config{Nodes: 3, Seed: 33, Disks: disks, Adjust: adjust}, func(sc *Cluster) {
				sc.Fill("n1", 500)
				sc.AwaitStable(30 * time.Second)
				sc.Kill("n3")
				sc.FillDisk("n2", true)
				longest := time.Duration(0)
				for i := range 1000 {
					begun := time.Now()
					sc.Must(sc.Set([]string{"n1", "n2"}[i%2], fmt.Sprint("w", i), "v"))
					longest = max(longest, time.Since(begun))
					sc.Advance(5 * time.Millisecond)
				}
				if longest > 3*time.Second {
					t.Errorf("a write took %v", longest)
				}
				t.Logf("the slowest write took %v", longest)
				sc.CheckFilled("n1", 500)
			})
		})
	}
}

// The copies on a full disk count until they lack something: another node may crash
// for good before there are others.
func TestCopiesOnAFullDiskCount(t *testing.T) {
	t.Parallel()
	for _, disks := range []Disks{LazyDisks, SyncedDisks} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			t.Parallel()
			Run(t, Config{Nodes: 3, Seed: 34, Disks: disks}, func(sc *Cluster) {
				sc.Fill("n1", 500)
				sc.AwaitStable(30 * time.Second)
				sc.Advance(3 * time.Second)
				filled := map[uint16]bool{}
				for i := range 500 {
					filled[hashtag.Slot(fmt.Sprint("fill", i))] = true
				}
				sc.FillDisk("n2", true)
				for i, n := 0, 0; n < 50; i++ {
					if key := fmt.Sprint("w", i); !filled[hashtag.Slot(key)] {
						sc.Must(sc.Set("n3", key, "v"))
						sc.Advance(time.Millisecond)
						n++
					}
				}
				sc.Kill("n1")
				sc.CheckFilled("n3", 500)
			})
		})
	}
}

// What a node with a full disk gives away is not given back by those who have not yet
// heard of it, and other copies are made without waiting for that.
func TestFullDiskIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 34, Disks: SyncedDisks}, func(sc *Cluster) {
		sc.Fill("n1", 500)
		sc.AwaitStable(30 * time.Second)
		before := sc.Node("n1").Stats().Handovers + sc.Node("n3").Stats().Handovers
		sc.FillDisk("n2", true)
		sc.Must(sc.Set("n3", sc.KeyServedBy("n2"), "v"))
		sc.Advance(700 * time.Millisecond) // the members settle after a second
		full, held, bare := sc.Node("n2").Self().ID, 0, 0
		for cl := range sc.Node("n3").Table().All() {
			if cl.Primary == full {
				held++
			}
			if len(cl.Backups) == 0 {
				bare++
			}
		}
		if held > 0 || bare > 0 {
			t.Errorf("%d slots are served by who cannot write, %d have no copy", held, bare)
		}
		if after := sc.Node("n1").Stats().Handovers + sc.Node("n3").Stats().Handovers; after != before {
			t.Errorf("%d slots were handed over by the others", after-before)
		}
		sc.CheckFilled("n2", 500)
	})
}

// Two full disks, as of nodes that share one: nothing is written, all is read, and
// there again once the nodes are started one after the other.
func TestFullDisksOfAll(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 2, Seed: 35, Disks: LazyDisks}, func(sc *Cluster) {
		sc.Fill("n1", 500)
		sc.AwaitStable(30 * time.Second)
		sc.FillDisk("n1", true)
		sc.FillDisk("n2", true)
		acked, failed := 0, 0
		for i := range 300 {
			err := sc.Set(fmt.Sprintf("n%d", 1+i%2), fmt.Sprint("w", i), "v")
			switch {
			case err == nil && failed == 0:
				acked++
			case errors.Is(err, node.ErrDisk):
				failed++
			case err != nil:
				t.Fatalf("Set = %v, want ErrDisk", err)
			}
			sc.Advance(10 * time.Millisecond)
		}
		if failed == 0 {
			t.Fatal("all writes succeed with two full disks")
		}
		sc.CheckFilled("n1", 500)
		for _, who := range []string{"n2", "n1"} {
			sc.Kill(who)
			sc.FillDisk(who, false)
			sc.Start(who)
			sc.Advance(30 * time.Second)
		}
		sc.CheckFilled("n1", 500)
		for i := range acked {
			if v, _, err := sc.Get("n1", fmt.Sprint("w", i)); err != nil || v != "v" {
				t.Errorf("w%d = %q, %v: it was acknowledged", i, v, err)
			}
		}
		sc.Must(sc.Set("n1", "after", "v"))
	})
}

// All nodes start anew and one disk is full before its slots are begun: they are
// begun by it all the same, and pass to the others.
func TestFullDiskAfterAStartOfAll(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 36, Disks: LazyDisks}, func(sc *Cluster) {
		sc.Fill("n1", 500)
		sc.AwaitStable(30 * time.Second)
		sc.Advance(3 * time.Second)
		names := []string{"n1", "n2", "n3"}
		for _, who := range names {
			sc.Kill(who)
		}
		sc.Start(names...)
		sc.FillDisk("n2", true)
		n := sc.Node("n1")
		for began := time.Now(); n.Health().Unclaimed+n.Health().NoPrimary > 0; {
			if sc.Advance(time.Second); time.Since(began) > 3*time.Minute {
				t.Fatalf("slots stay without a primary: %v", n.Health().Reasons)
			}
		}
		sc.CheckFilled("n1", 500)
		sc.Must(sc.Set("n3", "after", "v"))
	})
}
