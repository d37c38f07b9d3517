package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func testRange(t *testing.T, e store.Engine) {
	if recs := all(t, e, 3, 1); len(recs) != 0 {
		t.Fatalf("Range of an empty slot saw %d records", len(recs))
	}
	const n = 3000
	fill(t, e, 3, n)
	apply(t, e, 3, tombstone("gone", n+1), store.Record{Key: "late", Version: n + 2, Expiry: 1, Schema: 3, Origin: 7})
	apply(t, e, 4, value("elsewhere", "x", 1))
	for _, step := range []int{1, 64, 999, n * 2} {
		recs := all(t, e, 3, step)
		if len(recs) != n+2 {
			t.Fatalf("Range by %d saw %d records, want %d", step, len(recs), n+2)
		}
		for _, r := range recs {
			switch {
			case r.Key == "gone":
				if !r.Tombstone || r.Version != n+1 {
					t.Errorf("tombstone came back as %+v", r)
				}
			case r.Key == "late":
				if r.Version != n+2 || r.Expiry != 1 || r.Schema != 3 || r.Origin != 7 {
					t.Errorf("expired record came back as %+v", r)
				}
			case string(r.Value) != fmt.Sprintf("value %d", r.Version-1):
				t.Fatalf("%q came back as %q version %d", r.Key, r.Value, r.Version)
			}
		}
	}
}

func testRangeStops(t *testing.T, e store.Engine) {
	fill(t, e, 3, 100)
	recs := all(t, e, 3, 1000)
	// A cursor needs no record behind it.
	for _, i := range []int{0, 1, 50, 98} {
		fail(t, e.Drop(4))
		c := cursor(&recs[i])
		var first string
		if _, _, err := e.Range(3, c, func(r store.Record) bool { first = r.Key; return false }); err != nil {
			t.Fatal(err)
		}
		if first != recs[i+1].Key {
			t.Errorf("after record %d came %q, want %q", i, first, recs[i+1].Key)
		}
		c.Key += "!" // between this record and the next one, and not stored
		first = ""
		if _, _, err := e.Range(3, c, func(r store.Record) bool { first = r.Key; return false }); err != nil {
			t.Fatal(err)
		}
		if first != recs[i+1].Key {
			t.Errorf("after a cursor behind record %d came %q, want %q", i, first, recs[i+1].Key)
		}
	}
	calls := 0
	_, done, err := e.Range(3, store.Cursor{Hash: ^uint64(0), Kind: 255, Key: "\xff", Started: true}, func(store.Record) bool { calls++; return true })
	if err != nil || !done || calls != 0 {
		t.Errorf("Range after the end: %d calls, done %v, %v", calls, done, err)
	}
}

func testRangeUnderWrites(t *testing.T, e store.Engine) {
	const stay, churn = 500, 2000
	fill(t, e, 3, stay)
	var wg sync.WaitGroup
	var stop atomic.Bool
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for v := uint64(10_000); !stop.Load(); v++ {
			k := fmt.Sprintf("churn-%d", rng.IntN(churn))
			switch rng.IntN(3) {
			case 0:
				if err := e.Apply(3, []store.Record{tombstone(k, v)}); err != nil {
					t.Error(err)
				}
				if err := e.Purge(3, v); err != nil {
					t.Error(err)
				}
			default:
				if err := e.Apply(3, []store.Record{value(k, "x", v)}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for _, step := range []int{1, 10, 10_000} {
		seen := 0
		for _, r := range all(t, e, 3, step) {
			if r.Version <= stay {
				seen++
			}
		}
		if seen != stay {
			t.Errorf("Range by %d saw %d of the %d records present throughout", step, seen, stay)
		}
	}
	stop.Store(true)
	wg.Wait()
}

func testRangeReenters(t *testing.T, e store.Engine) {
	fill(t, e, 3, 200)
	version := uint64(1000)
	_, done, err := e.Range(3, store.Cursor{}, func(r store.Record) bool {
		if r.Version > 200 {
			return true
		}
		version++
		apply(t, e, 3, tombstone(r.Key, version))
		return true
	})
	if err != nil || !done {
		t.Fatalf("Range = done %v, %v", done, err)
	}
	if s := e.SlotStats(3); s.Tombstones != 200 {
		t.Errorf("%d tombstones, want 200", s.Tombstones)
	}
}

func testDigest(t *testing.T, e store.Engine) {
	empty := digest(t, e, 1)
	if empty != (store.Digest{}) {
		t.Fatalf("digest of an empty slot = %+v", empty)
	}
	seen := map[store.Digest]string{}
	base := store.Record{Key: "a", Field: "f", Value: []byte("v"), Version: 5}
	for _, tt := range []struct {
		name string
		edit func(*store.Record)
	}{
		{"base", func(*store.Record) {}},
		{"kind", func(r *store.Record) { r.Kind = 1 }},
		{"key", func(r *store.Record) { r.Key = "b" }},
		{"field", func(r *store.Record) { r.Field = "" }},
		{"value", func(r *store.Record) { r.Value = []byte("w") }},
		{"empty value", func(r *store.Record) { r.Value = nil }},
		{"tombstone", func(r *store.Record) { r.Value, r.Tombstone = nil, true }},
		{"version", func(r *store.Record) { r.Version = 6 }},
		{"origin", func(r *store.Record) { r.Origin = 4 }},
		{"expiry", func(r *store.Record) { r.Expiry = 9 }},
	} {
		r := base
		tt.edit(&r)
		fail(t, e.Drop(1))
		apply(t, e, 1, r)
		d := digest(t, e, 1)
		if d.Records != 1 {
			t.Errorf("%s: digest counts %d records, want 1", tt.name, d.Records)
		}
		if other, ok := seen[d]; ok {
			t.Errorf("records that differ in %s have the digest of %s", tt.name, other)
		}
		seen[d] = tt.name
	}
	fail(t, e.Drop(1))
	apply(t, e, 1, store.Record{Key: "a", Field: "f", Value: []byte("v"), Version: 5, Origin: 5})
	if seen[digest(t, e, 1)] != "base" {
		t.Error("an origin that is the version changes the digest")
	}
	fail(t, e.Drop(1))
	if d := digest(t, e, 1); d != empty {
		t.Errorf("digest after Drop = %+v", d)
	}
}

func testDigestRanges(t *testing.T, e store.Engine) {
	fill(t, e, 1, 1000)
	whole := digest(t, e, 1)
	if whole.Records != 1000 {
		t.Fatalf("digest counts %d records, want 1000", whole.Records)
	}
	for _, parts := range []uint64{2, 3, 64} {
		var sum store.Digest
		width := ^uint64(0) / parts
		for lo := uint64(0); ; lo += width + 1 {
			hi := lo + width
			if hi < lo {
				hi = ^uint64(0)
			}
			d, err := e.Digest(1, lo, hi)
			fail(t, err)
			sum.Sum += d.Sum
			sum.Records += d.Records
			if hi == ^uint64(0) {
				break
			}
		}
		if sum != whole {
			t.Errorf("%d parts add up to %+v, want %+v", parts, sum, whole)
		}
	}
	h := store.Hash(0, key(7), "")
	if d, err := e.Digest(1, h, h); err != nil || d.Records != 1 {
		t.Errorf("Digest of one hash = %+v, %v; want 1 record", d, err)
	}
	if d, err := e.Digest(1, h+1, h); err != nil || d != (store.Digest{}) {
		t.Errorf("Digest of an empty range = %+v, %v", d, err)
	}
}

func testDigestHistory(t *testing.T, e store.Engine) {
	fill(t, e, 1, 200)
	// Slot 2 comes to the same records by another road.
	rng := rand.New(rand.NewPCG(3, 4))
	apply(t, e, 2, tombstone("purged", 1))
	for _, i := range rng.Perm(200) {
		if i%3 == 0 && i > 0 {
			apply(t, e, 2, value(key(i), "before", uint64(i)))
		}
		if i%5 == 0 && i > 0 {
			apply(t, e, 2, tombstone(key(i), uint64(i)))
		}
		apply(t, e, 2, value(key(i), fmt.Sprintf("value %d", i), uint64(i+1)))
	}
	fail(t, e.Purge(2, 1000))
	if a, b := digest(t, e, 1), digest(t, e, 2); a != b {
		t.Errorf("digests %+v and %+v of equal records", a, b)
	}
}
