package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

const (
	bigLimit = 16 << 20
	bigCount = 4 * bigLimit / 550
	bigSlots = 64
)

func bigKey(i int) (slot uint16, key string) {
	return uint16(i % bigSlots), fmt.Sprintf("key-%020d", i)
}

func bigValue(i int, version uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", i, version), 1000/(len(fmt.Sprint(i, version))+2))[:500]
}

func withinLimit(t *testing.T, s *pebblestore.Store) {
	t.Helper()
	// Memory keeps up to two free slabs, and so small limits less exactly.
	if st := s.Stats(); st.Bytes > bigLimit+bigLimit/10+3<<20 {
		t.Fatalf("Stats = %+v, above the limit", st)
	}
	if s.Short(1000) {
		t.Fatal("Short, though values can be unloaded")
	}
}

func TestDatasetFourTimesTheLimit(t *testing.T) {
	opts := pebblestore.Options{FS: vfs.NewMem(), Limit: bigLimit}
	s := open(t, opts)
	versions := make([]uint64, bigCount)
	for i := range versions {
		slot, key := bigKey(i)
		versions[i] = uint64(i + 1)
		fail(t, s.Apply(slot, []store.Record{{Key: key, Value: bigValue(i, versions[i]), Version: versions[i]}}))
		if i%10000 == 0 {
			withinLimit(t, s)
		}
	}
	check := func(i int) {
		t.Helper()
		slot, key := bigKey(i)
		it, err := s.Fetch(nil, slot, 0, key, "", 0)
		fail(t, err)
		if it.State != store.Found || it.Version != versions[i] || !bytes.Equal(it.Value, bigValue(i, versions[i])) {
			t.Fatalf("Fetch(%s) = state %d version %d %.20q, want version %d", key, it.State, it.Version, it.Value, versions[i])
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	use := func() {
		unloaded := 0
		for n := range 20000 {
			i := rng.IntN(bigCount)
			slot, key := bigKey(i)
			it, err := s.Get(nil, slot, 0, key, "", 0)
			fail(t, err)
			if it.State == store.NotResident {
				unloaded++
			}
			switch n % 4 {
			case 0:
				versions[i] += bigCount
				fail(t, s.Update(slot, 0, key, "", 0, func(it store.Item) (store.Record, bool) {
					if it.State != store.Found || !bytes.Equal(it.Value, bigValue(i, versions[i]-bigCount)) {
						t.Errorf("Update of %s sees state %d version %d", key, it.State, it.Version)
					}
					return store.Record{Value: bigValue(i, versions[i]), Version: versions[i]}, true
				}))
			default:
				check(i)
			}
		}
		if unloaded < 5000 {
			t.Errorf("%d of 20000 random reads were not resident", unloaded)
		}
		withinLimit(t, s)
	}
	use()
	for range 2 {
		seen := 0
		for slot := range uint16(bigSlots) {
			im := imageOf(t, s, slot)
			seen += len(im.records)
		}
		if seen != bigCount {
			t.Errorf("Range saw %d records, want %d", seen, bigCount)
		}
		fail(t, s.Close())
		s = open(t, opts)
		withinLimit(t, s)
		use()
	}
}

func TestUnloadedRecordsAreSafeUnderConcurrentUse(t *testing.T) {
	s := newForgetful(open(t, pebblestore.Options{FS: vfs.NewMem()}))
	const keys = 200
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			slot := uint16(w)
			for i := range 3000 {
				key := fmt.Sprint(rng.IntN(keys))
				switch {
				case i%500 == 499:
					gen, err := s.Begin(slot)
					fail(t, err)
					d, err := s.Digest(slot, 0, ^uint64(0))
					fail(t, err)
					if ok, err := s.Confirm(slot, gen, 0, ^uint64(0), d); !ok || err != nil {
						t.Errorf("Confirm = %v, %v", ok, err)
					}
					fail(t, s.Commit(slot, gen))
				default:
					fail(t, s.Apply(slot, []store.Record{{Key: key, Value: []byte(key + " " + fmt.Sprint(i+1)), Version: uint64(i + 1)}}))
				}
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(4, uint64(w)))
			slot := uint16(w)
			for range 3000 {
				key := fmt.Sprint(rng.IntN(keys))
				it, err := s.Fetch(nil, slot, 0, key, "", 0)
				fail(t, err)
				if it.State == store.Found && string(it.Value) != key+" "+fmt.Sprint(it.Version) {
					t.Errorf("Fetch(%s) = %q at version %d", key, it.Value, it.Version)
				}
				if rng.IntN(50) == 0 {
					_, _, err := s.Range(slot, store.Cursor{}, func(r store.Record) bool {
						if string(r.Value) != r.Key+" "+fmt.Sprint(r.Version) {
							t.Errorf("Range sees %q at version %d of %q", r.Value, r.Version, r.Key)
						}
						return true
					})
					fail(t, err)
				}
			}
		})
	}
	wg.Wait()
	for slot := range uint16(2) {
		imageOf(t, s, slot)
	}
}

// The first value of a slot may be unloaded while somebody ranges over it.
func TestRangeSeesWhatIsUnloadedMeanwhile(t *testing.T) {
	for _, at := range []int{1, 10, 128, 129, 900} {
		s, err := pebblestore.Open(pebblestore.Options{Dir: "d", FS: vfs.NewMem()})
		fail(t, err)
		const records = 1000
		for i := range records {
			fail(t, s.Apply(1, []store.Record{{Key: fmt.Sprint(i), Value: []byte("some value that is longer than a stub"), Version: uint64(i + 1)}}))
		}
		seen := map[string]bool{}
		_, done, err := s.Range(1, store.Cursor{}, func(r store.Record) bool {
			if seen[r.Key] {
				t.Errorf("key %s is seen twice", r.Key)
			}
			if seen[r.Key] = true; len(seen) == at {
				s.UnloadAll()
			}
			return true
		})
		if err != nil || !done || len(seen) != records {
			t.Errorf("unloaded at %d: %d records of %d, done %v, %v", at, len(seen), records, done, err)
		}
		fail(t, s.Close())
	}
}

// Values can be unloaded, their stubs cannot: where those fill the memory they are
// victims, but not for all that is written from then on.
func TestStubsThatFillMemoryAreVictims(t *testing.T) {
	const (
		limit    = 16 << 20
		headroom = limit / 32
		slots    = 64
		most     = limit + limit/4 // what waits for a busy disk comes on top
	)
	s := open(t, pebblestore.Options{FS: vfs.NewMem(), Limit: limit, Fsync: pebblestore.Never})
	version, evicted := uint64(0), 0
	evict := func() (n int) {
		victims := s.Victims(nil, 1024, nil)
		for _, c := range victims {
			version++
			fail(t, s.Apply(c.Slot, []store.Record{{Kind: c.Kind, Key: c.Key, Field: c.Field, Version: version, Tombstone: true}}))
		}
		for slot := range uint16(slots) {
			fail(t, s.Purge(slot, version))
		}
		evicted += len(victims)
		return len(victims)
	}
	write := func(records, batch, size int) {
		for n := 0; n < records; n += batch {
			recs := make([]store.Record, batch)
			for i := range recs {
				version++
				recs[i] = store.Record{Key: fmt.Sprint(size, " ", n+i), Value: make([]byte, size), Version: version}
			}
			for s.Short(headroom) && evict() > 0 {
			}
			slot := uint16(n / batch % slots)
			err := s.Apply(slot, recs)
			for tries := 0; errors.Is(err, store.ErrNoMemory) && tries < 100; tries++ {
				evict()
				err = s.Apply(slot, recs)
			}
			if err != nil {
				t.Fatalf("record %d of %d bytes, %d evicted: %v", n, size, evicted, err)
			}
			key := recs[batch-1].Key
			if it, err := s.Fetch(nil, slot, 0, key, "", 0); err != nil || it.State != store.Found {
				t.Fatalf("%s is not there after it was written: %+v, %v", key, it, err)
			}
		}
	}
	write(350_000, 200, 40) // stubs of which take more than there is
	before := s.Stats()
	if evicted == 0 || before.Bytes > most {
		t.Errorf("%d evicted, %+v", evicted, before)
	}
	write(20_000, 20, 1000)
	if after := s.Stats(); after.Records < before.Records/3 || after.Bytes > most {
		t.Errorf("of %d records %d are left", before.Records, after.Records)
	}
}

// Of a large slot memory and disk are looked at piece by piece, whatever is where.
func TestRangeOfALargeSlotSeesAll(t *testing.T) {
	const records = 5000
	for _, unloaded := range []int{0, 1, records - 3, records} {
		s := open(t, pebblestore.Options{Dir: fmt.Sprint("data", unloaded), FS: vfs.NewMem(), Fsync: pebblestore.Never})
		recs := make([]store.Record, records)
		for i := range recs {
			recs[i] = store.Record{Key: fmt.Sprint(i), Value: make([]byte, i%1000), Version: uint64(i + 1)}
		}
		fail(t, s.Apply(1, recs[:unloaded]))
		s.UnloadAll()
		fail(t, s.Apply(1, recs[unloaded:]))
		var from store.Cursor
		seen, last := 0, uint64(0)
		for done := false; !done; {
			var err error
			stop := seen + 777
			from, done, err = s.Range(1, from, func(r store.Record) bool {
				if hash := store.Hash(r.Kind, r.Key, r.Field); hash < last {
					t.Errorf("%q is out of order", r.Key)
				} else {
					last = hash
				}
				seen++
				return seen < stop
			})
			fail(t, err)
		}
		if seen != records {
			t.Errorf("%d of %d records were seen, %d unloaded", seen, records, unloaded)
		}
	}
}
