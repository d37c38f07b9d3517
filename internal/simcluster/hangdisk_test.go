//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A disk that hangs holds up no writes of slots that its node does not serve. After a
// while its slots are with the others too, and the node can be closed.
func TestHangingDiskIsLeft(t *testing.T) {
	t.Parallel()
	for _, disks := range []Disks{LazyDisks, SyncedDisks} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			t.Parallel()
			Run(t, Config{Nodes: 3, Seed: 36, Disks: disks}, func(sc *Cluster) {
				sc.Fill("n1", 500)
				sc.AwaitStable(30 * time.Second)
				hung, self := sc.Node("n2"), sc.Node("n2").Self().ID
				sc.HangDisk("n2", true)
				value, longest := strings.Repeat("v", 16<<10), time.Duration(0) // more than may wait for the disk
				set := func(i int) {
					begun := time.Now()
					sc.Must(sc.Set([]string{"n1", "n3"}[i%2], fmt.Sprint("w", i), value))
					longest = max(longest, time.Since(begun))
				}
				for i := range 600 {
					if sc.Owner("n1", fmt.Sprint("w", i)) != "n2" {
						set(i)
					}
					sc.Advance(5 * time.Millisecond)
				}
				if longest > 3*time.Second {
					t.Errorf("a write of a slot that another node serves took %v", longest)
				}
				t.Logf("the slowest write took %v", longest)
				sc.Advance(30 * time.Second)
				if h := hung.Health(); !h.LostDisk || !strings.Contains(strings.Join(h.Reasons, " "), "answered nothing") {
					t.Errorf("the node whose disk hangs says %v", h.Reasons)
				}
				for i := range 600 {
					set(i)
				}
				for cl := range sc.Node("n1").Table().All() {
					if cl.Holds(self) {
						t.Fatalf("%v still lists the node whose disk hangs", cl)
					}
				}
				if err := hung.Close(); !errors.Is(err, node.ErrDisk) {
					t.Errorf("Close = %v, want ErrDisk", err)
				}
				sc.HangDisk("n2", false)
				sc.CheckFilled("n1", 500)
			})
		})
	}
}

// A disk that hangs for a moment costs nothing but time: the node asks for what its
// copies could not take.
func TestDiskThatIsBackCatchesUp(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 2, Seed: 37, Disks: LazyDisks, Adjust: func(_ string, c *node.Config) { c.ReplicationTimeout = 4 * time.Second }}, func(sc *Cluster) {
		sc.AwaitStable(30 * time.Second)
		before := sc.Node("n1").Table()
		value := strings.Repeat("v", 16<<10)
		key := func(i int) string { return fmt.Sprint("w", i) }
		sc.HangDisk("n2", true)
		written := make(chan error, 400)
		for i := range cap(written) {
			if sc.Owner("n1", key(i)) == "n1" {
				go func() { written <- sc.Set("n1", key(i), value) }()
			} else {
				written <- nil
			}
			sc.Advance(time.Millisecond)
		}
		sc.Advance(3 * time.Second)
		sc.HangDisk("n2", false)
		for range cap(written) {
			sc.Must(<-written)
		}
		sc.AwaitCopies()
		for cl := range before.All() {
			if now := sc.Node("n1").Table().Claim(cl.Slot); now.String() != cl.String() {
				t.Fatalf("%v became %v", cl, now)
			}
		}
	})
}
