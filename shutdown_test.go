//go:build !race || slow

package slotmesh_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

const shutdownKeys = 500

// filled is three nodes with keys, and a context for their ends.
func filled(t *testing.T) ([]*slotmesh.Cache, context.Context) {
	t.Helper()
	caches := slotmeshtest.Start(t, 3)
	for i := range shutdownKeys {
		set(t, caches[i%3], unique(t, fmt.Sprint(i)), fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return caches, ctx
}

func TestShutdownHandsOverEverything(t *testing.T) {
	parallel(t)
	caches, ctx := filled(t)
	for left, c := range caches[:2] {
		if err := c.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown of node %d = %v, want nil", left+1, err)
		}
		for i := range shutdownKeys {
			wantValue(t, caches[2], unique(t, fmt.Sprint(i)), fmt.Sprint(i))
		}
	}
	within(t, time.Minute, "Shutdown of the last node", func() {
		wantErr(t, "Shutdown of the last node", caches[2].Shutdown(ctx), nil)
	})
	_, err := caches[2].Get(ctx, "key")
	wantErr(t, "Get after Shutdown", err, slotmesh.ErrClosed)
}

// A node that steps down hands over without a copy of anything, and is closed.
func TestStepDown(t *testing.T) {
	parallel(t)
	caches, ctx := filled(t)
	before := caches[0].Stats()
	wantErr(t, "StepDown", caches[0].StepDown(ctx), nil)
	// A backup that a busy machine made late was dropped, and copied anew.
	if now := caches[0].Stats(); now.BytesCopied != before.BytesCopied && now.BackupsDropped == before.BackupsDropped {
		t.Errorf("StepDown copied %d bytes", now.BytesCopied-before.BytesCopied)
	}
	slotmeshtest.Await(t, "n1 holds nothing", func() error {
		for slot := range caches[1].Cluster().Slots() {
			if slot.Primary == "n1" || slices.Contains(slot.Backups, "n1") {
				return fmt.Errorf("slot %d: %+v", slot.Number, slot)
			}
		}
		return nil
	})
	for i := range shutdownKeys {
		wantValue(t, caches[1+i%2], unique(t, fmt.Sprint(i)), fmt.Sprint(i))
	}
	_, err := caches[0].Get(ctx, "key")
	wantErr(t, "Get after StepDown", err, slotmesh.ErrClosed)
	wantErr(t, "a second StepDown", caches[0].StepDown(ctx), nil)
}

// Without backups there is nobody to hand slots to.
func TestStepDownWithoutBackups(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithBackups(0))
	wantErr(t, "StepDown without backups", caches[0].StepDown(t.Context()), slotmesh.ErrNotEnoughBackups)
	set(t, caches[0], unique(t, "key"), "v") // it goes on
	wantErr(t, "Shutdown of the other", caches[1].Shutdown(t.Context()), nil)
	wantErr(t, "StepDown of the last", caches[0].StepDown(t.Context()), nil)
}
