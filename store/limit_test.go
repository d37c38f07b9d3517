//go:build !race || slow

package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// cache writes to an engine as a node does: it evicts by versioned deletes
// while the engine is short, and purges tombstones.
type cache struct {
	t       testing.TB
	e       *store.Memory
	version uint64
	cands   []store.Candidate
	evicted int
}

func (c *cache) set(slot uint16, key string, value []byte) {
	c.t.Helper()
	c.version++
	recs := []store.Record{{Key: key, Value: value, Version: c.version}}
	for try := 0; ; try++ {
		for c.e.Short(int64(len(value)+len(key))*17/16 + 100) {
			if !c.evict() {
				c.t.Fatalf("nothing to evict at %+v", c.e.Stats())
			}
		}
		err := c.e.Apply(slot, recs)
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrNoMemory) || try > 100 {
			c.t.Fatalf("Apply = %v after %d tries at %+v", err, try, c.e.Stats())
		}
		c.evict()
	}
}

func (c *cache) evict() bool {
	c.cands = c.e.Victims(c.cands[:0], 4, nil)
	for _, v := range c.cands {
		c.version++
		if err := c.e.Apply(v.Slot, []store.Record{{Kind: v.Kind, Key: v.Key, Field: v.Field, Tombstone: true, Version: c.version}}); err != nil {
			c.t.Fatal(err)
		}
		c.evicted++
		if err := c.e.Purge(v.Slot, c.version); err != nil {
			c.t.Fatal(err)
		}
	}
	return len(c.cands) > 0
}

func (c *cache) get(slot uint16, key string) bool {
	it, err := c.e.Get(nil, slot, 0, key, "", 0)
	if err != nil {
		c.t.Fatal(err)
	}
	return it.State == store.Found
}

// Sizes shift from small to large, to mixed and back, and the memory held stays
// within a tenth of the limit, most of it in use.
func TestLimitHoldsUnderChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const limit = 64 << 20
	m := store.NewMemory(store.MemoryOptions{Limit: limit})
	defer m.Close()
	c := &cache{t: t, e: m}
	rng := rand.New(rand.NewPCG(5, 6))
	buf := make([]byte, 1<<20)
	n := 0
	for _, phase := range []struct {
		name  string
		size  func() int
		bytes int
	}{
		{"small", func() int { return 100 }, limit},
		{"a little larger", func() int { return 150 + rng.IntN(20) }, limit / 2},
		{"1 to 4 KiB", func() int { return 1024 + rng.IntN(3072) }, 2 * limit},
		{"mixed", func() int { return 1 << rng.IntN(16) }, 4 * limit},
		{"large", func() int { return 100_000 + rng.IntN(900_000) }, 4 * limit},
		{"small again", func() int { return 10 + rng.IntN(100) }, limit / 2},
	} {
		var most int64
		for written := 0; written < phase.bytes; {
			size := phase.size()
			n++
			key := fmt.Sprintf("key-%010d", n)
			if n%3 == 0 {
				key = fmt.Sprintf("key-%010d", rng.IntN(n)) // some are overwritten, with other sizes
			}
			c.set(uint16(rng.IntN(256)), key, buf[:size])
			written += size + 50
			if n%16 == 0 {
				most = max(most, m.Held())
			}
		}
		live, _ := m.Live()
		t.Logf("%s: at most %.1f%% of the limit held, %.1f%% in use, %d records", phase.name,
			float64(most)*100/limit, float64(live)*100/limit, m.Stats().Records)
		if most > limit+limit/10 {
			t.Errorf("%s: %d bytes held, limit %d", phase.name, most, limit)
		}
		if live < limit*3/4 {
			t.Errorf("%s: only %d bytes of %d in use", phase.name, live, limit)
		}
	}
}

// EvictNone: writes are refused, reads and deletes go on.
func TestFullEngineRefusesWrites(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{Limit: 16 << 20})
	defer m.Close()
	value := make([]byte, 1000)
	var err error
	n := 0
	for ; err == nil && n < 20_000; n++ {
		err = m.Apply(uint16(n%50), []store.Record{{Key: fmt.Sprint(n), Value: value, Version: 1}})
	}
	if !errors.Is(err, store.ErrNoMemory) || !m.Short(1000) {
		t.Fatalf("Apply = %v, Short = %v", err, m.Short(1000))
	}
	if it, err := m.Get(nil, 0, 0, "0", "", 0); err != nil || it.State != store.Found {
		t.Errorf("Get = %+v, %v", it, err)
	}
	for i := range n {
		if err := m.Apply(uint16(i%50), []store.Record{{Key: fmt.Sprint(i), Tombstone: true, Version: 2}}); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if err := m.Apply(0, []store.Record{{Key: "new", Value: value, Version: 3}}); err != nil {
		t.Errorf("Apply after deletes = %v", err)
	}
	if err := m.Apply(0, []store.Record{{Key: "new", Value: make([]byte, 17<<20), Version: 4}}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Apply of more than the limit = %v, want ErrTooLarge", err)
	}
}

// hitRatio plays accesses on an engine that holds about a tenth of the keys.
func hitRatio(t *testing.T, keys int, access func() int, n int) float64 {
	m := store.NewMemory(store.MemoryOptions{Limit: int64(keys / 10 * 165 * 16 / 15)})
	defer m.Close()
	c := &cache{t: t, e: m}
	value := make([]byte, 100)
	hits := 0
	for i := range n {
		k := access()
		key := fmt.Sprintf("key-%020d", k)
		slot := uint16(k*40503) % 1024
		if c.get(slot, key) {
			if i >= n/2 {
				hits++
			}
			continue
		}
		c.set(slot, key, value)
	}
	t.Logf("%d records", m.Stats().Records)
	return float64(hits) / float64(n-n/2) * 100
}

func TestHitRatio(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const keys = 500_000
	rng := rand.New(rand.NewPCG(7, 8))
	zipf := rand.NewZipf(rng, 1.01, 1, keys-1)
	for _, tt := range []struct {
		name   string
		access func() int
		least  float64
	}{
		{"zipf", func() int { return int(zipf.Uint64()) }, 76},
		{"zipf with scans", func() func() int {
			i, scan := 0, keys
			return func() int {
				if i++; i%10 == 0 {
					scan++
					return scan
				}
				return int(zipf.Uint64())
			}
		}(), 65},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hitRatio(t, keys, tt.access, 1_500_000)
			t.Logf("%.1f %% hits", got)
			if got < tt.least {
				t.Errorf("%.1f %% hits, want %.0f", got, tt.least)
			}
		})
	}
}
