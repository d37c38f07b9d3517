// Times and sizes under the race detector are its own.

//go:build !race

package slotmesh_test

import (
	"runtime"
	"testing"
	"time"
)

// largeFleet is how many nodes the largest fleet of these tests has.
const largeFleet = 12

// alone says that clusters are tested one at a time.
const alone = false

func TestFirstSetSoonAfterOpen(t *testing.T) {
	const limit = 250 * time.Millisecond
	best := time.Hour
	for range 3 { // the machine may be busy with something else
		began := time.Now()
		c := open(t)
		if err := c.Set(t.Context(), "key", []byte("v")); err != nil {
			t.Fatalf("Set = %v, want nil", err)
		}
		best = min(best, time.Since(began))
		if err := c.Close(); err != nil {
			t.Fatalf("Close = %v, want nil", err)
		}
	}
	t.Logf("Open to first Set: %v", best)
	if best > limit {
		t.Errorf("Open to first Set took %v, want at most %v", best, limit)
	}
}

func TestIdleNodeTakesLittleMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := open(t)
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	used := int64(heap()) - int64(before)
	t.Logf("idle node: %d KiB of heap", used>>10)
	if used > 16<<20 {
		t.Errorf("an idle node holds %d bytes of heap, want at most 16 MiB", used)
	}
	runtime.KeepAlive(c)
}
