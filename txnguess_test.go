package slotmesh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// A transaction on a node with a backup of the slot reads there, which saves a
// round trip, and what it returns is confirmed by the primary all the same.
func TestTxnGuesses(t *testing.T) {
	parallel(t)
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Seed: 9, Options: []slotmesh.Option{slotmesh.WithPartitionPolicy(slotmesh.Majority)}}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := c.KeyServedBy("n1")
		x, err := c.Node("n1").Cluster().Explain(t.Context(), key)
		wantErr(t, "Explain", err, nil)
		backup := x.Backups[0]
		set(t, c.Node("n1"), key, "first")

		const delay = 20 * time.Millisecond
		for _, to := range []string{"n1", "n2", "n3"} {
			if to != backup {
				c.SetLink(backup, to, slotmeshtest.Link{Delay: delay})
			}
		}
		seen, runs := "", 0
		change := func(ctx context.Context, to string) error {
			return c.Node(backup).Txn(ctx, key, func(tx *slotmesh.Tx) error {
				runs++
				v, err := tx.Get(key)
				if seen = string(v); err != nil || to == "" {
					return err
				}
				return tx.Set(key, []byte(to))
			})
		}
		begun := time.Now()
		wantErr(t, "Txn", change(t.Context(), "second"), nil)
		// There, and to the copy here, which is the answer.
		if took := time.Since(begun); seen != "first" || took < 2*delay || took >= 3*delay {
			t.Errorf("it took %v and saw %q, want %v and %q", took, seen, 2*delay, "first")
		}
		begun = time.Now()
		wantErr(t, "Txn that reads", change(t.Context(), ""), nil)
		if took := time.Since(begun); seen != "second" || took < 2*delay {
			t.Errorf("what it returned was confirmed after %v, and %q, want %v and %q", took, seen, 2*delay, "second")
		}

		c.Isolate(backup)
		set(t, c.Node("n1"), key, "third")
		for _, to := range []string{"", "fourth"} {
			runs = 0
			if err := change(t.Context(), to); err == nil {
				t.Errorf("Txn of a node that is cut off succeeded and saw %q", seen)
			} else if to == "" && (errors.Is(err, slotmesh.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("Txn that reads = %v, want its context's error: it wrote nothing", err)
			}
			if runs != 1 {
				t.Errorf("Txn of a node that is cut off ran %d times, want once", runs)
			}
		}
		c.Heal()
		c.AwaitRest()
		wantErr(t, "Txn", change(t.Context(), "fifth"), nil)
		if seen != "third" {
			t.Errorf("once it is back it saw %q, want %q", seen, "third")
		}
	})
}
