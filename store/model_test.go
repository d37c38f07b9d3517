package store_test

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/slotmesh/slotmesh/store"
)

// model is the plain engine that Memory is compared with.
type model struct {
	closed atomic.Bool
	bytes  atomic.Int64

	mu    sync.RWMutex // guards all below
	slots map[uint16]*modelSlot
	gens  store.Generation
	meta  map[string][]byte
}

var _ store.Engine = (*model)(nil)

// newModel returns an empty engine.
func newModel() *model {
	return &model{slots: map[uint16]*modelSlot{}, meta: map[string][]byte{}}
}

type place struct {
	kind       uint8
	key, field string
}

type modelSlot struct {
	table
	gen  store.Generation // 0: none open
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
	store.Record
	hash uint64
	sum  uint32
}

const entryOverhead = 200

func (e *entry) size() int64 {
	return int64(len(e.Key)+len(e.Field)+len(e.Value)) + entryOverhead
}

func (t *table) add(e *entry, sign int) {
	h := store.RecordHash(e.hash, e.Version, e.Expiry, e.sum)
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

func (t *table) digest(lo, hi uint64) store.Digest {
	if lo == 0 && hi == ^uint64(0) {
		return store.Digest{Sum: t.sum, Records: len(t.recs)}
	}
	var d store.Digest
	for _, e := range t.recs {
		if lo <= e.hash && e.hash <= hi {
			d.Sum += store.RecordHash(e.hash, e.Version, e.Expiry, e.sum)
			d.Records++
		}
	}
	return d
}

func newEntry(r *store.Record) *entry {
	e := &entry{Record: *r, hash: store.Hash(r.Kind, r.Key, r.Field), sum: r.Sum()}
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

func (m *model) slotLocked(slot uint16) *modelSlot {
	s := m.slots[slot]
	if s == nil {
		s = &modelSlot{}
		m.slots[slot] = s
	}
	return s
}

// Get implements Engine.
func (m *model) Get(dst []byte, slot uint16, kind uint8, key, field string, now int64) (store.Item, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed.Load() {
		return store.Item{}, store.ErrClosed
	}
	it := m.itemLocked(slot, kind, key, field, now)
	if it.State == store.Found {
		n := len(dst)
		it.Value = append(dst, it.Value...)[n:]
	}
	return it, nil
}

// Fetch implements Engine.
func (m *model) Fetch(dst []byte, slot uint16, kind uint8, key, field string, now int64) (store.Item, error) {
	return m.Get(dst, slot, kind, key, field, now)
}

func (m *model) itemLocked(slot uint16, kind uint8, key, field string, now int64) store.Item {
	s := m.slots[slot]
	if s == nil {
		return store.Item{}
	}
	e := s.recs[place{kind, key, field}]
	if e == nil {
		return store.Item{}
	}
	it := store.Item{State: store.Found, Version: e.Version, Origin: e.Origin, Expiry: e.Expiry, Schema: e.Schema}
	switch {
	case e.Tombstone:
		it.State = store.Deleted
	case e.Expiry != 0 && e.Expiry <= now:
		it.State = store.Expired
	default:
		it.Value = e.Value
	}
	return it
}

// Apply implements Engine.
func (m *model) Apply(slot uint16, recs []store.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return store.ErrClosed
	}
	s := m.slotLocked(slot)
	return m.applyLocked(s, &s.table, recs)
}

func (m *model) applyLocked(s *modelSlot, t *table, recs []store.Record) error {
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
func (m *model) Update(slot uint16, kind uint8, key, field string, now int64, fn func(store.Item) (store.Record, bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return store.ErrClosed
	}
	rec, ok := fn(m.itemLocked(slot, kind, key, field, now))
	if !ok {
		return nil
	}
	rec.Kind, rec.Key, rec.Field = kind, key, field
	s := m.slotLocked(slot)
	return m.applyLocked(s, &s.table, []store.Record{rec})
}

func (e *entry) compare(c *store.Cursor) int {
	return cmp.Or(cmp.Compare(e.hash, c.Hash), cmp.Compare(e.Kind, c.Kind),
		cmp.Compare(e.Key, c.Key), cmp.Compare(e.Field, c.Field))
}

func (e *entry) cursor() store.Cursor {
	return store.Cursor{Hash: e.hash, Kind: e.Kind, Key: e.Key, Field: e.Field, Started: true}
}

// Range implements Engine.
func (m *model) Range(slot uint16, after store.Cursor, fn func(store.Record) bool) (store.Cursor, bool, error) {
	var recs []*entry // never changed once stored
	m.mu.RLock()
	if m.closed.Load() {
		m.mu.RUnlock()
		return after, false, store.ErrClosed
	}
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
func (m *model) Digest(slot uint16, lo, hi uint64) (store.Digest, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed.Load() {
		return store.Digest{}, store.ErrClosed
	}
	if s := m.slots[slot]; s != nil {
		return s.digest(lo, hi), nil
	}
	return store.Digest{}, nil
}

// Begin implements Engine.
func (m *model) Begin(slot uint16) (store.Generation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return 0, store.ErrClosed
	}
	s := m.slotLocked(slot)
	m.gens++
	m.bytes.Add(-s.next.bytes)
	s.gen, s.next = m.gens, table{}
	return s.gen, nil
}

// openLocked returns the slot whose open generation is gen.
func (m *model) openLocked(slot uint16, gen store.Generation) (*modelSlot, error) {
	if m.closed.Load() {
		return nil, store.ErrClosed
	}
	s := m.slots[slot]
	if s == nil || gen == 0 || s.gen != gen {
		return nil, store.ErrGeneration
	}
	return s, nil
}

// ApplyTo implements Engine.
func (m *model) ApplyTo(slot uint16, gen store.Generation, recs []store.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.openLocked(slot, gen)
	if err != nil {
		return err
	}
	return m.applyLocked(s, &s.next, recs)
}

// Confirm implements Engine.
func (m *model) Confirm(slot uint16, gen store.Generation, lo, hi uint64, want store.Digest) (bool, error) {
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
func (m *model) Commit(slot uint16, gen store.Generation) error {
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
func (m *model) Abort(slot uint16, gen store.Generation) error {
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

func (m *model) pick(dst []store.Candidate, n int, may func(uint16) bool, want func(uint16, *entry) bool) []store.Candidate {
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
				dst = append(dst, store.Candidate{Address: store.Address{Slot: slot, Kind: e.Kind, Key: e.Key, Field: e.Field}, Version: e.Version, Hash: e.hash})
				n--
			}
		}
	}
	return dst
}

// Victims implements Engine.
func (m *model) Victims(dst []store.Candidate, n int, may func(slot uint16) bool) []store.Candidate {
	return m.pick(dst, n, may, func(uint16, *entry) bool { return true })
}

// Expired implements Engine.
func (m *model) Expired(dst []store.Candidate, n int, now func(slot uint16) int64, may func(slot uint16) bool) []store.Candidate {
	return m.pick(dst, n, may, func(slot uint16, e *entry) bool { return e.Expiry != 0 && e.Expiry <= now(slot) })
}

// Purge implements Engine.
func (m *model) Purge(slot uint16, floor uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return store.ErrClosed
	}
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
func (m *model) Drop(slot uint16) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return store.ErrClosed
	}
	if s := m.slots[slot]; s != nil {
		m.bytes.Add(-s.bytes - s.next.bytes)
		delete(m.slots, slot)
	}
	return nil
}

// MaxVersion implements Engine.
func (m *model) MaxVersion(slot uint16) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.slots[slot]; s != nil {
		return s.max
	}
	return 0
}

// SlotStats implements Engine.
func (m *model) SlotStats(slot uint16) store.SlotStats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.slots[slot]
	if s == nil {
		return store.SlotStats{}
	}
	return store.SlotStats{Records: len(s.recs), Tombstones: s.tombs, Bytes: s.bytes}
}

// Stats implements Engine.
func (m *model) Stats() store.Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	st := store.Stats{Bytes: m.bytes.Load()}
	for _, s := range m.slots {
		st.Records += len(s.recs)
		st.Tombstones += s.tombs
	}
	return st
}

// Short implements Engine.
func (m *model) Short(int64) bool { return false }

// SetMeta implements Engine.
func (m *model) SetMeta(values map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return store.ErrClosed
	}
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
func (m *model) Meta(prefix string, fn func(name string, value []byte) bool) error {
	if m.closed.Load() {
		return store.ErrClosed
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
func (m *model) Durable() bool { return false }

// OnParked implements Engine; fn is never called.
func (m *model) OnParked(func(cause error)) {}

// OnDurable implements Engine; fn is never called.
func (m *model) OnDurable(func(slot uint16, version uint64)) {}

// Sync implements Engine.
func (m *model) Sync(uint16) error {
	if m.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

// Close implements Engine.
func (m *model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Swap(true) {
		return nil
	}
	m.slots, m.meta = nil, nil
	m.bytes.Store(0)
	return nil
}
