package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// Writers, readers, compaction, eviction and drops at once, in little memory:
// nobody sees a value of another key or a torn one. It is for the race detector.
func TestConcurrentUseOfAFullEngine(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{Limit: 12 << 20})
	defer m.Close()
	m.SweepEarly()
	const writers, slots, keys = 4, 64, 400
	rounds := 2000
	if testing.Short() {
		rounds = 300
	}
	value := func(k, size int) []byte { return bytes.Repeat([]byte{byte(k)}, size) }
	var wg, others sync.WaitGroup
	var stop atomic.Bool
	var stored atomic.Int64
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for v := uint64(1); v < uint64(rounds); v++ {
				slot := uint16(w + writers*rng.IntN(slots/writers)) // a slot has one writer
				k := rng.IntN(keys)
				size := rng.IntN(1 << rng.IntN(17))
				err := m.Apply(slot, []store.Record{{Key: fmt.Sprint(k), Value: value(k, size), Version: v, Expiry: int64(rng.IntN(2) * 5000)}})
				switch {
				case err == nil:
					stored.Add(1)
				case !errors.Is(err, store.ErrNoMemory):
					t.Error(err)
				}
				for _, c := range m.Victims(nil, 4, func(s uint16) bool { return int(s)%writers == w && m.Short(100_000) }) {
					err := m.Update(c.Slot, c.Kind, c.Key, c.Field, 0, func(it store.Item) (store.Record, bool) {
						return store.Record{Tombstone: true, Version: it.Version + 1}, it.Version == c.Version
					})
					if err == nil {
						err = m.Purge(c.Slot, 1<<62)
					}
					if err != nil {
						t.Error(err)
					}
				}
				switch rng.IntN(500) {
				case 0:
					m.Drop(slot)
				case 1:
					gen, _ := m.Begin(slot)
					d, _ := m.Digest(slot, 0, 1<<63)
					if ok, err := m.Confirm(slot, gen, 0, 1<<63, d); !ok && !errors.Is(err, store.ErrNoMemory) {
						t.Errorf("Confirm = %v, %v", ok, err)
					}
					if err := m.Commit(slot, gen); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for r := range 2 {
		others.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(r)))
			var buf []byte
			for !stop.Load() {
				slot, k := uint16(rng.IntN(slots)), rng.IntN(keys)
				it, err := m.Get(buf[:0], slot, 0, fmt.Sprint(k), "", 0)
				if err != nil || bytes.Count(it.Value, []byte{byte(k)}) != len(it.Value) {
					t.Errorf("key %d: %v, a value of others", k, err)
				}
				buf = it.Value
				switch rng.IntN(1000) {
				case 0:
					m.Range(slot, store.Cursor{}, func(r store.Record) bool {
						var k int
						fmt.Sscan(r.Key, &k)
						if bytes.Count(r.Value, []byte{byte(k)}) != len(r.Value) {
							t.Errorf("key %d: Range saw a value of others", k)
						}
						return true
					})
				case 1:
					m.Compact()
				case 2:
					m.Expired(nil, 10, func(uint16) int64 { return 10_000 }, nil)
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	others.Wait()
	if n := stored.Load(); n < int64(rounds) {
		t.Errorf("only %d of %d writes found room", n, rounds*writers)
	}
	if cells, charged := m.Live(); cells != charged {
		t.Errorf("%d bytes in live cells, %d charged", cells, charged)
	}
}

// A key that is always there is never missed, whatever happens around it in
// its slot, and its value is that of its version.
func TestReadsBesideWritesAreWhole(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{})
	defer m.Close()
	m.SplitAt(16)
	const slot, kept = 7, 20
	wanted := int64(500_000)
	if testing.Short() {
		wanted = 20_000
	}
	keptKey := func(i int) string { return fmt.Sprint("kept", i) }
	value := func(version uint64) []byte {
		return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, version), 500+int(version>>10%8))
	}
	version := uint64(0)
	write := func(r store.Record) {
		version++
		r.Version = version
		if !r.Tombstone {
			r.Value = value(version)
		}
		if err := m.Apply(slot, []store.Record{r}); err != nil {
			t.Error(err)
		}
	}
	for i := range kept {
		write(store.Record{Key: keptKey(i)})
	}
	var readers sync.WaitGroup
	var reads atomic.Int64
	for r := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(r)))
			seen := [kept]uint64{}
			var buf []byte
			for reads.Add(1) < wanted && !t.Failed() {
				i := rng.IntN(kept)
				it, err := m.Get(buf[:0], slot, 0, keptKey(i), "", 1)
				switch {
				case err != nil || it.State != store.Found || it.Version < seen[i] || !bytes.Equal(it.Value, value(it.Version)):
					t.Errorf("Get(%s) = state %d version %d after %d, %d bytes, %v", keptKey(i), it.State, it.Version, seen[i], len(it.Value), err)
					return
				case rng.IntN(100) == 0:
					if it, err := m.Get(nil, slot, 0, "never", "", 1); err != nil || it.State != store.Absent || it.Value != nil {
						t.Errorf("Get of what never was = %+v, %v", it, err)
					}
				}
				seen[i], buf = it.Version, it.Value
			}
		})
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for reads.Load() < wanted && !t.Failed() {
		other := fmt.Sprint("other", rng.IntN(200))
		switch n := rng.IntN(1000); {
		case n < 800:
			write(store.Record{Key: keptKey(rng.IntN(kept)), Expiry: int64(rng.IntN(2)) << 40, Schema: uint32(rng.IntN(2))})
		case n < 900:
			write(store.Record{Key: other})
		case n < 990:
			write(store.Record{Key: other, Tombstone: true})
		case n < 998:
			if err := m.Purge(slot, version); err != nil {
				t.Error(err)
			}
		default:
			m.Compact()
		}
	}
	readers.Wait()
}

func TestGetAllocs(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{Limit: 64 << 20})
	defer m.Close()
	recs := []store.Record{{Key: "key", Field: "field", Value: make([]byte, 100), Version: 1, Expiry: 10}}
	if err := m.Apply(1, recs); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(1000, func() { m.Get(buf, 1, 0, "key", "field", 5) }); n != 0 {
		t.Errorf("Get allocates %v times, want 0", n)
	}
	recs[0].Field, recs[0].Version = "", 2
	if err := m.Apply(1, recs); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { m.Get(buf, 1, 0, "key", "", 5) }); n != 0 {
		t.Errorf("Get without a field allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		recs[0].Version++
		m.Apply(1, recs)
	}); n != 0 {
		t.Errorf("Apply over a record allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(1000, func() { m.Short(100) }); n != 0 {
		t.Errorf("Short allocates %v times, want 0", n)
	}
}

func TestIdleEngineIsSmall(t *testing.T) {
	m := store.NewMemory(store.MemoryOptions{Limit: 1 << 30})
	defer m.Close()
	if got := m.Stats().Bytes; got > 1<<20 {
		t.Errorf("an empty engine holds %d bytes", got)
	}
	for slot := range uint16(store.Slots) {
		if _, err := m.Get(nil, slot, 0, "a", "", 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Stats().Bytes; got > 1<<20 {
		t.Errorf("an engine that was only read holds %d bytes", got)
	}
}
