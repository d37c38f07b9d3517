package store_test

import (
	"errors"
	"math"
	"runtime"
	"strconv"
	"testing"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/storetest"
)

func TestMemoryConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Engine { return store.NewMemory(store.MemoryOptions{}) })
}

func TestModelConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Engine { return newModel() })
}

// alike returns records of keys that were made to have hashes that begin alike, and an
// engine of which a page holds most of them.
func alike(n, most int) ([]store.Record, *store.Memory) {
	m := store.NewMemory(store.MemoryOptions{})
	m.SplitAt(4)
	m.HoldAtMost(most)
	var recs []store.Record
	for i := 0; len(recs) < n; i++ {
		if key := strconv.Itoa(i); store.Hash(0, key, "")>>51 == 5 {
			recs = append(recs, store.Record{Key: key, Value: []byte("v"), Version: uint64(len(recs) + 1)})
		}
	}
	return recs, m
}

// One too many is refused, and those that are there can still be written and deleted.
func TestKeysWithHashesAlike(t *testing.T) {
	const most = 40
	recs, m := alike(most+1, most)
	for i := range most {
		if err := m.Apply(1, recs[i:i+1]); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if err := m.Apply(1, recs[most:]); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many: %v", err)
	}
	err := m.Update(1, 0, recs[most].Key, "", 0, func(store.Item) (store.Record, bool) { return store.Record{Version: 1000}, true })
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many by Update: %v", err)
	}
	recs[3].Version, recs[4].Version, recs[4].Tombstone = 1001, 1002, true
	if err := m.Apply(1, recs[:most]); err != nil {
		t.Errorf("those that are there: %v", err)
	}
	if n := m.SlotStats(1).Records; n != most {
		t.Errorf("%d records, want %d", n, most)
	}
}

// However they come: all at once, into a generation, as stubs from a disk, and from the
// current records to others that are in a generation already. What is stored is what
// it was before.
func TestKeysWithHashesAlikeByOtherWays(t *testing.T) {
	const most = 40
	for _, tt := range []struct {
		name string
		do   func(m *store.Memory, recs []store.Record) error
		left int
	}{
		{"one batch", func(m *store.Memory, recs []store.Record) error { return m.Apply(1, recs) }, 0},
		{"one batch among others", func(m *store.Memory, recs []store.Record) error {
			for i := range 1000 {
				recs = append(recs, store.Record{Key: "other" + strconv.Itoa(i), Version: 1})
			}
			return m.Apply(1, recs)
		}, 0},
		{"a generation", func(m *store.Memory, recs []store.Record) error {
			gen, err := m.Begin(1)
			return errors.Join(err, m.ApplyTo(1, gen, recs))
		}, 0},
		{"stubs", func(m *store.Memory, recs []store.Record) (err error) {
			for i := 0; i < len(recs) && err == nil; i++ {
				err = m.LoadStub(1, recs[i], 1)
			}
			return err
		}, most},
		{"confirmed", func(m *store.Memory, recs []store.Record) error { return confirm(m, recs, 25, nil) }, 25},
		{"confirmed stubs", func(m *store.Memory, recs []store.Record) error { return confirm(m, recs, 25, m.Unload) }, 25},
	} {
		recs, m := alike(most+1, most)
		if err := tt.do(m, recs); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := m.SlotStats(1).Records; n != tt.left {
			t.Errorf("%s: %d records are left, want %d", tt.name, n, tt.left)
		}
		seen := 0
		if _, _, err := m.Range(1, store.Cursor{}, func(store.Record) bool { seen++; return true }); err != nil {
			t.Errorf("%s: %d seen, %v", tt.name, seen, err)
		}
	}
	recs, m := alike(most, most) // which are in the generation before they are confirmed
	if err := errors.Join(m.Apply(1, recs), confirm(m, recs, 0, nil)); err != nil {
		t.Errorf("all that there may be: %v", err)
	}
}

// confirm stores the first n records, begins a generation of the others and confirms
// those that were stored, unloaded if unload is not nil.
func confirm(m *store.Memory, recs []store.Record, n int, unload func(store.Address, uint64) bool) error {
	err := m.Apply(1, recs[:n])
	gen, err2 := m.Begin(1)
	err = errors.Join(err, err2, m.ApplyTo(1, gen, recs[n:]))
	for i := 0; i < n && unload != nil; i++ {
		if !unload(store.Address{Slot: 1, Key: recs[i].Key}, recs[i].Version) {
			return errors.New("not unloaded")
		}
	}
	d, err2 := m.Digest(1, 0, math.MaxUint64)
	ok, err3 := m.Confirm(1, gen, 0, math.MaxUint64, d)
	if err = errors.Join(err, err2, err3); err == nil && !ok {
		return errors.New("not confirmed")
	}
	return err
}

// A table is cleared without its slot's lock, some of it at a time: Close waits.
func TestCloseWaitsForWhoClears(t *testing.T) {
	recs := make([]store.Record, 30_000)
	for i := range recs {
		recs[i] = store.Record{Key: strconv.Itoa(i), Version: 1}
	}
	for name, clear := range map[string]func(m *store.Memory) error{
		"Drop": func(m *store.Memory) error { return m.Drop(1) },
		"Commit": func(m *store.Memory) error {
			gen, err := m.Begin(1)
			return errors.Join(err, m.Commit(1, gen))
		},
	} {
		m := store.NewMemory(store.MemoryOptions{})
		if err := m.Apply(1, recs); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- clear(m) }()
		for m.SlotStats(1).Records > 0 {
			runtime.Gosched()
		}
		if err := errors.Join(m.Close(), <-done); err != nil {
			t.Errorf("%s beside Close: %v", name, err)
		}
	}
}
