// The race detector has pools lose what they hold, so that all calls allocate.

//go:build !race

package slotmesh_test

import (
	"context"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestCallAllocs pins what calls allocate on the slot's primary.
func TestCallAllocs(t *testing.T) {
	c := open(t)
	ctx, value := t.Context(), make([]byte, 100)
	set(t, c, "key", string(value))
	buf := make([]byte, 0, 256)
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, tt := range []struct {
		name string
		most float64
		call func() error
	}{
		{"Get", 1, func() error { _, err := c.Get(ctx, "key"); return err }},
		{"GetInto", 0, func() error { _, err := c.GetInto(ctx, "key", buf); return err }},
		{"GetOrLoad", 1, func() error {
			_, err := c.GetOrLoad(ctx, "key", func(context.Context, string) ([]byte, error) { return nil, nil }, slotmesh.LoadTTL(time.Hour))
			return err
		}},
		{"Exists", 0, func() error { _, err := c.Exists(ctx, "key"); return err }},
		// Eight results, and what the batch as a whole takes.
		{"Batch", 8 + 9, func() error {
			b := c.Batch()
			for _, key := range keys {
				b.Exists(key)
			}
			return b.Do(ctx)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What the node does by itself meanwhile counts too: the least is the call's.
			n := tt.most + 1
			for try := 0; try < 20 && n > tt.most; try++ {
				n = testing.AllocsPerRun(1000, func() {
					if err := tt.call(); err != nil {
						t.Error(err)
					}
				})
			}
			if n > tt.most {
				t.Errorf("%s allocates %v times, want at most %v", tt.name, n, tt.most)
			}
		})
	}
}

func BenchmarkGetLocal(b *testing.B) {
	c := benchCache(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "key"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetLocal(b *testing.B) {
	c := benchCache(b)
	ctx, value := b.Context(), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Set(ctx, "key", value); err != nil {
			b.Fatal(err)
		}
	}
}

func benchCache(b *testing.B) *slotmesh.Cache {
	c := slotmeshtest.Start(b, 1)[0]
	if err := c.Set(b.Context(), "key", make([]byte, 100)); err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkGetOrLoadHit(b *testing.B) {
	c := benchCache(b)
	ctx := b.Context()
	load := func(context.Context, string) ([]byte, error) { return nil, slotmesh.ErrNotFound }
	ttl := slotmesh.LoadTTL(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.GetOrLoad(ctx, "key", load, ttl); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTypedGet(b *testing.B) {
	c := benchCache(b)
	ctx := b.Context()
	v := slotmesh.For[string](c, "typed:")
	if err := v.Set(ctx, "key", "value"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Get(ctx, "key"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTxnLocal(b *testing.B) {
	c := benchCache(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		err := c.Txn(ctx, "key", func(tx *slotmesh.Tx) error {
			v, err := tx.Get("key")
			if err != nil {
				return err
			}
			return tx.Set("key", v)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStats(b *testing.B) {
	c := benchCache(b)
	b.ReportAllocs()
	for b.Loop() {
		c.Stats()
	}
}
