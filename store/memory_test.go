package store_test

import (
	"errors"
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

// Keys may be made to have hashes that begin alike. One too many is refused, and those
// that are there can still be written and deleted.
func TestKeysWithHashesAlike(t *testing.T) {
	const most = 40
	m := store.NewMemory(store.MemoryOptions{})
	m.SplitAt(4)
	m.HoldAtMost(most)
	var keys []string
	for i := 0; len(keys) <= most; i++ {
		if key := strconv.Itoa(i); store.Hash(0, key, "")>>51 == 5 {
			keys = append(keys, key)
		}
	}
	apply := func(i, version int, tombstone bool) error {
		return m.Apply(1, []store.Record{{Key: keys[i], Value: []byte("v"), Version: uint64(version), Tombstone: tombstone}})
	}
	for i := range most {
		if err := apply(i, i+1, false); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if err := apply(most, 1000, false); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many: %v", err)
	}
	err := m.Update(1, 0, keys[most], "", 0, func(store.Item) (store.Record, bool) { return store.Record{Version: 1000}, true })
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many by Update: %v", err)
	}
	if err := errors.Join(apply(3, 1001, false), apply(4, 1002, true)); err != nil {
		t.Errorf("those that are there: %v", err)
	}
	if n := m.SlotStats(1).Records; n != most {
		t.Errorf("%d records, want %d", n, most)
	}
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
