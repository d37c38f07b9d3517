package store_test

import (
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// liveBytes is what all that is live in an engine takes.
func liveBytes(m *store.Memory) int64 {
	cells, _ := m.Live()
	return cells
}

func nowIs(now int64) func(uint16) int64 { return func(uint16) int64 { return now } }

// A clock that was years ahead, and is set, does not keep records from expiring.
func TestRecordsExpireOnceTheClockIsSetBack(t *testing.T) {
	const year, start = 365 * 86_400_000, 1 << 40
	m := store.NewMemory(store.MemoryOptions{Limit: 16 << 20})
	defer m.Close()
	set := func(key string, expiry int64) {
		if err := m.Apply(1, []store.Record{{Key: key, Version: 1, Expiry: expiry}}); err != nil {
			t.Fatal(err)
		}
	}
	set("then", start+5*year)
	set("soon", start+year)
	if got := m.Expired(nil, 10, nowIs(start+2*year), nil); len(got) != 1 || got[0].Key != "soon" {
		t.Errorf("Expired two years ahead = %+v, want soon", got)
	}
	set("again", start+1000)
	seen := map[string]bool{}
	for now := int64(start); now < start+10_000; now += 250 {
		for _, c := range m.Expired(nil, 10, nowIs(now), nil) {
			if seen[c.Key] = true; c.Key != "again" || now < start+1000 {
				t.Errorf("Expired after %d ms = %+v", now-start, c)
			}
		}
	}
	if !seen["again"] {
		t.Error("what expired a second after the clock was set did not come up")
	}
}

// Records that are deleted long before they expire leave words in the wheel. They are
// swept out, and what expires is found nevertheless.
func TestDeletedRecordsLeaveTheWheel(t *testing.T) {
	for _, batch := range []int{1, 100} {
		t.Run(strconv.Itoa(batch), func(t *testing.T) { deletedRecordsLeaveTheWheel(t, batch) })
	}
}

func deletedRecordsLeaveTheWheel(t *testing.T, batch int) {
	const day = 86_400_000
	m := store.NewMemory(store.MemoryOptions{Limit: 16 << 20})
	defer m.Close()
	now := int64(1 << 40)
	m.Expired(nil, 1, nowIs(now), nil)
	kept := make([]store.Record, 5000)
	for i := range kept {
		kept[i] = store.Record{Key: "kept" + strconv.Itoa(i), Version: 1, Expiry: now + int64(i)*day/5000 + 1}
	}
	if err := m.Apply(0, kept); err != nil {
		t.Fatal(err)
	}
	before := liveBytes(m)
	there, gone := make([]store.Record, batch), make([]store.Record, batch)
	for i := range 80_000 / batch {
		for j := range batch {
			n := i*batch + j
			there[j] = store.Record{Key: strconv.Itoa(n), Version: uint64(2*n + 1), Expiry: now + int64(n%100+1)*day}
			gone[j] = store.Record{Key: there[j].Key, Version: uint64(2*n + 2), Tombstone: true}
		}
		slot := uint16(1 + i%100)
		if err := errors.Join(m.Apply(slot, there), m.Apply(slot, gone), m.Purge(slot, gone[batch-1].Version)); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		if n := (i + 1) * batch; n%100 != 0 {
			continue // it takes long to count
		}
		if took := liveBytes(m) - before; took > 400<<10 {
			t.Fatalf("%d bytes for words of records deleted", took)
		}
	}
	found := map[string]bool{}
	for end := now + 2*day; now < end; now += day / 1000 {
		for _, c := range m.Expired(nil, 512, nowIs(now), nil) {
			found[c.Key] = true
			if err := m.Apply(c.Slot, []store.Record{{Key: c.Key, Version: c.Version + 1, Tombstone: true}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(found) != len(kept) {
		t.Errorf("%d records expired, want %d", len(found), len(kept))
	}
}

// A stub in a generation shares its word with the slot's: they come up, and are filed
// again, without end while the slot is not asked for.
func TestStubsShareAWord(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{})
	defer m.Close()
	for i := range 10 {
		key := strconv.Itoa(i)
		err := m.Apply(1, []store.Record{{Key: key, Version: 1, Expiry: 5000}})
		if err != nil || !m.Unload(store.Address{Slot: 1, Key: key}, 1) {
			t.Fatal("not unloaded", err)
		}
	}
	d, _ := m.Digest(1, 0, math.MaxUint64)
	gen, err := m.Begin(1)
	if ok, err2 := m.Confirm(1, gen, 0, math.MaxUint64, d); !ok {
		t.Fatal(err, err2)
	}
	now, before := int64(0), liveBytes(m)
	for ; now < 200_000; now += 1000 {
		if c := m.Expired(nil, 512, nowIs(now), func(uint16) bool { return false }); len(c) > 0 {
			t.Fatalf("%v of a slot not asked for", c)
		}
	}
	if took := liveBytes(m) - before; took > 2048 {
		t.Errorf("20 stubs take %d bytes of the wheel more", took)
	}
	if err := m.Commit(1, gen); err != nil {
		t.Fatal(err)
	}
	found := map[uint64]int{}
	for end := now + 4500; now < end; now += 500 {
		for _, c := range m.Expired(nil, 512, nowIs(now), nil) {
			found[c.Hash]++
		}
	}
	for hash, times := range found {
		if times != 1 {
			t.Errorf("stub %x was proposed %d times in a round", hash, times)
		}
	}
	if len(found) != 10 {
		t.Errorf("%d stubs expired, want 10", len(found))
	}
	if err := m.Drop(1); err != nil {
		t.Fatal(err)
	}
	for end := now + 20_000; now < end; now += 1000 {
		m.Expired(nil, 512, nowIs(now), nil)
	}
	if left := liveBytes(m); left != 0 {
		t.Errorf("%d bytes are left of nothing", left)
	}
}

// Records that are written again and again, and unloaded each time, are found by the
// words that their stubs had.
func TestRewrittenStubsKeepTheirWords(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{})
	defer m.Close()
	const hour = 3_600_000
	last, expiry := uint64(5000), int64(0)
	for v := uint64(1); v <= last; v++ {
		expiry = hour + int64(v)
		for _, key := range []string{"a", "b"} {
			if err := m.Apply(1, []store.Record{{Key: key, Version: v, Expiry: expiry}}); err != nil {
				t.Fatal(err)
			}
			if v < last && !m.Unload(store.Address{Slot: 1, Key: key}, v) {
				t.Fatal("not unloaded")
			}
		}
	}
	if took := liveBytes(m); took > 2048 {
		t.Errorf("two records take %d bytes", took)
	}
	found := map[string]bool{}
	for now := int64(0); now < expiry+4096; now += 1000 {
		for _, c := range m.Expired(nil, 10, nowIs(now), nil) {
			if now < expiry || c.Version != last {
				t.Errorf("%+v expired at %d, want it at %d", c, now, expiry)
			}
			found[c.Key] = true
		}
	}
	if len(found) != 2 {
		t.Errorf("%v expired, want both", found)
	}
}

// What a sweep has taken out of the wheel, and looks at while others write, does not
// hold up what expires.
func TestRecordsExpireDuringASweep(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{})
	defer m.Close()
	m.SweepEarly()
	far := make([]store.Record, 5000)
	for i := range far {
		far[i] = store.Record{Key: strconv.Itoa(i), Version: 1, Expiry: 30 * 86_400_000}
	}
	near := []store.Record{{Key: "near", Version: 1, Expiry: 3000}}
	if err := errors.Join(m.Apply(1, far), m.Apply(2, near), m.Apply(2, []store.Record{{Key: "other", Version: 2}})); err != nil {
		t.Fatal(err)
	}
	if got := m.Expired(nil, 10, nowIs(5000), nil); len(got) != 1 || got[0].Key != "near" {
		t.Errorf("expired are %+v, want the record that has", got)
	}
}
