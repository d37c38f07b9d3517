package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// MemoryOptions configures a Memory.
type MemoryOptions struct {
	// Limit bounds the memory held, in bytes, overhead included. 0: no limit.
	// Tombstones are stored above it too, or nothing could be deleted.
	Limit int64
}

// Memory is an Engine without a disk.
type Memory struct {
	opts   MemoryOptions
	closed atomic.Bool
	bytes  atomic.Int64

	mu    sync.RWMutex // guards all below
	slots map[uint16]*memorySlot
	gens  Generation
	meta  map[string][]byte
}

var _ Engine = (*Memory)(nil)

// NewMemory returns an empty engine.
func NewMemory(opts MemoryOptions) *Memory {
	return &Memory{opts: opts, slots: map[uint16]*memorySlot{}, meta: map[string][]byte{}}
}

type place struct {
	kind       uint8
	key, field string
}

type memorySlot struct {
	table
	gen  Generation // 0: none open
	next table
	max  uint64
}

// table is one generation of a slot.
type table struct {
	recs  map[place]*entry
	sum   uint64
	tombs int
	bytes int64
}

type entry struct {
	Record
	hash uint64
	sum  uint32
}

const entryOverhead = 200

func (e *entry) size() int64 {
	return int64(len(e.Key)+len(e.Field)+len(e.Value)) + entryOverhead
}

func (t *table) add(e *entry, sign int) {
	h := RecordHash(e.hash, e.Version, e.Expiry, e.sum)
	t.sum += h * uint64(sign)
	t.bytes += e.size() * int64(sign)
	if e.Tombstone {
		t.tombs += sign
	}
}

func (t *table) put(e *entry) {
	at := place{e.Kind, e.Key, e.Field}
	if old := t.recs[at]; old != nil {
		if old.Version >= e.Version {
			return
		}
		t.add(old, -1)
	}
	if t.recs == nil {
		t.recs = map[place]*entry{}
	}
	t.recs[at] = e
	t.add(e, 1)
}

func (t *table) remove(e *entry) {
	t.add(e, -1)
	delete(t.recs, place{e.Kind, e.Key, e.Field})
}

func (t *table) digest(lo, hi uint64) Digest {
	if lo == 0 && hi == ^uint64(0) {
		return Digest{Sum: t.sum, Records: len(t.recs)}
	}
	var d Digest
	for _, e := range t.recs {
		if lo <= e.hash && e.hash <= hi {
			d.Sum += RecordHash(e.hash, e.Version, e.Expiry, e.sum)
			d.Records++
		}
	}
	return d
}

func newEntry(r *Record) *entry {
	e := &entry{Record: *r, hash: Hash(r.Kind, r.Key, r.Field), sum: r.Sum()}
	e.Key, e.Field = strings.Clone(r.Key), strings.Clone(r.Field)
	e.Value = bytes.Clone(r.Value)
	if e.Tombstone {
		e.Value, e.Schema, e.Expiry = nil, 0, 0
	}
	if e.Origin == e.Version {
		e.Origin = 0
	}
	return e
}

func (m *Memory) slotLocked(slot uint16) *memorySlot {
	s := m.slots[slot]
	if s == nil {
		s = &memorySlot{}
		m.slots[slot] = s
	}
	return s
}

// Get implements Engine.
func (m *Memory) Get(dst []byte, slot uint16, kind uint8, key, field string, now int64) (Item, error) {
	if m.closed.Load() {
		return Item{}, ErrClosed
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	it := m.itemLocked(slot, kind, key, field, now)
	if it.State == Found {
		n := len(dst)
		it.Value = append(dst, it.Value...)[n:]
	}
	return it, nil
}

// Fetch implements Engine.
func (m *Memory) Fetch(dst []byte, slot uint16, kind uint8, key, field string, now int64) (Item, error) {
	return m.Get(dst, slot, kind, key, field, now)
}

func (m *Memory) itemLocked(slot uint16, kind uint8, key, field string, now int64) Item {
	s := m.slots[slot]
	if s == nil {
		return Item{}
	}
	e := s.recs[place{kind, key, field}]
	if e == nil {
		return Item{}
	}
	it := Item{State: Found, Version: e.Version, Origin: e.Origin, Expiry: e.Expiry, Schema: e.Schema}
	switch {
	case e.Tombstone:
		it.State = Deleted
	case e.Expiry != 0 && e.Expiry <= now:
		it.State = Expired
	default:
		it.Value = e.Value
	}
	return it
}

// Apply implements Engine.
func (m *Memory) Apply(slot uint16, recs []Record) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slotLocked(slot)
	return m.applyLocked(s, &s.table, recs)
}

func (m *Memory) applyLocked(s *memorySlot, t *table, recs []Record) error {
	var need int64
	for i := range recs {
		if !recs[i].Tombstone {
			need += int64(len(recs[i].Key)+len(recs[i].Field)+len(recs[i].Value)) + entryOverhead
		}
	}
	if need > 0 && m.Short(need) {
		return ErrNoMemory
	}
	before := t.bytes
	for i := range recs {
		e := newEntry(&recs[i])
		t.put(e)
		s.max = max(s.max, e.Version)
	}
	m.bytes.Add(t.bytes - before)
	return nil
}

// Update implements Engine.
func (m *Memory) Update(slot uint16, kind uint8, key, field string, now int64, fn func(Item) (Record, bool)) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := fn(m.itemLocked(slot, kind, key, field, now))
	if !ok {
		return nil
	}
	rec.Kind, rec.Key, rec.Field = kind, key, field
	s := m.slotLocked(slot)
	return m.applyLocked(s, &s.table, []Record{rec})
}

func (e *entry) compare(c *Cursor) int {
	return cmp.Or(cmp.Compare(e.hash, c.Hash), cmp.Compare(e.Kind, c.Kind),
		cmp.Compare(e.Key, c.Key), cmp.Compare(e.Field, c.Field))
}

func (e *entry) cursor() Cursor {
	return Cursor{Hash: e.hash, Kind: e.Kind, Key: e.Key, Field: e.Field, Started: true}
}

// Range implements Engine.
func (m *Memory) Range(slot uint16, after Cursor, fn func(Record) bool) (Cursor, bool, error) {
	if m.closed.Load() {
		return after, false, ErrClosed
	}
	var recs []*entry // never changed once stored
	m.mu.RLock()
	if s := m.slots[slot]; s != nil {
		for _, e := range s.recs {
			if !after.Started || e.compare(&after) > 0 {
				recs = append(recs, e)
			}
		}
	}
	m.mu.RUnlock()
	slices.SortFunc(recs, func(a, b *entry) int { c := b.cursor(); return a.compare(&c) })
	for i, e := range recs {
		after = e.cursor()
		if !fn(e.Record) {
			return after, i == len(recs)-1, nil
		}
	}
	return after, true, nil
}

// Digest implements Engine.
func (m *Memory) Digest(slot uint16, lo, hi uint64) (Digest, error) {
	if m.closed.Load() {
		return Digest{}, ErrClosed
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.slots[slot]; s != nil {
		return s.digest(lo, hi), nil
	}
	return Digest{}, nil
}

// Begin implements Engine.
func (m *Memory) Begin(slot uint16) (Generation, error) {
	if m.closed.Load() {
		return 0, ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slotLocked(slot)
	m.gens++
	m.bytes.Add(-s.next.bytes)
	s.gen, s.next = m.gens, table{}
	return s.gen, nil
}

// openLocked returns the slot whose open generation is gen.
func (m *Memory) openLocked(slot uint16, gen Generation) (*memorySlot, error) {
	if m.closed.Load() {
		return nil, ErrClosed
	}
	s := m.slots[slot]
	if s == nil || gen == 0 || s.gen != gen {
		return nil, ErrGeneration
	}
	return s, nil
}

// ApplyTo implements Engine.
func (m *Memory) ApplyTo(slot uint16, gen Generation, recs []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.openLocked(slot, gen)
	if err != nil {
		return err
	}
	return m.applyLocked(s, &s.next, recs)
}

// Confirm implements Engine.
func (m *Memory) Confirm(slot uint16, gen Generation, lo, hi uint64, want Digest) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.openLocked(slot, gen)
	if err != nil || s.digest(lo, hi) != want {
		return false, err
	}
	before := s.next.bytes
	for _, e := range s.recs {
		if lo <= e.hash && e.hash <= hi {
			s.next.put(e)
		}
	}
	m.bytes.Add(s.next.bytes - before)
	return true, nil
}

// Commit implements Engine.
func (m *Memory) Commit(slot uint16, gen Generation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.openLocked(slot, gen)
	if err != nil {
		return err
	}
	m.bytes.Add(-s.bytes)
	s.table, s.next, s.gen = s.next, table{}, 0
	return nil
}

// Abort implements Engine.
func (m *Memory) Abort(slot uint16, gen Generation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.openLocked(slot, gen)
	if err != nil {
		return err
	}
	m.bytes.Add(-s.next.bytes)
	s.next, s.gen = table{}, 0
	return nil
}

func (m *Memory) pick(dst []Candidate, n int, may func(uint16) bool, want func(uint16, *entry) bool) []Candidate {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for slot, s := range m.slots {
		if may != nil && !may(slot) {
			continue
		}
		for _, e := range s.recs {
			if n <= 0 {
				return dst
			}
			if !e.Tombstone && want(slot, e) {
				dst = append(dst, Candidate{Address{slot, e.Kind, e.Key, e.Field}, e.Version})
				n--
			}
		}
	}
	return dst
}

// Victims implements Engine.
func (m *Memory) Victims(dst []Candidate, n int, may func(slot uint16) bool) []Candidate {
	return m.pick(dst, n, may, func(uint16, *entry) bool { return true })
}

// Expired implements Engine.
func (m *Memory) Expired(dst []Candidate, n int, now func(slot uint16) int64, may func(slot uint16) bool) []Candidate {
	return m.pick(dst, n, may, func(slot uint16, e *entry) bool { return e.Expiry != 0 && e.Expiry <= now(slot) })
}

// Purge implements Engine.
func (m *Memory) Purge(slot uint16, floor uint64) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[slot]
	if s == nil || s.tombs == 0 {
		return nil
	}
	before := s.bytes
	for _, e := range s.recs {
		if e.Tombstone && e.Version <= floor {
			s.remove(e)
		}
	}
	m.bytes.Add(s.bytes - before)
	return nil
}

// Drop implements Engine.
func (m *Memory) Drop(slot uint16) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.slots[slot]; s != nil {
		m.bytes.Add(-s.bytes - s.next.bytes)
		delete(m.slots, slot)
	}
	return nil
}

// MaxVersion implements Engine.
func (m *Memory) MaxVersion(slot uint16) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.slots[slot]; s != nil {
		return s.max
	}
	return 0
}

// SlotStats implements Engine.
func (m *Memory) SlotStats(slot uint16) SlotStats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.slots[slot]
	if s == nil {
		return SlotStats{}
	}
	return SlotStats{Records: len(s.recs), Tombstones: s.tombs, Bytes: s.bytes}
}

// Stats implements Engine.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	st := Stats{Bytes: m.bytes.Load(), Limit: m.opts.Limit}
	for _, s := range m.slots {
		st.Records += len(s.recs)
		st.Tombstones += s.tombs
	}
	return st
}

// Short implements Engine.
func (m *Memory) Short(bytes int64) bool {
	return m.opts.Limit > 0 && m.bytes.Load()+bytes > m.opts.Limit
}

// SetMeta implements Engine.
func (m *Memory) SetMeta(values map[string][]byte) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, v := range values {
		if v == nil {
			delete(m.meta, name)
		} else {
			m.meta[name] = append([]byte{}, v...)
		}
	}
	return nil
}

// Meta implements Engine.
func (m *Memory) Meta(prefix string, fn func(name string, value []byte) bool) error {
	if m.closed.Load() {
		return ErrClosed
	}
	m.mu.RLock()
	var names []string
	values := map[string][]byte{}
	for name, v := range m.meta {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
			values[name] = bytes.Clone(v)
		}
	}
	m.mu.RUnlock()
	slices.Sort(names)
	for _, name := range names {
		if !fn(name, values[name]) {
			break
		}
	}
	return nil
}

// Durable implements Engine.
func (m *Memory) Durable() bool { return false }

// OnDurable implements Engine; fn is never called.
func (m *Memory) OnDurable(func(slot uint16, version uint64)) {}

// Sync implements Engine.
func (m *Memory) Sync(uint16) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Close implements Engine.
func (m *Memory) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slots, m.meta = nil, nil
	m.bytes.Store(0)
	return nil
}
