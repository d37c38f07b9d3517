package storetest

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func testGet(t *testing.T, e store.Engine) {
	wantItem(t, e, 5, "a", 0, store.Absent, "", 0)
	rec := store.Record{Key: "a", Value: []byte("one"), Version: 9, Origin: 4, Expiry: 1000, Schema: 77}
	apply(t, e, 5, rec)
	it := get(t, e, 5, "a", 999)
	if it.State != store.Found || string(it.Value) != "one" || it.Version != 9 || it.Origin != 4 || it.Expiry != 1000 || it.Schema != 77 {
		t.Fatalf("Fetch = %+v, want %+v", it, rec)
	}
	wantItem(t, e, 6, "a", 0, store.Absent, "", 0)
	apply(t, e, 5, store.Record{Key: "b", Version: 3, Origin: 3})
	if it := get(t, e, 5, "b", 0); it.Origin != 0 {
		t.Errorf("an origin that is the version is %d, want 0", it.Origin)
	}
	apply(t, e, store.Slots-1, value("", "empty key", 1))
	wantItem(t, e, store.Slots-1, "", 0, store.Found, "empty key", 1)
}

func testAddresses(t *testing.T, e store.Engine) {
	var recs []store.Record
	for _, kind := range []uint8{0, 1, 255} {
		for _, k := range []string{"", "a", "ab", "b", "a\x00"} {
			for _, f := range []string{"", "a", "b", "\x00"} {
				recs = append(recs, store.Record{Kind: kind, Key: k, Field: f, Value: fmt.Appendf(nil, "%d/%q/%q", kind, k, f), Version: uint64(len(recs) + 1)})
			}
		}
	}
	apply(t, e, 1, recs...)
	for i, r := range recs {
		it, err := e.Fetch(nil, 1, r.Kind, r.Key, r.Field, 0)
		fail(t, err)
		if it.Version != uint64(i+1) || !bytes.Equal(it.Value, r.Value) {
			t.Errorf("Fetch(%d, %q, %q) = %q version %d, want %q version %d", r.Kind, r.Key, r.Field, it.Value, it.Version, r.Value, i+1)
		}
	}
	if got := len(all(t, e, 1, 7)); got != len(recs) {
		t.Errorf("Range saw %d records, want %d", got, len(recs))
	}
}

func testVersions(t *testing.T, e store.Engine) {
	apply(t, e, 1, value("a", "two", 1<<40|2))
	apply(t, e, 1, value("a", "old", 1<<40|1))
	wantItem(t, e, 1, "a", 0, store.Found, "two", 1<<40|2)
	apply(t, e, 1, value("a", "same", 1<<40|2))
	wantItem(t, e, 1, "a", 0, store.Found, "two", 1<<40|2)
	apply(t, e, 1, tombstone("a", 1<<40|1))
	wantItem(t, e, 1, "a", 0, store.Found, "two", 1<<40|2)
	apply(t, e, 1, value("a", "three, and much longer", 2<<40|1))
	wantItem(t, e, 1, "a", 0, store.Found, "three, and much longer", 2<<40|1)
	apply(t, e, 1, value("a", "five", 2<<40|5), value("a", "four", 2<<40|4), value("a", "six", 2<<40|6))
	wantItem(t, e, 1, "a", 0, store.Found, "six", 2<<40|6)
	if got := e.MaxVersion(1); got != 2<<40|6 {
		t.Errorf("MaxVersion = %d, want %d", got, uint64(2<<40|6))
	}
	if got := e.MaxVersion(2); got != 0 {
		t.Errorf("MaxVersion of an empty slot = %d, want 0", got)
	}
	top := ^uint64(0)
	apply(t, e, 1, value("a", "top", top))
	wantItem(t, e, 1, "a", 0, store.Found, "top", top)
}

func testTombstones(t *testing.T, e store.Engine) {
	apply(t, e, 1, value("a", "one", 1))
	apply(t, e, 1, store.Record{Key: "a", Tombstone: true, Version: 2, Origin: 1})
	wantItem(t, e, 1, "a", 0, store.Deleted, "", 2)
	if it := get(t, e, 1, "a", 0); it.Origin != 1 {
		t.Errorf("origin of a tombstone = %d, want 1", it.Origin)
	}
	apply(t, e, 1, tombstone("never there", 3))
	wantItem(t, e, 1, "never there", 0, store.Deleted, "", 3)
	if s := e.SlotStats(1); s.Records != 2 || s.Tombstones != 2 {
		t.Errorf("SlotStats = %+v, want 2 records, 2 tombstones", s)
	}
	apply(t, e, 1, value("a", "four", 4))
	wantItem(t, e, 1, "a", 0, store.Found, "four", 4)
	if s := e.SlotStats(1); s.Records != 2 || s.Tombstones != 1 {
		t.Errorf("SlotStats = %+v, want 2 records, 1 tombstone", s)
	}
}

func testExpiry(t *testing.T, e store.Engine) {
	apply(t, e, 1, store.Record{Key: "a", Value: []byte("v"), Version: 1, Expiry: 1000})
	wantItem(t, e, 1, "a", 999, store.Found, "v", 1)
	wantItem(t, e, 1, "a", 1000, store.Expired, "", 1)
	wantItem(t, e, 1, "a", 1<<50, store.Expired, "", 1)
	far := int64(1)<<41 + 12345 // the year 2039
	apply(t, e, 1, store.Record{Key: "a", Value: []byte("w"), Version: 2, Expiry: far})
	wantItem(t, e, 1, "a", far-1, store.Found, "w", 2)
	wantItem(t, e, 1, "a", far, store.Expired, "", 2)
	apply(t, e, 1, value("a", "x", 3))
	wantItem(t, e, 1, "a", 1<<50, store.Found, "x", 3)
	version := uint64(3)
	for _, far := range []int64{1<<42 + 1, 1<<47 - 1, 1 << 47, 1<<48 + 1, math.MaxInt64} { // however far it is
		version++
		apply(t, e, 1, store.Record{Key: "a", Value: []byte("y"), Version: version, Expiry: far})
		wantItem(t, e, 1, "a", min(far, 1<<47-1)-1, store.Found, "y", version)
	}
	for _, past := range []int64{-1, -1 << 47, -1<<48 + 1, math.MinInt64} {
		version++
		apply(t, e, 1, store.Record{Key: "a", Value: []byte("z"), Version: version, Expiry: past})
		wantItem(t, e, 1, "a", 0, store.Expired, "", version)
	}
	apply(t, e, 1, tombstone("a", version+1))
	fail(t, e.Purge(1, version+1))
	if d := digest(t, e, 1); d != (store.Digest{}) {
		t.Errorf("digest of nothing is %+v", d)
	}
}

func testSizes(t *testing.T, e store.Engine) {
	version := uint64(0)
	for _, n := range []int{0, 1, 7, 8, 100, 254, 255, 256, 1000, 4095, 16 << 10, 65534, 65535, 65536, 100_000, 128 << 10, 1<<20 + 1, 16 << 20, 64 << 20} {
		if n > 1<<20 && testing.Short() {
			break
		}
		val := make([]byte, n)
		for i := range val {
			val[i] = byte(i * 7 >> 3)
		}
		for range 2 { // stored anew, then overwritten
			version++
			apply(t, e, 1, store.Record{Key: "a", Value: val, Version: version})
			it := get(t, e, 1, "a", 0)
			if it.State != store.Found || !bytes.Equal(it.Value, val) {
				t.Fatalf("value of %d bytes came back as state %d, %d bytes", n, it.State, len(it.Value))
			}
		}
		if recs := all(t, e, 1, 1); len(recs) != 1 || !bytes.Equal(recs[0].Value, val) {
			t.Fatalf("value of %d bytes: Range saw another one", n)
		}
	}
	fail(t, e.Drop(1))
	for _, n := range []int{1, 254, 255, 256, 4 << 10, 64<<10 - 1, 64 << 10} {
		k, f := strings.Repeat("k", n), strings.Repeat("f", min(n, 32<<10))
		version++
		apply(t, e, 1, store.Record{Key: k, Field: f, Value: []byte(k), Version: version})
		it, err := e.Fetch(nil, 1, 0, k, f, 0)
		fail(t, err)
		if it.State != store.Found || string(it.Value) != k {
			t.Fatalf("key and field of %d bytes: state %d, %d bytes", n, it.State, len(it.Value))
		}
	}
	if got := len(all(t, e, 1, 2)); got != 7 {
		t.Errorf("Range saw %d records, want 7", got)
	}
}

func testCopies(t *testing.T, e store.Engine) {
	buf := []byte("value")
	apply(t, e, 1, store.Record{Key: "a", Value: buf, Version: 1})
	copy(buf, "xxxxx")
	wantItem(t, e, 1, "a", 0, store.Found, "value", 1)
	it := get(t, e, 1, "a", 0)
	copy(it.Value, "yyyyy")
	wantItem(t, e, 1, "a", 0, store.Found, "value", 1)
	it = get(t, e, 1, "a", 0)
	apply(t, e, 1, value("a", "other", 2))
	if string(it.Value) != "value" {
		t.Errorf("a value read before became %q", it.Value)
	}
}

func testAppend(t *testing.T, e store.Engine) {
	apply(t, e, 1, value("a", "value", 1))
	dst := make([]byte, 0, 64)
	dst = append(dst, "before "...)
	it, err := e.Fetch(dst, 1, 0, "a", "", 0)
	fail(t, err)
	if string(it.Value) != "value" {
		t.Errorf("Value = %q, want dst's extension alone", it.Value)
	}
	if got := string(dst[:len(dst)+5]); got != "before value" {
		t.Errorf("dst = %q, want it appended to", got)
	}
}

func testAtomic(t *testing.T, e store.Engine) {
	const keys, rounds = 8, 300
	write := func(v int) {
		recs := make([]store.Record, keys)
		for i := range recs {
			recs[i] = value(key(i), strings.Repeat(fmt.Sprint(v%10), v%50), uint64(v*keys+i+1))
		}
		apply(t, e, 1, recs...)
	}
	write(0)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		defer close(stop)
		for v := 1; v < rounds; v++ {
			write(v)
		}
	})
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		// Reading the keys in the order of their writing, rounds never go back.
		low := uint64(0)
		for i := range keys {
			it, err := e.Fetch(nil, 1, 0, key(i), "", 0)
			fail(t, err)
			if round := (it.Version - 1) / keys; round < low {
				t.Fatalf("key %d is of round %d after one of round %d was seen", i, round, low)
			} else {
				low = round
			}
		}
	}
	wg.Wait()
}

func testUpdate(t *testing.T, e store.Engine) {
	calls := 0
	fail(t, e.Update(1, 2, "n", "f", 0, func(it store.Item) (store.Record, bool) {
		calls++
		if it.State != store.Absent {
			t.Errorf("state = %d, want Absent", it.State)
		}
		return store.Record{}, false
	}))
	if s := e.SlotStats(1); s.Records != 0 || calls != 1 {
		t.Fatalf("an Update that returned nothing left %d records after %d calls", s.Records, calls)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 250 {
				if err := e.Update(1, 2, "n", "f", 0, func(it store.Item) (store.Record, bool) {
					n := 0
					fmt.Sscan(string(it.Value), &n)
					return store.Record{Kind: 2, Key: "n", Field: "f", Value: fmt.Append(nil, n+1), Version: it.Version + 1}, true
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	it, err := e.Fetch(nil, 1, 2, "n", "f", 0)
	fail(t, err)
	if string(it.Value) != "1000" || it.Version != 1000 {
		t.Errorf("after 1000 Updates: %q version %d", it.Value, it.Version)
	}
	fail(t, e.Update(1, 2, "n", "f", 0, func(it store.Item) (store.Record, bool) {
		return store.Record{Kind: 2, Key: "n", Field: "f", Tombstone: true, Version: it.Version + 1}, true
	}))
	fail(t, e.Update(1, 2, "n", "f", 0, func(it store.Item) (store.Record, bool) {
		if it.State != store.Deleted || it.Version != 1001 {
			t.Errorf("state %d version %d, want Deleted 1001", it.State, it.Version)
		}
		return store.Record{Kind: 2, Key: "n", Field: "f", Version: it.Version + 1, Expiry: 50}, true
	}))
	fail(t, e.Update(1, 2, "n", "f", 50, func(it store.Item) (store.Record, bool) {
		if it.State != store.Expired {
			t.Errorf("state %d, want Expired", it.State)
		}
		return store.Record{}, false
	}))
}
