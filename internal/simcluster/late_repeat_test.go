//go:build !race || slow

package simcluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// A repeat that comes late, after another repeat of its call was answered and wrote
// nothing, does not write either: here it would delete what was set since.
func TestLateRepeatDeletesNothing(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 5, Seed: 71}, func(sc *Cluster) {
		key := sc.KeyServedBy("n2")
		sc.Cut("n1", "n2")
		sc.Advance(10 * time.Second)
		const calls = 64
		errs := make(chan error, calls)
		sc.Cut("n1", "n3")
		for range calls {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
				defer cancel()
				_, err := sc.Do(ctx, "n1", node.Call{Op: transport.OpDelete, Key: key})
				errs <- err
			}()
		}
		before := sc.Node("n1").Stats().Detours
		for i := 0; i < 4000 && sc.Node("n1").Stats().Detours < before+calls+8; i++ {
			sc.Advance(time.Millisecond)
		}
		sc.Cut("n1", "n4") // repeats are on their way by n4
		for range calls {
			if err := <-errs; err != nil {
				t.Log("delete:", err)
			}
		}
		sc.Must(sc.Set("n5", key, "new"))
		sc.Net.Heal("n1", "n3")
		sc.Net.Heal("n1", "n4")
		sc.Advance(10 * time.Second)
		if _, found, err := sc.Get("n5", key); err != nil || !found {
			t.Errorf("what was set after all deletes had returned is gone: found %v, %v", found, err)
		}
	})
}
