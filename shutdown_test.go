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

func TestShutdownHandsOverEverything(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	const n = 500
	for i := range n {
		set(t, caches[i%3], unique(t, fmt.Sprint(i)), fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for left, c := range caches[:2] {
		if err := c.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown of node %d = %v, want nil", left+1, err)
		}
		for i := range n {
			wantValue(t, caches[2], unique(t, fmt.Sprint(i)), fmt.Sprint(i))
		}
	}
	within(t, time.Minute, "Shutdown of the last node", func() {
		wantErr(t, "Shutdown of the last node", caches[2].Shutdown(ctx), nil)
	})
	_, err := caches[2].Get(ctx, "key")
	wantErr(t, "Get after Shutdown", err, slotmesh.ErrClosed)
}
