package simcluster_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// Who left the line for a load is not given the right to it, though it asked twice.
func TestLoadsGoToNobodyWhoLeft(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 2, Seed: 1}, func(sc *Cluster) {
		key := sc.KeyServedBy("n1")
		slot := hashtag.Slot(key)
		ask := func(ctx context.Context, token uint64, wait bool) int64 {
			call := node.Load{Token: token, Lease: time.Minute, Wait: wait}.Call(slot, key)
			r, _ := sc.Do(ctx, "n2", call)
			return r.Int
		}
		release := func(token uint64) {
			_, err := sc.Do(context.Background(), "n2", node.Release{Token: token}.Call(slot, key))
			sc.Must(err)
		}
		if got := ask(context.Background(), 1, false); got != node.LoadGranted {
			t.Fatalf("the first who asks is answered %d", got)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { ask(ctx, 2, true) })
		}
		sc.Advance(time.Second)
		cancel()
		wg.Wait()
		release(2)
		release(1)
		sc.Advance(time.Second)
		if got := ask(context.Background(), 3, false); got != node.LoadGranted {
			t.Errorf("after all have left who asks is answered %d, want the right to load", got)
		}
	})
}
