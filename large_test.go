//go:build !race || slow

package slotmesh_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

var roomy = []slotmesh.Option{
	slotmesh.WithMaxMemory(768 << 20), slotmesh.WithLimits(slotmesh.Limits{MaxValue: 64 << 20}),
}

// keysServedBy returns n keys of slots that a node serves.
func keysServedBy(t *testing.T, c *slotmesh.Cache, name string, n int) []string {
	t.Helper()
	var keys []string
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("%s/%d", t.Name(), i)
		if owner, err := c.Cluster().Owner(key); err != nil {
			t.Fatal(err)
		} else if owner.Name == name {
			keys = append(keys, key)
		}
	}
	return keys
}

// Large values travel by another road than small ones, and still the writes of
// a slot reach its copies in their order.
func TestLargeValuesKeepTheirPlace(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3, roomy...)
	ctx := t.Context()
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1<<20+i*100_000) }
	var wg sync.WaitGroup
	for _, by := range []string{"n1", "n2", "n3"} {
		key := keysServedBy(t, caches[0], by, 1)[0]
		beside := "{" + key + "}.count"
		wg.Go(func() {
			for i := range 12 {
				if err := caches[0].Set(ctx, key, value(i)); err != nil {
					t.Errorf("Set of %d bytes at %s = %v", len(value(i)), by, err)
				}
				if got, err := caches[1].Get(ctx, key); err != nil || !bytes.Equal(got, value(i)) {
					t.Errorf("Get of what %s serves gave %d bytes, %v, want %d", by, len(got), err, len(value(i)))
				}
				if i%3 == 0 {
					if err := caches[2].Set(ctx, key, []byte("small")); err != nil {
						t.Error(err)
					}
					if got, err := caches[1].Get(ctx, key); string(got) != "small" {
						t.Errorf("Get gave %d bytes, %v, want the small value that came last", len(got), err)
					}
				}
			}
		})
		wg.Go(func() {
			for i := range int64(100) {
				if n, err := caches[1].Incr(ctx, beside, 1); n != i+1 || err != nil {
					t.Errorf("Incr beside large values = %d, %v, want %d", n, err, i+1)
					return
				}
			}
		})
	}
	wg.Wait()
	last := map[string][]byte{}
	for _, by := range []string{"n1", "n2", "n3"} {
		key := keysServedBy(t, caches[0], by, 1)[0]
		last[key], last["{"+key+"}.count"] = value(11), []byte("100")
	}
	if err := caches[2].Close(); err != nil {
		t.Fatal(err)
	}
	for key, want := range last {
		if got, err := caches[0].Get(ctx, key); err != nil || !bytes.Equal(got, want) {
			t.Errorf("after a node left: Get gave %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
}

// Ten thousand keys go to and fro in a few messages; results are in the order
// of the keys, and a fault is its own key's.
func TestTenThousandKeysAtOnce(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	ctx := t.Context()
	const n = 10_000
	entries, keys := make([]slotmesh.Entry, n), make([]string, n)
	for i := range n {
		keys[i] = fmt.Sprintf("many:%d", i)
		entries[i] = slotmesh.Entry{Key: keys[i], Value: fmt.Append(nil, "value ", i)}
	}
	entries[77].Value = make([]byte, 63<<20)
	for i, err := range caches[0].SetMany(ctx, entries) {
		if i == 77 {
			wantErr(t, "SetMany of a huge value", err, slotmesh.ErrTooLarge)
		} else if err != nil {
			t.Fatalf("SetMany, key %d: %v", i, err)
		}
	}
	for i, r := range caches[1].GetMany(ctx, keys) {
		switch {
		case i == 77:
			wantErr(t, "GetMany of the key that was refused", r.Err, slotmesh.ErrNotFound)
		case r.Err != nil || r.Key != keys[i] || string(r.Value) != fmt.Sprint("value ", i):
			t.Fatalf("GetMany, key %d: %q %q, %v", i, r.Key, r.Value, r.Err)
		}
	}
	for i, r := range caches[2].DeleteMany(ctx, keys) {
		if r.Err != nil || r.Existed == (i == 77) {
			t.Fatalf("DeleteMany, key %d: %+v", i, r)
		}
	}
}

// A large write that is the first of its slot, or the first after a failover, waits for
// the copies, and not for their time to be up.
func TestFirstLargeWritesOfSlotsKeepTheirCopies(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 5}, func(t *testing.T, c *slotmeshtest.Cluster) {
		write := func(when string) {
			t.Helper()
			for i := range 8 {
				key, began := fmt.Sprint(when, i), time.Now()
				wantErr(t, "Set", c.Node("n1").Set(t.Context(), key, make([]byte, 2<<20)), nil)
				if took := time.Since(began); took > 200*time.Millisecond {
					t.Errorf("%s: Set took %v, want a few round trips", when, took)
				}
			}
		}
		write("at first")
		c.Kill("n3")
		c.AwaitRest()
		write("after a failover")
	})
}
