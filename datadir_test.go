//go:build !race || slow

package slotmesh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slotmesh/slotmesh"
)

// A fleet that stops as a whole comes back with what it held, in whatever
// order its nodes start.
func TestFleetComesBackFromItsDisks(t *testing.T) {
	parallel(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	names := []string{"n0", "n1", "n2"}
	start := func(i int, seeds ...string) *slotmesh.Cache {
		opts := []slotmesh.Option{
			slotmesh.WithName(names[i]), slotmesh.WithCluster(t.Name()),
			slotmesh.WithDataDir(dirs[i]), slotmesh.WithColdStartWait(10 * time.Minute), slotmesh.WithMaxMemory(64 << 20),
		}
		if len(seeds) > 0 {
			opts = append(opts, slotmesh.WithSeeds(seeds...))
		}
		return open(t, opts...)
	}
	fleet := func(order ...int) []*slotmesh.Cache {
		caches := make([]*slotmesh.Cache, len(dirs))
		first := start(order[0])
		caches[order[0]] = first
		for _, i := range order[1:] {
			caches[i] = start(i, first.Cluster().Self().Addr)
		}
		for _, c := range caches {
			require.NoError(t, c.Ready(t.Context()))
		}
		return caches
	}
	const keys = 500
	caches := fleet(0, 1, 2)
	for i := range keys {
		require.NoError(t, caches[i%3].Set(t.Context(), fmt.Sprint("key", i), fmt.Append(nil, "value", i)))
	}
	for _, c := range caches {
		require.NoError(t, c.Close())
	}
	for _, names = range [][]string{
		names,
		{"n1", "n0", "other"}, // as where hosts have new names
	} {
		begun := time.Now()
		caches = fleet(2, 0, 1)
		for i := range keys {
			v, err := caches[i%3].Get(t.Context(), fmt.Sprint("key", i))
			require.NoError(t, err, "key%d", i)
			require.Equal(t, fmt.Sprint("value", i), string(v))
		}
		if took := time.Since(begun); took > 5*time.Minute { // less than WithColdStartWait
			t.Errorf("nodes called %v took %v to come back", names, took)
		}
		for _, c := range caches {
			require.NoError(t, c.Close())
		}
	}
}
