//go:build !race || slow

package slotmesh_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestScanWhileSlotsMove scans again and again while a node joins and another
// leaves: what is there all the time is seen each time.
func TestScanWhileSlotsMove(t *testing.T) {
	parallel(t)
	if testing.Short() {
		t.Skip("moving slots takes a while")
	}
	const keys = 3000
	caches := slotmeshtest.Start(t, 2, slotmesh.WithCluster("scan-"+t.Name()), slotmesh.WithOpTimeout(time.Minute))
	fill(t, caches[0], "fixed", keys)
	stop, ended := make(chan struct{}), make(chan struct{})
	scans := 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			seen := map[string]int{}
			for item, err := range caches[0].Scan(t.Context(), slotmesh.ScanKeysOnly()) {
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
	}()
	self := caches[0].Cluster().Self()
	joined, err := slotmesh.Open(t.Context(), slotmesh.WithName("n3"), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSeeds(self.Addr), slotmesh.WithCluster("scan-"+t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	await(t, "the joiner holds slots", func() error {
		if n := joined.Stats().Primaries; n < 4000 {
			return fmt.Errorf("%d slots", n)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wantErr(t, "Shutdown", caches[1].Shutdown(ctx), nil)
	close(stop)
	<-ended
	t.Logf("%d scans", scans)
}
