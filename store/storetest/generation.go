package storetest

import (
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func begin(t *testing.T, e store.Engine, slot uint16) store.Generation {
	t.Helper()
	gen, err := e.Begin(slot)
	fail(t, err)
	return gen
}

func testGeneration(t *testing.T, e store.Engine) {
	apply(t, e, 1, value("old", "1", 1), value("both", "1", 2))
	gen := begin(t, e, 1)
	fail(t, e.ApplyTo(1, gen, []store.Record{value("new", "2", 3), value("both", "2", 1)}))
	fail(t, e.ApplyTo(1, gen, []store.Record{value("new", "older", 2)}))
	wantItem(t, e, 1, "old", 0, store.Found, "1", 1)
	wantItem(t, e, 1, "both", 0, store.Found, "1", 2)
	wantItem(t, e, 1, "new", 0, store.Absent, "", 0)
	if d := digest(t, e, 1); d.Records != 2 {
		t.Errorf("digest counts %d records before Commit, want 2", d.Records)
	}
	fail(t, e.Commit(1, gen))
	wantItem(t, e, 1, "old", 0, store.Absent, "", 0)
	wantItem(t, e, 1, "both", 0, store.Found, "2", 1)
	wantItem(t, e, 1, "new", 0, store.Found, "2", 3)
	if got := len(all(t, e, 1, 10)); got != 2 {
		t.Errorf("Range saw %d records, want 2", got)
	}
	if s := e.SlotStats(1); s.Records != 2 {
		t.Errorf("SlotStats counts %d records, want 2", s.Records)
	}
	if got := e.MaxVersion(1); got != 3 {
		t.Errorf("MaxVersion = %d, want 3", got)
	}
	wantErr(t, "Commit twice", e.Commit(1, gen), store.ErrGeneration)
	wantErr(t, "ApplyTo after Commit", e.ApplyTo(1, gen, nil), store.ErrGeneration)

	// An empty generation empties the slot, but not its highest version.
	fail(t, e.Commit(1, begin(t, e, 1)))
	if s := e.SlotStats(1); s.Records != 0 {
		t.Errorf("%d records after an empty generation", s.Records)
	}
	if got := e.MaxVersion(1); got != 3 {
		t.Errorf("MaxVersion = %d, want 3", got)
	}
}

func testConfirm(t *testing.T, e store.Engine) {
	const n = 500
	fill(t, e, 1, n)
	const mid = uint64(1) << 63
	low, err := e.Digest(1, 0, mid-1)
	fail(t, err)
	high, err := e.Digest(1, mid, ^uint64(0))
	fail(t, err)

	gen := begin(t, e, 1)
	wrong := high
	wrong.Sum++
	if ok, err := e.Confirm(1, gen, mid, ^uint64(0), wrong); ok || err != nil {
		t.Errorf("Confirm by a wrong digest = %v, %v", ok, err)
	}
	if ok, err := e.Confirm(1, gen, 0, mid-1, low); !ok || err != nil {
		t.Fatalf("Confirm = %v, %v", ok, err)
	}
	// Live writes of the confirmed range: before it and after it.
	var newer, older string
	for i := range n {
		if store.Hash(0, key(i), "") < mid {
			if newer == "" {
				newer = key(i)
			} else {
				older = key(i)
			}
		}
	}
	fail(t, e.ApplyTo(1, gen, []store.Record{value(newer, "newer", n+10)}))
	if ok, err := e.Confirm(1, gen, 0, mid-1, low); !ok || err != nil {
		t.Fatalf("Confirm again = %v, %v", ok, err)
	}
	fail(t, e.ApplyTo(1, gen, []store.Record{{Key: older, Value: []byte("older"), Version: 1}}))
	fail(t, e.Commit(1, gen))
	wantItem(t, e, 1, newer, 0, store.Found, "newer", n+10)
	if it := get(t, e, 1, older, 0); string(it.Value) == "older" {
		t.Error("an older record replaced a confirmed one")
	}
	if s := e.SlotStats(1); s.Records != low.Records {
		t.Errorf("%d records, want the %d confirmed", s.Records, low.Records)
	}
	if got := len(all(t, e, 1, 50)); got != low.Records {
		t.Errorf("Range saw %d records, want the %d confirmed", got, low.Records)
	}
	if d, err := e.Digest(1, mid, ^uint64(0)); err != nil || d.Records != 0 {
		t.Errorf("unconfirmed half = %+v, %v", d, err)
	}
}

func testAbort(t *testing.T, e store.Engine) {
	apply(t, e, 1, value("a", "1", 1))
	gen := begin(t, e, 1)
	fail(t, e.ApplyTo(1, gen, []store.Record{value("b", "2", 2)}))
	wantErr(t, "Abort of another generation", e.Abort(1, gen+1), store.ErrGeneration)
	wantErr(t, "Abort of another slot", e.Abort(2, gen), store.ErrGeneration)
	fail(t, e.Abort(1, gen))
	wantErr(t, "Abort twice", e.Abort(1, gen), store.ErrGeneration)
	wantItem(t, e, 1, "a", 0, store.Found, "1", 1)
	wantItem(t, e, 1, "b", 0, store.Absent, "", 0)

	first := begin(t, e, 1)
	fail(t, e.ApplyTo(1, first, []store.Record{value("b", "2", 2)}))
	second := begin(t, e, 1)
	if first == second || first == gen {
		t.Errorf("generations %d, %d, %d are not distinct", gen, first, second)
	}
	wantErr(t, "ApplyTo a replaced generation", e.ApplyTo(1, first, nil), store.ErrGeneration)
	_, err := e.Confirm(1, first, 0, 1, store.Digest{})
	wantErr(t, "Confirm into a replaced generation", err, store.ErrGeneration)
	fail(t, e.ApplyTo(1, second, []store.Record{value("c", "3", 3)}))
	fail(t, e.Commit(1, second))
	wantItem(t, e, 1, "a", 0, store.Absent, "", 0)
	wantItem(t, e, 1, "b", 0, store.Absent, "", 0)
	wantItem(t, e, 1, "c", 0, store.Found, "3", 3)

	third := begin(t, e, 1)
	fail(t, e.Drop(1))
	wantErr(t, "Commit after Drop", e.Commit(1, third), store.ErrGeneration)
}
