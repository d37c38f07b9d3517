//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"errors"
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
				_, err := sc.DoWithin(time.Minute, "n1", node.Call{Op: transport.OpDelete, Key: key})
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

// A request for the right to load comes once more, late, when the first one was
// granted and what is being loaded was deleted meanwhile: what was loaded by the first
// is not stored by the second (seed 140244 of TestNemesisOfTransactionsLocksAndLoads).
func TestLateRepeatGrantsNoOldLoad(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 61}, func(sc *Cluster) {
		key := sc.KeyServedBy("n1")
		do := func(c node.Call) (node.Result, error) { return sc.DoWithin(5*time.Second, "n3", c) }
		ask := node.Load{Token: 7, Lease: time.Minute}.Call(0, key)
		first, err := do(ask)
		if err != nil || first.Int != node.LoadGranted {
			t.Fatalf("Load = %v, %v", first.Int, err)
		}
		if again, err := do(ask); err != nil || again.Version != first.Version {
			t.Errorf("asked again it is %x, %v, want %x", again.Version, err, first.Version)
		}
		_, err = do(node.Call{Op: transport.OpDelete, Key: key})
		sc.Must(err)
		late, err := do(ask)
		if err != nil || late.Int != node.LoadGranted {
			t.Fatalf("Load = %v, %v", late.Int, err)
		}
		fill := node.Call{Op: transport.OpSet, Key: key, Value: []byte("old"), Version: first.Version, Flags: transport.FlagLease}
		if _, err := do(fill); !errors.Is(err, node.ErrConflict) {
			t.Errorf("the first stores: %v, want %v", err, node.ErrConflict)
		}
		fill.Version = late.Version
		_, err = do(fill)
		sc.Must(err)
	})
}
