package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func at(now int64) func(uint16) int64 { return func(uint16) int64 { return now } }

func only(slots ...uint16) func(uint16) bool {
	return func(s uint16) bool { return slices.Contains(slots, s) }
}

// remove deletes candidates as a node does.
func remove(t *testing.T, e store.Engine, cands []store.Candidate) {
	t.Helper()
	for _, c := range cands {
		fail(t, e.Update(c.Slot, c.Kind, c.Key, c.Field, 0, func(it store.Item) (store.Record, bool) {
			return store.Record{Kind: c.Kind, Key: c.Key, Field: c.Field, Tombstone: true, Version: it.Version + 1}, it.Version == c.Version
		}))
	}
}

// testExpired gives the engine five seconds to find what is due.
func testExpired(t *testing.T, e store.Engine) {
	const n, sec = 300, 1000
	for i := range n { // of three slots; a record is due at 10, 20, ... 100 s
		apply(t, e, uint16(i%3), store.Record{Key: key(i), Value: []byte("v"), Version: uint64(i + 1), Expiry: int64(i%10+1) * 10 * sec})
	}
	apply(t, e, 0, value("for ever", "v", 1))
	if got := e.Expired(nil, n, at(10*sec-1), nil); len(got) != 0 {
		t.Fatalf("%d are proposed before any is due", len(got))
	}
	// collect calls until nothing new turns up; what is proposed is deleted.
	collect := func(now int64, may func(uint16) bool) (found []store.Candidate) {
		for range 100 {
			got := e.Expired(nil, 7, at(now), may)
			if len(got) > 7 {
				t.Fatalf("%d proposed, want at most 7", len(got))
			}
			if len(got) == 0 {
				return found
			}
			remove(t, e, got)
			found = append(found, got...)
		}
		t.Fatal("Expired proposes without end")
		return nil
	}
	check := func(found []store.Candidate, now int64, want int) {
		t.Helper()
		seen := map[string]bool{}
		for _, c := range found {
			var i int
			fmt.Sscanf(c.Key, "key-%d", &i)
			if c.Slot != uint16(i%3) || c.Version != uint64(i+1) || int64(i%10+1)*10*sec > now {
				t.Errorf("at %d proposed %+v", now, c)
			}
			if seen[c.Key] {
				t.Errorf("%q was proposed again after its delete", c.Key)
			}
			seen[c.Key] = true
		}
		if len(seen) != want {
			t.Errorf("at %d %d were proposed, want %d", now, len(seen), want)
		}
	}
	check(collect(15*sec, only(1)), 15*sec, 10)
	// What was due but not asked for is proposed when it is.
	check(collect(65*sec, nil), 65*sec, 6*30-10)
	// An expiry that was put off, put forward, taken away.
	apply(t, e, 0, store.Record{Key: "off", Version: 1, Expiry: 70 * sec}, store.Record{Key: "forward", Version: 1, Expiry: 1 << 40}, store.Record{Key: "away", Version: 1, Expiry: 70 * sec})
	apply(t, e, 0, store.Record{Key: "off", Version: 2, Expiry: 1 << 40}, store.Record{Key: "forward", Version: 2, Expiry: 70 * sec}, store.Record{Key: "away", Version: 2})
	got := collect(75*sec, nil)
	i := slices.IndexFunc(got, func(c store.Candidate) bool { return c.Key == "forward" })
	if i < 0 || got[i].Version != 2 {
		t.Error("an expiry that was put forward is not proposed")
	} else {
		got = slices.Delete(got, i, i+1)
	}
	check(got, 75*sec, 30)
	check(collect(1<<39, nil), 1<<39, 3*30)
	if got := collect(1<<40+5*sec, nil); len(got) != 1 || got[0].Key != "off" {
		t.Errorf("proposed %+v, want the one that was put off", got)
	}
}

func testVictims(t *testing.T, e store.Engine) {
	for slot := range uint16(4) {
		fill(t, e, slot, 50)
	}
	apply(t, e, 1, tombstone("gone", 1000))
	seen := map[store.Address]bool{}
	for range 200 {
		got := e.Victims(nil, 8, only(1, 2))
		if len(got) > 8 {
			t.Fatalf("%d proposed, want at most 8", len(got))
		}
		for _, c := range got {
			it := get(t, e, c.Slot, c.Key, 0)
			if c.Slot != 1 && c.Slot != 2 || it.State != store.Found || it.Version != c.Version {
				t.Fatalf("proposed %+v, which is state %d version %d", c, it.State, it.Version)
			}
			seen[c.Address] = true
		}
		remove(t, e, got)
		if len(got) == 0 {
			break
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d of the 100 values of two slots were proposed in the end", len(seen))
	}
	prefix := []store.Candidate{{Version: 42}}
	if got := e.Victims(prefix, 1, only(3)); len(got) != 2 || got[0].Version != 42 {
		t.Errorf("Victims does not append: %+v", got)
	}
}

func testPurge(t *testing.T, e store.Engine) {
	fill(t, e, 1, 10)
	for i := range 5 {
		apply(t, e, 1, tombstone(key(i), uint64(100+i)))
	}
	apply(t, e, 2, tombstone("other", 1))
	fail(t, e.Purge(1, 99))
	if s := e.SlotStats(1); s.Tombstones != 5 || s.Records != 10 {
		t.Fatalf("a floor below all tombstones left %+v", s)
	}
	fail(t, e.Purge(1, 102))
	if s := e.SlotStats(1); s.Tombstones != 2 || s.Records != 7 {
		t.Errorf("after Purge: %+v, want 2 tombstones, 7 records", s)
	}
	wantItem(t, e, 1, key(2), 0, store.Absent, "", 0)
	wantItem(t, e, 1, key(3), 0, store.Deleted, "", 103)
	fail(t, e.Purge(1, 1000))
	if d := digest(t, e, 1); d.Records != 5 {
		t.Errorf("digest counts %d records, want 5", d.Records)
	}
	if s := e.SlotStats(2); s.Tombstones != 1 {
		t.Error("another slot was purged")
	}
	if got := e.MaxVersion(1); got != 104 {
		t.Errorf("MaxVersion = %d, want 104", got)
	}
	fail(t, e.Purge(9, 1))
}

func testDrop(t *testing.T, e store.Engine) {
	fill(t, e, 1, 700)
	fill(t, e, 2, 10)
	before := digest(t, e, 2)
	fail(t, e.Drop(1))
	if s := e.SlotStats(1); s != (store.SlotStats{}) {
		t.Errorf("SlotStats of a dropped slot = %+v", s)
	}
	if got := e.MaxVersion(1); got != 0 {
		t.Errorf("MaxVersion of a dropped slot = %d", got)
	}
	wantItem(t, e, 1, key(3), 0, store.Absent, "", 0)
	if digest(t, e, 2) != before {
		t.Error("another slot changed")
	}
	if got := e.Victims(nil, 1000, only(1)); len(got) != 0 {
		t.Errorf("%d victims of a dropped slot", len(got))
	}
	apply(t, e, 1, value("again", "v", 1))
	wantItem(t, e, 1, "again", 0, store.Found, "v", 1)
	fail(t, e.Drop(77))
}

func testStats(t *testing.T, e store.Engine) {
	fill(t, e, 1, 20)
	fill(t, e, 2, 5)
	apply(t, e, 2, tombstone("x", 50))
	st := e.Stats()
	if st.Records != 26 || st.Tombstones != 1 {
		t.Errorf("Stats = %+v, want 26 records, 1 tombstone", st)
	}
	one, two := e.SlotStats(1), e.SlotStats(2)
	if one.Records != 20 || two.Records != 6 || two.Tombstones != 1 {
		t.Errorf("SlotStats = %+v and %+v", one, two)
	}
	if one.Bytes < 20*(10+7) || one.Bytes+two.Bytes > st.Bytes {
		t.Errorf("bytes: %d + %d of %d", one.Bytes, two.Bytes, st.Bytes)
	}
	apply(t, e, 1, store.Record{Key: "big", Value: make([]byte, 1<<20), Version: 100})
	if got := e.SlotStats(1).Bytes - one.Bytes; got < 1<<20 {
		t.Errorf("1 MiB more is charged %d bytes", got)
	}
	apply(t, e, 1, tombstone("big", 101))
	if got := e.SlotStats(1).Bytes - one.Bytes; got > 10_000 {
		t.Errorf("a deleted MiB leaves a charge of %d bytes", got)
	}
	fail(t, e.Drop(1))
	fail(t, e.Drop(2))
	if st := e.Stats(); st.Records != 0 || st.Tombstones != 0 {
		t.Errorf("Stats after Drop = %+v", st)
	}
}

func testMeta(t *testing.T, e store.Engine) {
	fail(t, e.SetMeta(map[string][]byte{"a/1": []byte("one"), "a/2": []byte("two"), "b": {}}))
	fail(t, e.SetMeta(map[string][]byte{"a/1": nil, "a/3": []byte("three")}))
	list := func(prefix string) map[string]string {
		m := map[string]string{}
		fail(t, e.Meta(prefix, func(name string, v []byte) bool { m[name] = string(v); return true }))
		return m
	}
	if got := fmt.Sprint(list("a/")); got != "map[a/2:two a/3:three]" {
		t.Errorf("Meta(a/) = %v", got)
	}
	if got := list(""); len(got) != 3 {
		t.Errorf("Meta of all = %v", got)
	}
	calls := 0
	fail(t, e.Meta("", func(string, []byte) bool { calls++; return false }))
	if calls != 1 {
		t.Errorf("Meta called fn %d times after false", calls-1)
	}
}

func testDurable(t *testing.T, e store.Engine) {
	marks := make(chan uint64, 10)
	e.OnDurable(func(slot uint16, version uint64) {
		if slot == 1 {
			marks <- version
		}
	})
	apply(t, e, 1, value("a", "1", 7))
	fail(t, e.Sync(1))
	fail(t, e.Sync(2))
	if e.Durable() {
		if got := <-marks; got != 7 {
			t.Errorf("durable mark after Sync = %d, want 7", got)
		}
	}
	fail(t, e.Close())
	if len(marks) > 0 {
		t.Errorf("durable mark of what was not applied, or without a disk: %d", <-marks)
	}
}

// testConcurrent is for the race detector; each writer owns two slots.
func testConcurrent(t *testing.T, e store.Engine) {
	const writers, rounds = 4, 400
	var wg sync.WaitGroup
	var stop atomic.Bool
	for w := range writers {
		wg.Go(func() {
			slot := uint16(w)
			for i := range rounds {
				v := uint64(i + 1)
				recs := []store.Record{
					{Key: key(i % 50), Value: make([]byte, i%700), Version: v, Expiry: int64(i % 3 * 1000)},
					{Key: key(i % 7), Field: "f", Tombstone: i%2 == 0, Version: v},
				}
				if err := e.Apply(slot, recs); err != nil {
					t.Error(err)
				}
				switch i % 50 {
				case 10:
					if err := e.Purge(slot, v); err != nil {
						t.Error(err)
					}
				case 20:
					gen, err := e.Begin(slot)
					if err == nil {
						err = e.ApplyTo(slot, gen, recs)
					}
					if err == nil {
						err = e.Commit(slot, gen)
					}
					if err != nil {
						t.Error(err)
					}
				case 30:
					if err := e.Drop(slot + writers); err != nil {
						t.Error(err)
					}
				}
				if err := e.Apply(slot+writers, recs); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			var buf []byte
			for i := r; !stop.Load(); i++ {
				slot := uint16(i % (2 * writers))
				it, err := e.Fetch(buf[:0], slot, 0, key(i%50), "", 500)
				if err != nil {
					t.Error(err)
				}
				buf = it.Value
				for _, b := range it.Value {
					if b != 0 {
						t.Error("a torn value")
					}
				}
				switch i % 40 {
				case 0:
					e.Victims(nil, 4, nil)
				case 10:
					e.Expired(nil, 4, at(1500), nil)
				case 20:
					if _, _, err := e.Range(slot, store.Cursor{}, func(store.Record) bool { return !stop.Load() }); err != nil {
						t.Error(err)
					}
				case 30:
					if _, err := e.Digest(slot, 0, uint64(i)<<50); err != nil {
						t.Error(err)
					}
					e.Stats()
					e.SlotStats(slot)
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	readers.Wait()
	for slot := range uint16(2 * writers) {
		var sum store.Digest
		for _, r := range all(t, e, slot, 9) {
			sum.Sum += store.RecordHash(store.Hash(r.Kind, r.Key, r.Field), r.Version, r.Expiry, r.Sum())
			sum.Records++
		}
		if got := digest(t, e, slot); got != sum {
			t.Errorf("slot %d: digest %+v of records that add up to %+v", slot, got, sum)
		}
	}
}
