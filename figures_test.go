// Times and sizes under the race detector are its own.

//go:build !race

package slotmesh_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// largeFleet is how many nodes the largest fleet of these tests has.
const largeFleet = 12

// alone says that clusters are tested one at a time.
const alone = false

func TestFirstSetSoonAfterOpen(t *testing.T) {
	const limit = 250 * time.Millisecond
	best := time.Hour
	for try := 0; try < 100 && best > limit; try++ { // the machine may be busy with something else
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
	await(t, "an idle node holds at most 16 MiB of heap", func() error { // what it still does leaves garbage
		used := int64(heap()) - int64(before)
		t.Logf("idle node: %d KiB of heap", used>>10)
		if used > 16<<20 {
			return fmt.Errorf("%d bytes", used)
		}
		return nil
	})
	runtime.KeepAlive(c)
}

// Large values on their way do not hold up small calls between the same nodes.
func TestLargeValuesDoNotDelaySmallCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	caches := slotmeshtest.Start(t, 2, roomy...)
	ctx := t.Context()
	keys := keysServedBy(t, caches[0], "n2", 2)
	set(t, caches[0], keys[0], "small")
	p99 := func() time.Duration {
		var took []time.Duration
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			from := time.Now()
			if _, err := caches[0].Get(ctx, keys[0]); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(from))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	var err error
	for range 5 { // other tests may disturb
		quiet := p99()
		stop, done := make(chan struct{}), make(chan error)
		go func() {
			large := make([]byte, 64<<20)
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
					if err := caches[0].Set(ctx, keys[1], large); err != nil {
						done <- err
						return
					}
				}
			}
		}()
		loaded := p99()
		close(stop)
		if err := <-done; err != nil {
			t.Fatalf("Set of 64 MiB = %v", err)
		}
		t.Logf("p99 of small gets: %v quiet, %v beside values of 64 MiB", quiet, loaded)
		// Behind one value a get would wait for tens of milliseconds; a few are what
		// other programs on the machine may cost.
		if loaded <= 3*quiet+10*time.Millisecond {
			return
		}
		err = errors.Join(err, fmt.Errorf("p99 of small gets %v beside values of 64 MiB, %v quiet", loaded, quiet))
	}
	t.Error(err)
}
