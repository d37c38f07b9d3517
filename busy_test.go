package slotmesh_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// The program that embeds the cache may keep all cores busy: a goroutine then
// waits for a turn of each busy one at every step of a call. The lease has to
// outlast that, or no primary ever answers.
func TestCallsAmongBusyGoroutines(t *testing.T) {
	caches := slotmeshtest.Start(t, 3, // with their own defaults
		slotmesh.WithFailureTimeout(1500*time.Millisecond), slotmesh.WithReplicationTimeout(500*time.Millisecond))
	var over atomic.Bool
	var busy, callers sync.WaitGroup
	for range 3 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for x := 0; !over.Load(); x++ {
			}
		})
	}
	for i := range 12 {
		callers.Go(func() {
			for j := range 8 {
				c, key := caches[(i+j)%len(caches)], fmt.Sprintf("%s-%d-%d", t.Name(), i, j)
				if err := c.Set(t.Context(), key, []byte(key)); err != nil {
					t.Errorf("Set = %v", err)
				}
				if v, err := c.Get(t.Context(), key); err != nil || string(v) != key {
					t.Errorf("Get = %q, %v", v, err)
				}
			}
		})
	}
	callers.Wait()
	over.Store(true)
	busy.Wait()
}
