package node

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

const testSlot = 7

// changed fills two engines with the same records, and then lets one of them
// miss some news: records rewritten, added and removed.
func changed(t *testing.T, records, news int) (primary, learner store.Engine) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(records), uint64(news)))
	primary, learner = store.NewMemory(store.MemoryOptions{}), store.NewMemory(store.MemoryOptions{})
	version := uint64(0)
	put := func(key string, engines ...store.Engine) {
		version++
		for _, e := range engines {
			if err := e.Apply(testSlot, []store.Record{{Key: key, Value: fmt.Append(nil, version), Version: version}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range records {
		put(fmt.Sprint("key", i), primary, learner)
	}
	for i := range news {
		key := fmt.Sprint("key", rng.IntN(records))
		switch i % 10 {
		case 0:
			version++
			if err := primary.Apply(testSlot, []store.Record{{Key: key, Tombstone: true, Version: version}}); err != nil {
				t.Fatal(err)
			}
		case 1:
			put(fmt.Sprint("late", i), primary)
		case 2:
			put(fmt.Sprint("leftover", i), learner)
		default:
			put(key, primary)
		}
	}
	if err := primary.Purge(testSlot, version); err != nil {
		t.Fatal(err)
	}
	return primary, learner
}

// What digests of ranges confirm and what the others hold make the primary's
// slot again, leftovers excluded.
func TestRangesMakeTheSlotAgain(t *testing.T) {
	for _, tt := range []struct{ records, news int }{{1, 1}, {3, 0}, {5, 3}, {100, 10}, {100, 300}, {3000, 30}, {20_000, 2000}} {
		t.Run(fmt.Sprint(tt.records, " records, ", tt.news, " news"), func(t *testing.T) {
			primary, learner := changed(t, tt.records, tt.news)
			gen, err := learner.Begin(testSlot)
			if err != nil {
				t.Fatal(err)
			}
			sent := 0
			for w := newWalk(primary.SlotStats(testSlot).Records); !w.over(); {
				if err := w.advance(primary, testSlot); err != nil {
					t.Fatal(err)
				}
				l, ok := unpackRanges(w.list.span, uint64(len(w.list.digests)), w.list.pack(nil))
				if !ok || !slices.Equal(l.digests, w.list.digests) {
					t.Fatalf("a list of %d ranges does not survive packing", len(w.list.digests))
				}
				wanted, err := l.confirm(learner, testSlot, gen)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range w.list.spans(wanted) {
					_, _, err := primary.Range(testSlot, placeBefore(s.lo), func(r store.Record) bool {
						if h := store.Hash(r.Kind, r.Key, r.Field); h < s.lo || h > s.hi {
							return false
						}
						sent++
						return learner.ApplyTo(testSlot, gen, []store.Record{own(r)}) == nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := learner.Commit(testSlot, gen); err != nil {
				t.Fatal(err)
			}
			want, _ := primary.Digest(testSlot, 0, math.MaxUint64)
			if got, _ := learner.Digest(testSlot, 0, math.MaxUint64); got != want {
				t.Errorf("the learner has %+v, the primary %+v", got, want)
			}
			if most := want.Records*3/20 + 5; tt.news*10 <= tt.records && sent > most {
				t.Errorf("%d of %d records sent for %d news, want at most %d", sent, want.Records, tt.news, most)
			}
		})
	}
}

// FuzzUnpackRanges lets a peer send any list: it is refused, or its ranges
// cover the span without a gap.
func FuzzUnpackRanges(f *testing.F) {
	l := rangeList{span{0, math.MaxUint64}, []store.Digest{{Sum: 1, Records: 1}, {}, {Sum: 9, Records: 300}}}
	f.Add(l.lo, l.hi, uint64(3), l.pack(nil))
	f.Add(uint64(5), uint64(6), uint64(2), []byte{0, 0})
	f.Add(uint64(5), uint64(4), uint64(1), []byte{0})
	f.Fuzz(func(t *testing.T, lo, hi, n uint64, b []byte) {
		l, ok := unpackRanges(span{lo, hi}, n, b)
		if !ok {
			return
		}
		if len(l.digests) > maxRanges {
			t.Fatalf("%d ranges", len(l.digests))
		}
		next := lo
		for i := range l.digests {
			r := l.at(i)
			if r.lo != next || r.hi < r.lo {
				t.Fatalf("range %d is %+v, want it to begin at %d", i, r, next)
			}
			next = r.hi + 1
		}
		if next != hi+1 {
			t.Fatalf("the ranges end at %d, want %d", next-1, hi)
		}
		e := store.NewMemory(store.MemoryOptions{})
		gen, err := e.Begin(testSlot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.confirm(e, testSlot, gen); err != nil {
			t.Fatal(err)
		}
		l.spans(b)
	})
}
