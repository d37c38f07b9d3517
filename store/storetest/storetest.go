// Package storetest is the conformance suite of store.Engine: what every
// engine must do, whatever it keeps its records in.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// Run runs the suite. open returns a new, empty engine without a byte limit;
// the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Engine) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, store.Engine)
	}{
		{"get finds what apply stored", testGet},
		{"addresses differ by every part", testAddresses},
		{"higher version wins", testVersions},
		{"tombstones hide and come back", testTombstones},
		{"expiry is judged by now", testExpiry},
		{"sizes from empty to 64 MiB", testSizes},
		{"engine keeps copies", testCopies},
		{"get appends to dst", testAppend},
		{"apply is atomic", testAtomic},
		{"update reads and writes at once", testUpdate},
		{"range is ordered and resumable", testRange},
		{"range breaks off anywhere", testRangeStops},
		{"range sees what stays under writes", testRangeUnderWrites},
		{"fn of range may call the engine", testRangeReenters},
		{"digest follows content", testDigest},
		{"digest ranges add up", testDigestRanges},
		{"digest does not depend on history", testDigestHistory},
		{"generation replaces the slot", testGeneration},
		{"generation is confirmed by digest", testConfirm},
		{"generation is aborted and replaced", testAbort},
		{"expired proposes what is due", testExpired},
		{"victims proposes values of the slots named", testVictims},
		{"purge removes tombstones to the floor", testPurge},
		{"drop leaves the other slots", testDrop},
		{"counts and bytes", testStats},
		{"meta is saved and listed", testMeta},
		{"durable mark", testDurable},
		{"closed engine says so", testClosed},
		{"concurrent use", testConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := open(t)
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close = %v", err)
				}
			})
			tt.test(t, e)
		})
	}
	t.Run("close beside every call", func(t *testing.T) {
		for range 3 {
			testCloseBeside(t, open(t))
		}
	})
}

// fail is for what must not fail; it keeps the tests readable.
func fail(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func value(key, val string, version uint64) store.Record {
	return store.Record{Key: key, Value: []byte(val), Version: version}
}

func tombstone(key string, version uint64) store.Record {
	return store.Record{Key: key, Tombstone: true, Version: version}
}

func apply(t *testing.T, e store.Engine, slot uint16, recs ...store.Record) {
	t.Helper()
	fail(t, e.Apply(slot, recs))
}

// get waits for a disk, so that an engine may unload what it likes.
func get(t *testing.T, e store.Engine, slot uint16, key string, now int64) store.Item {
	t.Helper()
	it, err := e.Fetch(nil, slot, 0, key, "", now)
	fail(t, err)
	return it
}

func wantItem(t *testing.T, e store.Engine, slot uint16, key string, now int64, state store.State, val string, version uint64) {
	t.Helper()
	it := get(t, e, slot, key, now)
	if it.State != state || string(it.Value) != val || it.Version != version {
		t.Fatalf("Fetch(%d, %q, now %d) = state %d value %.40q version %d, want state %d value %.40q version %d",
			slot, key, now, it.State, it.Value, it.Version, state, val, version)
	}
}

// all ranges over a slot, n records a call, and checks the order.
func all(t *testing.T, e store.Engine, slot uint16, n int) []store.Record {
	t.Helper()
	var recs []store.Record
	var cur store.Cursor
	for {
		seen := 0
		next, done, err := e.Range(slot, cur, func(r store.Record) bool {
			r.Value = bytes.Clone(r.Value)
			recs = append(recs, r)
			seen++
			return seen < n
		})
		fail(t, err)
		if seen > n {
			t.Fatalf("Range called fn %d times after it returned false", seen-n)
		}
		if seen == 0 && !done {
			t.Fatal("Range saw nothing and is not done")
		}
		cur = next
		if done {
			break
		}
	}
	if !slices.IsSortedFunc(recs, func(a, b store.Record) int { return order(&a, &b) }) {
		t.Fatal("Range is out of order")
	}
	for i := 1; i < len(recs); i++ {
		if order(&recs[i-1], &recs[i]) == 0 {
			t.Fatalf("Range saw %q twice", recs[i].Key)
		}
	}
	return recs
}

func order(a, b *store.Record) int {
	ca, cb := cursor(a), cursor(b)
	switch {
	case ca == cb:
		return 0
	case ca.Hash != cb.Hash:
		if ca.Hash < cb.Hash {
			return -1
		}
		return 1
	}
	return bytes.Compare(
		fmt.Appendf(nil, "%c%s\x00%s", a.Kind, a.Key, a.Field),
		fmt.Appendf(nil, "%c%s\x00%s", b.Kind, b.Key, b.Field))
}

func cursor(r *store.Record) store.Cursor {
	return store.Cursor{Hash: store.Hash(r.Kind, r.Key, r.Field), Kind: r.Kind, Key: r.Key, Field: r.Field, Started: true}
}

func digest(t *testing.T, e store.Engine, slot uint16) store.Digest {
	t.Helper()
	d, err := e.Digest(slot, 0, ^uint64(0))
	fail(t, err)
	return d
}

func wantErr(t *testing.T, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", call, got, want)
	}
}

func key(i int) string { return fmt.Sprintf("key-%06d", i) }

// fill stores n values key(0)... at versions 1...
func fill(t *testing.T, e store.Engine, slot uint16, n int) {
	t.Helper()
	for i := range n {
		apply(t, e, slot, value(key(i), fmt.Sprintf("value %d", i), uint64(i+1)))
	}
}
