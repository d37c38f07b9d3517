package slotmesh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// Where no member may hold slots calls do not wait for one, and say why.
func TestNobodyHoldsSlots(t *testing.T) {
	c := open(t, slotmesh.WithWeight(0))
	const why = "no member may hold slots"
	_, err := c.Get(t.Context(), "key")
	wantErr(t, "Get", err, slotmesh.ErrNoPrimary)
	if reasons := c.Cluster().Health().Reasons; !strings.Contains(err.Error(), why) || !slices.Contains(reasons, why) {
		t.Errorf("Get = %v, Health gives %q, want both to say %q", err, reasons, why)
	}
}

// TestCloseEndsAllThatWaits closes caches under a load, a background refresh, a
// held lock, callers in line for it, and a watch: each call gets ErrClosed, soon,
// and no goroutine is left.
func TestCloseEndsAllThatWaits(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("clusters", func(t *testing.T) { // its caches are closed before goleak looks
		for _, n := range []int{1, 2} {
			caches := slotmeshtest.Start(t, n)
			c, ctx := caches[n-1], t.Context()
			held := mustLock(t, c, "lock")
			set(t, c, "stale", "v", slotmesh.TTL(time.Minute))

			var wg sync.WaitGroup
			begun := make(chan struct{}, 8)
			ends := func(what string, call func() error) {
				wg.Go(func() {
					if err := call(); !errors.Is(err, slotmesh.ErrClosed) {
						t.Errorf("%s = %v, want ErrClosed", what, err)
					}
				})
			}
			stuck := func(ctx context.Context, _ string) ([]byte, error) {
				begun <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			ends("GetOrLoad", func() error {
				_, err := c.GetOrLoad(ctx, "load", stuck, slotmesh.LoadTimeout(5*time.Minute))
				return err
			})
			receive(t, "the loader", begun)
			if _, err := c.GetOrLoad(ctx, "stale", stuck, slotmesh.LoadTTL(time.Second), slotmesh.LoadStale(time.Hour), slotmesh.LoadTimeout(5*time.Minute)); err != nil {
				t.Errorf("GetOrLoad of a stale value = %v", err)
			}
			receive(t, "the refresh", begun)
			ends("GetOrLoadMany", func() error {
				return c.GetOrLoadMany(ctx, []string{"load"}, func(context.Context, []string) (map[string][]byte, error) { return nil, nil })[0].Err
			})
			ends("Lock", func() error { _, err := c.Lock(ctx, "lock", time.Second); return err })
			live := make(chan struct{})
			ends("Watch", func() error {
				for e, err := range c.Watch(ctx, slotmesh.WatchKey("key")) {
					if err != nil {
						return err
					}
					if e.Type == slotmesh.EventLive {
						close(live)
					}
				}
				return nil
			})
			receive(t, "the watch", live)
			within(t, 15*time.Second, "Close with all of that", func() {
				wantErr(t, "Close", c.Close(), nil)
				wg.Wait()
			})
			receive(t, "the loss of the lock", held.Lost())
			_, err := c.GetOrLoad(ctx, "x", stuck)
			wantErr(t, "GetOrLoad after Close", err, slotmesh.ErrClosed)
			_, err = c.TryLock(ctx, "x", time.Second)
			wantErr(t, "TryLock after Close", err, slotmesh.ErrClosed)
			for _, err := range c.Scan(ctx) {
				wantErr(t, "Scan after Close", err, slotmesh.ErrClosed)
			}
			wantErr(t, "Unlock after Close", held.Unlock(ctx), nil)
		}
	})
}
