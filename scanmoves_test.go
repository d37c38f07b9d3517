//go:build !race || slow

package slotmesh_test

import (
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestScanWhileSlotsMove scans again and again while a node joins and another
// leaves: what is there all the time is seen each time.
func TestScanWhileSlotsMove(t *testing.T) {
	if testing.Short() {
		t.Skip("moving slots takes a while")
	}
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		const keys = 3000
		n1 := c.Node("n1")
		fill(t, n1, "fixed", keys)
		stop, scans := make(chan struct{}), 0
		var scanning sync.WaitGroup
		scanning.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				seen := map[string]int{}
				for item, err := range n1.Scan(t.Context(), slotmesh.ScanKeysOnly()) {
					if err != nil {
						t.Errorf("Scan = %v", err)
						return
					}
					seen[item.Key]++
				}
				if scans++; len(seen) != keys {
					t.Errorf("scan %d saw %d keys, want %d", scans, len(seen), keys)
				}
			}
		})
		c.Start("n3")
		c.AwaitRest()
		if n := c.Node("n3").Stats().Primaries; n < 4000 {
			t.Errorf("the joiner holds %d slots", n)
		}
		wantErr(t, "Shutdown", c.Shutdown("n2"), nil)
		close(stop)
		scanning.Wait()
		t.Logf("%d scans", scans)
	})
}
