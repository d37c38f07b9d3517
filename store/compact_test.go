package store_test

import (
	"fmt"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// Indexes that grow leave cells of many sizes behind, few of which are ever used again.
func TestIndexesAreCompacted(t *testing.T) {
	const slots, keys = 2000, 100
	m := store.NewMemory(store.MemoryOptions{})
	defer m.Close()
	m.SplitAt(32) // some slots get directories
	for i := range keys {
		for slot := range uint16(slots) {
			if i < 10 || int(slot)%keys > i { // in the end all sizes are there
				if err := m.Apply(slot, []store.Record{{Key: fmt.Sprint(i), Version: 1}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	wasted := func() int64 {
		live, _ := m.Live()
		return m.Held() - live
	}
	before := wasted()
	for range 100 {
		m.Compact()
	}
	if after := wasted(); after > before/2 {
		t.Errorf("%d bytes are wasted after compaction, %d before", after, before)
	}
	for slot := range uint16(slots) {
		for i := range keys {
			it, err := m.Get(nil, slot, 0, fmt.Sprint(i), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			if want := i < 10 || int(slot)%keys > i; (it.State == store.Found) != want {
				t.Fatalf("slot %d key %d: %+v, stored %t", slot, i, it, want)
			}
		}
	}
}
