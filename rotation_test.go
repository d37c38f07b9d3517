//go:build !race || slow

package slotmesh_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// hammer has callers of a cache set and get keys of their own as fast as they can
// until stop closes; any error fails the test. calls counts.
func hammer(t *testing.T, wg *sync.WaitGroup, stop chan struct{}, c *slotmesh.Cache, name string, calls *atomic.Int64) {
	for caller := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key, value := fmt.Sprintf("key %d of %d at %s", n%500, caller, name), fmt.Sprint(n)
				if err := c.Set(t.Context(), key, []byte(value)); err != nil {
					t.Errorf("Set at %s = %v", name, err)
					return
				}
				if got, err := c.Get(t.Context(), key); err != nil || string(got) != value {
					t.Errorf("Get at %s = %q, %v, want %q", name, got, err, value)
					return
				}
				calls.Add(1)
			}
		})
	}
}

// TestSecretRotatesAtFullRate exchanges the secret of three nodes whose callers
// never pause; in the middle a fourth joins that knows the new one alone, and gets
// its share of the slots. No call fails.
func TestSecretRotatesAtFullRate(t *testing.T) {
	const cluster = "hammered"
	var log lockedBuffer
	caches := slotmeshtest.Start(t, 3, slotmesh.WithSecret(oldKey), slotmesh.WithCluster(cluster),
		slotmesh.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	t.Cleanup(end)
	calls := make([]atomic.Int64, 4)
	for i, c := range caches {
		hammer(t, &wg, stop, c, fmt.Sprint("n", i+1), &calls[i])
	}
	progress := func(when string) {
		t.Helper()
		var before [4]int64
		for i := range caches {
			before[i] = calls[i].Load()
		}
		await(t, "calls go on "+when, func() error {
			for i := range caches {
				if n := calls[i].Load() - before[i]; n < 500 && !t.Failed() {
					return fmt.Errorf("node %d made %d calls", i+1, n)
				}
			}
			return nil
		})
	}
	rotate := func(keys ...[]byte) {
		t.Helper()
		for _, c := range caches {
			if err := c.RotateSecret(keys...); err != nil {
				t.Fatal(err)
			}
		}
		progress(fmt.Sprintf("with %d keys", len(keys)))
	}
	progress("at first")
	rotate(oldKey, newKey)
	rotate(newKey, oldKey)
	fourth := open(t, slotmesh.WithName("n4"), slotmesh.WithCluster(cluster), slotmesh.WithSecret(newKey),
		slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
	if err := fourth.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	hammer(t, &wg, stop, fourth, "n4", &calls[3])
	caches = append(caches, fourth)
	progress("with a fourth node")
	met := strings.Count(log.String(), "peer up")
	rotate(newKey)
	await(t, "the three have met anew, under the new secret", func() error {
		if n := strings.Count(log.String(), "peer up") - met; n < 6 && !t.Failed() {
			return fmt.Errorf("%d ends of connections", n)
		}
		return nil
	})
	await(t, "the fourth node has slots, and all know each other", func() error {
		if t.Failed() {
			return nil
		}
		for i, c := range caches {
			nodes := c.Cluster().Nodes()
			if len(nodes) != 4 {
				return fmt.Errorf("node %d knows of %d", i+1, len(nodes))
			}
			r, err := c.Cluster().Report(t.Context(), fmt.Sprint("n", i+1))
			if err != nil {
				return err
			}
			for _, p := range r.Peers {
				if !p.Connected {
					return fmt.Errorf("node %d has no connection to %s", i+1, p.Name)
				}
			}
		}
		if n := fourth.Stats().Primaries; n < 1000 {
			return fmt.Errorf("n4 serves %d slots", n)
		}
		return nil
	})
	progress("at last")
	end()
	for i := range calls {
		t.Logf("node %d: %d calls", i+1, calls[i].Load())
	}
	wantRefused(t, "the old secret", slotmesh.ErrUntrusted, slotmesh.WithSecret(oldKey), slotmesh.WithCluster(cluster),
		slotmesh.WithSeeds(fourth.Cluster().Self().Addr))
}
