package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// MemoryOptions configures a Memory.
type MemoryOptions struct {
	// Limit bounds the memory held, in bytes, overhead included. 0, or more than
	// MaxMemory: that.
	// A record that does not fit gets ErrNoMemory; tombstones are stored all
	// the same, or nothing could be deleted. Limits below 64 MiB are kept less
	// exactly, since memory is taken by pages of 128 KiB.
	Limit int64
}

// Memory is an Engine without a disk.
//
// Each slot has its own lock, index and sums; records lie in cells of large
// slabs, which the garbage collector does not look into. Index entries are
// words sorted by the hash of their address, so that a slot is ranged over in
// order without sorting, and the eviction policy finds its bits in them
// without touching records. A hash table of the whole engine with records in
// logs was the alternative: a write would be cheaper, but ranges, drops,
// digests and generations of single slots would all need a second index.
//
// Locks nest in this order: compacting, clearing, slot, wheel, class of a heap, arena.
type Memory struct {
	limit  int64
	split  int // entries at which an index page splits
	most   int // entries of a page that cannot
	seed   maphash.Seed
	closed atomic.Bool
	gens   atomic.Uint64
	live   atomic.Int32 // slots made so far
	slots  [Slots]atomic.Pointer[slotState]
	gates  [Slots]gate

	arena                   *arena
	records, index, extents *heap
	evict                   evictor
	wheel                   wheel
	compacting              sync.Mutex   // held by the one compaction
	clearing                sync.RWMutex // shared by who clears a table that is no slot's any more
	barren                  atomic.Int64 // free bytes below which it is of no use
	scratch                 sync.Pool    // of *[]byte: values that Update shows
	metadata
}

var _ Engine = (*Memory)(nil)

// slotState is made at the first write to it and stays. The slot's gate guards
// it; readers set hits in cur's entries.
type slotState struct {
	cur  table
	next table      // the open generation
	gen  Generation // 0: none open
}

// NewMemory returns an empty engine. It starts no goroutine.
func NewMemory(opts MemoryOptions) *Memory {
	a, limit := newArena(), min(opts.Limit, MaxMemory)
	m := &Memory{
		limit: limit, split: maxEntries, most: maxPage, seed: maphash.MakeSeed(), arena: a,
		records: newHeap(0, a), index: newHeap(1, a), extents: newHeap(2, a),
	}
	m.wheel.heap, m.wheel.few = newHeap(3, a), fewWords
	m.wheel.goal.Store(fewWords)
	m.evict.init(limit)
	m.scratch.New = func() any { return new([]byte) }
	return m
}

// state returns the slot's state, made if it is missing.
func (m *Memory) state(n uint16) *slotState {
	if s := m.slots[n].Load(); s != nil {
		return s
	}
	if m.slots[n].CompareAndSwap(nil, new(slotState)) {
		m.live.Add(1)
	}
	return m.slots[n].Load()
}

// maxValue is the length of the longest value.
const maxValue = 1 << 30

// lock locks the slot for a write, to be ended by unlock.
func (m *Memory) lock(n uint16) (*slotState, error) {
	s := m.state(n)
	m.relock(n)
	if m.closed.Load() {
		m.unlock(n)
		return nil, ErrClosed
	}
	return s, nil
}

// relock is lock of a slot that has a state, in an engine that may be closed.
func (m *Memory) relock(n uint16) {
	g := &m.gates[n]
	g.Lock()
	g.begin()
}

func (m *Memory) unlock(n uint16) {
	g := &m.gates[n]
	g.end(&m.slots[n].Load().cur)
	g.Unlock()
}

// rlock locks the slot for reading. The slot is nil if nothing was ever
// written to it.
func (m *Memory) rlock(n uint16) (*slotState, error) {
	s := m.slots[n].Load()
	if s != nil {
		m.gates[n].RLock()
	}
	if m.closed.Load() {
		if s != nil {
			m.gates[n].RUnlock()
		}
		return nil, ErrClosed
	}
	return s, nil
}

// Get implements Engine. It is on the hot path: see TestGetAllocs.
func (m *Memory) Get(dst []byte, slot uint16, kind uint8, key, field string, now int64) (it Item, err error) {
	a := addrOf(kind, key, field)
	if field == "" && m.read(&it, dst, slot, &a, now) {
		return it, nil
	}
	return m.get(dst, slot, &a, now)
}

// get is Get with the slot locked.
func (m *Memory) get(dst []byte, slot uint16, a *addr, now int64) (Item, error) {
	s, err := m.rlock(slot)
	if s == nil {
		return Item{}, err
	}
	p, i, h, ok := m.find(&s.cur, a)
	if !ok {
		m.gates[slot].RUnlock()
		return Item{}, nil
	}
	it := h.item(now)
	if it.State == Found {
		n := len(dst)
		e := p.at(i)
		it.Value = m.appendValue(dst, m.arena.cell(e.ref()), &h)[n:]
		p.touch(i, e)
	}
	m.gates[slot].RUnlock()
	return it, nil
}

// item returns what Get says of a record, but for its value.
func (h *head) item(now int64) Item {
	it := Item{State: Found, Version: h.version, Origin: h.origin, Expiry: h.expiry, Schema: h.schema}
	switch {
	case h.tombstone():
		it.State = Deleted
	case h.expiry != 0 && h.expiry <= now:
		it.State = Expired
	case h.stub():
		it.State = NotResident
	}
	return it
}

// Fetch implements Engine.
func (m *Memory) Fetch(dst []byte, slot uint16, kind uint8, key, field string, now int64) (Item, error) {
	return m.Get(dst, slot, kind, key, field, now)
}

// Apply implements Engine.
func (m *Memory) Apply(slot uint16, recs []Record) error {
	return m.Write(slot, 0, recs, nil)
}

// Write stores records in the open generation gen, or the current records
// where gen is 0. It calls stored, unless that is nil, with the slot locked and
// the index of each record that was not left out: a durable engine logs those.
func (m *Memory) Write(slot uint16, gen Generation, recs []Record, stored func(i int)) error {
	var few [4]prepared
	ready := few[:0]
	var need int64
	for i := range recs {
		w := prepare(&recs[i])
		if err := m.sized(&recs[i], &w); err != nil {
			return err
		}
		if !recs[i].Tombstone {
			need += w.total(&recs[i])
		}
		ready = append(ready, w)
	}
	if err := m.room(need); err != nil {
		return err
	}
	for range len(recs) - 1 { // each adds a word, and room has swept for one of them
		m.sweep()
	}
	s, err := m.lock(slot)
	if err != nil {
		return err
	}
	defer m.unlock(slot)
	t := &s.cur
	if gen != 0 {
		if s.gen != gen {
			return ErrGeneration
		}
		t = &s.next
	}
	if m.packed(t, ready...) {
		return ErrTooLarge
	}
	for i := range recs {
		if m.put(t, slot, &recs[i], &ready[i]) && stored != nil {
			stored(i)
		}
		t.max = max(t.max, recs[i].Version)
	}
	return nil
}

// sized reports a record that no engine of this limit can hold.
func (m *Memory) sized(r *Record, w *prepared) error {
	if w.size > maxCell || len(r.Value) > maxValue || m.limit > 0 && int64(len(r.Value)) > m.limit {
		return ErrTooLarge
	}
	return nil
}

// Update implements Engine.
func (m *Memory) Update(slot uint16, kind uint8, key, field string, now int64, fn func(Item) (Record, bool)) error {
	m.tidy(0)
	s, err := m.lock(slot)
	if err != nil {
		return err
	}
	defer m.unlock(slot)
	var it Item
	a := addrOf(kind, key, field)
	buf := m.scratch.Get().(*[]byte)
	defer m.scratch.Put(buf)
	if p, i, h, ok := m.find(&s.cur, &a); ok {
		it = h.item(now)
		if it.State == Found { // a copy, since fn may return a part of it
			*buf = m.appendValue((*buf)[:0], m.arena.cell(p.at(i).ref()), &h)
			it.Value = *buf
		}
	}
	r, ok := fn(it)
	if !ok {
		return nil
	}
	r.Kind, r.Key, r.Field = kind, key, field
	w := prepare(&r)
	if err := m.sized(&r, &w); err != nil {
		return err
	}
	if !r.Tombstone && m.Short(w.total(&r)) {
		return ErrNoMemory
	}
	if m.packed(&s.cur, w) {
		return ErrTooLarge
	}
	m.put(&s.cur, slot, &r, &w)
	s.cur.max = max(s.cur.max, r.Version)
	return nil
}

// check returns the part of an address that is known to this process alone.
func (m *Memory) check(a *addr) uint8 {
	return uint8(maphash.String(m.seed, a.key)^maphash.String(m.seed, a.field)*3) & 63
}
