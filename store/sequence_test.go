package store_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/slotmesh/slotmesh/store"
)

// draw picks a number in [0, n).
type draw func(n int) int

// sequence runs operations on a Memory and the model and compares what they
// answer.
type sequence struct {
	t    rapid.TB
	pick draw
	mem  *store.Memory
	ref  *model
	now  int64
	next uint64 // version
	gens [3][2]store.Generation
}

func newSequence(t rapid.TB, pick draw) *sequence {
	s := &sequence{t: t, pick: pick, mem: store.NewMemory(store.MemoryOptions{}), ref: newModel()}
	if pick(2) == 0 {
		s.mem.SplitAt(4 + pick(20))
		s.mem.SweepEarly()
	}
	return s
}

func (s *sequence) run(steps int) {
	defer s.mem.Close()
	for range steps {
		s.step()
	}
	for slot := range uint16(3) {
		s.compare(slot)
	}
	if cells, charged := s.mem.Live(); cells != charged {
		s.t.Fatalf("%d bytes in live cells, %d charged", cells, charged)
	}
	for slot := range uint16(3) {
		s.mem.Drop(slot)
	}
	s.mem.Expired(nil, 1<<20, func(uint16) int64 { return 1 << 46 }, nil)
	if cells, _ := s.mem.Live(); cells != 0 {
		s.t.Fatalf("%d bytes in live cells of an empty engine", cells)
	}
}

func (s *sequence) slot() uint16 { return uint16(s.pick(3)) }

func (s *sequence) key() string { return fmt.Sprintf("k%d", s.pick(1<<s.pick(11))) }

func (s *sequence) record() store.Record {
	s.next++
	r := store.Record{Kind: uint8(s.pick(8) / 7), Key: s.key(), Version: s.next}
	if s.pick(4) == 0 {
		r.Version -= uint64(s.pick(int(min(s.next, 20))))
	}
	if s.pick(8) == 0 {
		r.Field = "f"
	}
	if s.pick(16) == 0 {
		r.Origin = r.Version + 1
	}
	if s.pick(4) == 0 {
		r.Tombstone = true
		return r
	}
	if s.pick(3) == 0 {
		r.Expiry = s.now + int64(s.pick(1<<s.pick(30))) + 1
	}
	if s.pick(16) == 0 {
		r.Schema = uint32(s.pick(1 << 30))
	}
	size := s.pick(1 << s.pick(10))
	if s.pick(64) == 0 {
		size = s.pick(400_000)
	}
	r.Value = bytes.Repeat([]byte{byte(r.Version)}, size)
	return r
}

func (s *sequence) records() []store.Record {
	recs := make([]store.Record, 1+s.pick(1<<s.pick(7)))
	for i := range recs {
		recs[i] = s.record()
	}
	return recs
}

func (s *sequence) step() {
	slot := s.slot()
	switch s.pick(24) {
	default:
		recs := s.records()
		s.same("Apply", s.mem.Apply(slot, recs), s.ref.Apply(slot, recs))
	case 0:
		r := s.record()
		s.both("Update", func(e store.Engine) (res []any) {
			res = append(res, e.Update(slot, r.Kind, r.Key, r.Field, s.now, func(it store.Item) (store.Record, bool) {
				res = append(res, it.State, it.Version, it.Origin, it.Expiry, it.Schema, string(it.Value))
				out := r
				if it.State == store.Found && r.Version%2 == 0 {
					out.Value = it.Value[len(it.Value)/2:] // a part of what fn was shown
				}
				return out, r.Version%3 != 0
			}))
			return res
		})
	case 1, 2, 3, 4:
		r := s.record()
		s.both("Get", func(e store.Engine) []any {
			it, err := e.Get(nil, slot, r.Kind, r.Key, r.Field, s.now)
			return []any{it.State, it.Version, it.Origin, it.Expiry, it.Schema, string(it.Value), err}
		})
	case 5:
		a, b := s.mem, s.ref
		ga, _ := a.Begin(slot)
		gb, _ := b.Begin(slot)
		s.gens[slot] = [2]store.Generation{ga, gb}
	case 6, 7:
		recs := s.records()
		s.same("ApplyTo", s.mem.ApplyTo(slot, s.gens[slot][0], recs), s.ref.ApplyTo(slot, s.gens[slot][1], recs))
	case 8:
		lo := uint64(s.pick(1<<30)) << 34
		hi := lo + uint64(s.pick(1<<30))<<32
		want, _ := s.ref.Digest(slot, lo, hi)
		a, errA := s.mem.Confirm(slot, s.gens[slot][0], lo, hi, want)
		b, errB := s.ref.Confirm(slot, s.gens[slot][1], lo, hi, want)
		s.same("Confirm", errA, errB)
		s.same("Confirm", a, b)
	case 9:
		if s.pick(2) == 0 {
			s.same("Commit", s.mem.Commit(slot, s.gens[slot][0]), s.ref.Commit(slot, s.gens[slot][1]))
		} else {
			s.same("Abort", s.mem.Abort(slot, s.gens[slot][0]), s.ref.Abort(slot, s.gens[slot][1]))
		}
	case 10:
		floor := uint64(s.pick(int(s.next) + 1))
		s.same("Purge", s.mem.Purge(slot, floor), s.ref.Purge(slot, floor))
	case 19:
		s.thin(slot)
	case 11:
		if s.pick(8) == 0 {
			s.same("Drop", s.mem.Drop(slot), s.ref.Drop(slot))
		}
	case 12:
		s.compare(slot)
	case 13:
		s.now += int64(s.pick(1 << s.pick(24)))
		s.expire()
	case 14:
		s.evict(slot)
	case 15, 16:
		s.unload(slot)
	case 17:
		s.mem.Compact()
	case 18:
		s.confirmStubs(slot)
	}
}

func (s *sequence) both(call string, fn func(store.Engine) []any) {
	s.t.Helper()
	s.same(call, fmt.Sprint(fn(s.mem)), fmt.Sprint(fn(s.ref)))
}

func (s *sequence) same(call string, got, want any) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("%s = %.300v, model says %.300v", call, got, want)
	}
}

// compare compares all that can be asked about a slot.
func (s *sequence) compare(slot uint16) {
	s.both("MaxVersion", func(e store.Engine) []any { return []any{e.MaxVersion(slot)} })
	s.both("SlotStats", func(e store.Engine) []any {
		st := e.SlotStats(slot)
		return []any{st.Records, st.Tombstones}
	})
	lo := uint64(s.pick(1<<30)) << 34
	s.both("Digest", func(e store.Engine) []any {
		whole, err := e.Digest(slot, 0, ^uint64(0))
		part, _ := e.Digest(slot, lo, lo+1<<62)
		return []any{whole, part, err}
	})
	step := 1 + s.pick(300)
	s.both("Range", func(e store.Engine) (res []any) {
		var cur store.Cursor
		for done := false; !done; {
			n := 0
			cur, done, _ = e.Range(slot, cur, func(r store.Record) bool {
				res = append(res, r.Kind, r.Key, r.Field, r.Tombstone, r.Version, r.Origin, r.Expiry, r.Schema, len(r.Value))
				if len(r.Value) > 0 && r.Value[len(r.Value)/2] != r.Value[0] {
					s.t.Fatal("a torn value")
				}
				n++
				return n < step
			})
		}
		return res
	})
}

func (s *sequence) expire() {
	now := func(uint16) int64 { return s.now }
	for _, c := range s.mem.Expired(nil, 1+s.pick(50), now, nil) {
		it, _ := s.ref.Get(nil, c.Slot, c.Kind, c.Key, c.Field, s.now)
		if it.State != store.Expired || it.Version != c.Version {
			s.t.Fatalf("Expired proposes %+v, which is state %d version %d", c, it.State, it.Version)
		}
		s.delete(c)
	}
}

func (s *sequence) evict(slot uint16) {
	for _, c := range s.mem.Victims(nil, 1+s.pick(8), func(n uint16) bool { return n == slot }) {
		it, _ := s.ref.Get(nil, c.Slot, c.Kind, c.Key, c.Field, 0)
		if it.State != store.Found || it.Version != c.Version || c.Slot != slot {
			s.t.Fatalf("Victims proposes %+v, which is state %d version %d", c, it.State, it.Version)
		}
		if s.pick(2) == 0 {
			s.delete(c)
		}
	}
}

func (s *sequence) delete(c store.Candidate) {
	s.next++
	recs := []store.Record{{Kind: c.Kind, Key: c.Key, Field: c.Field, Tombstone: true, Version: max(s.next, c.Version+1)}}
	s.same("Apply", s.mem.Apply(c.Slot, recs), s.ref.Apply(c.Slot, recs))
}

// thin deletes and purges most records of a slot.
func (s *sequence) thin(slot uint16) {
	if s.pick(4) != 0 {
		return
	}
	var recs []store.Record
	s.ref.Range(slot, store.Cursor{}, func(r store.Record) bool {
		if s.pick(16) != 0 {
			s.next++
			recs = append(recs, store.Record{Kind: r.Kind, Key: r.Key, Field: r.Field, Tombstone: true, Version: max(s.next, r.Version+1)})
		}
		return true
	})
	s.same("Apply", s.mem.Apply(slot, recs), s.ref.Apply(slot, recs))
	s.same("Purge", s.mem.Purge(slot, s.next), s.ref.Purge(slot, s.next))
	s.compare(slot)
}

// unload unloads a victim, compares what a stub is to tell, and loads it again.
func (s *sequence) unload(slot uint16) {
	for _, c := range s.mem.Victims(nil, 1+s.pick(20), func(n uint16) bool { return n == slot }) {
		if !s.mem.Unload(c.Address, c.Version) {
			s.t.Fatalf("Unload(%+v) = false", c)
		}
		it, _ := s.mem.Get(nil, c.Slot, c.Kind, c.Key, c.Field, 0)
		if it.State != store.NotResident || it.Version != c.Version {
			s.t.Fatalf("Get of a stub = %+v, want version %d", it, c.Version)
		}
		s.both("Digest", func(e store.Engine) []any {
			d, err := e.Digest(slot, c.Hash&^0xFFFF, c.Hash|0xFFFF)
			return []any{d, err}
		})
		if s.pick(4) == 0 {
			s.mem.Compact()
		}
		if s.pick(8) == 0 {
			s.delete(c)
			continue
		}
		it, _ = s.ref.Get(nil, c.Slot, c.Kind, c.Key, c.Field, 0)
		rec := store.Record{Kind: c.Kind, Key: c.Key, Field: c.Field, Value: it.Value, Version: it.Version, Origin: it.Origin, Expiry: it.Expiry, Schema: it.Schema}
		if ok, err := s.mem.Load(c.Slot, rec); !ok || err != nil {
			s.t.Fatalf("Load = %v, %v", ok, err)
		}
	}
}

// confirmStubs takes a slot with stubs over into a new generation of stubs.
func (s *sequence) confirmStubs(slot uint16) {
	var stubs []store.Record
	for _, c := range s.mem.Victims(nil, 1+s.pick(20), func(n uint16) bool { return n == slot }) {
		it, _ := s.ref.Get(nil, c.Slot, c.Kind, c.Key, c.Field, 0)
		r := store.Record{Kind: c.Kind, Key: c.Key, Field: c.Field, Value: it.Value, Version: it.Version, Origin: it.Origin, Expiry: it.Expiry, Schema: it.Schema}
		stubs = append(stubs, r)
		s.mem.Unload(c.Address, c.Version)
	}
	gen, _ := s.mem.Begin(slot)
	s.gens[slot][0] = gen
	s.gens[slot][1], _ = s.ref.Begin(slot)
	for i, r := range stubs {
		sum := r.Sum()
		if r.Value = nil; i%2 == 0 {
			s.mem.LoadStub(slot, r, sum)
		}
	}
	want, _ := s.ref.Digest(slot, 0, ^uint64(0))
	for range 2 { // the second time everything is there
		if ok, err := s.mem.Confirm(slot, gen, 0, ^uint64(0), want); !ok || err != nil {
			s.t.Fatalf("Confirm with stubs = %v, %v", ok, err)
		}
	}
	s.same("Commit", s.mem.Commit(slot, gen), nil)
	s.ref.Abort(slot, s.gens[slot][1])
	s.gens[slot] = [2]store.Generation{}
	s.both("Digest", func(e store.Engine) []any {
		d, err := e.Digest(slot, 0, ^uint64(0))
		return []any{d, err}
	})
	for _, r := range stubs {
		if ok, err := s.mem.Load(slot, r); !ok || err != nil {
			s.t.Fatalf("Load = %v, %v", ok, err)
		}
	}
}

func TestMemoryAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		newSequence(rt, randomDraw(seed)).run(rapid.IntRange(1, 400).Draw(rt, "steps"))
	})
}

// randomDraw is a source of its own: drawing each number from rapid would leave
// most of the time to its bookkeeping.
func randomDraw(seed uint64) draw {
	return func(n int) int {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		if seed == 0 {
			seed = 88172645463325252
		}
		return int((seed >> 11) % uint64(n))
	}
}

// FuzzEngine runs the operations that its input spells.
func FuzzEngine(f *testing.F) {
	f.Add([]byte("some operations, more or less at random"), uint64(1))
	f.Add(bytes.Repeat([]byte{5, 0, 30, 7, 9}, 40), uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		rest := randomDraw(seed)
		pick := func(n int) int {
			if len(data) == 0 {
				return rest(n)
			}
			b := data[0]
			data = data[1:]
			if n > 256 {
				return rest(n)
			}
			return int(b) % n
		}
		newSequence(t, pick).run(min(len(data)/4+1, 200))
	})
}
