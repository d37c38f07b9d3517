package store

import "sync"

const (
	batchRecords = 128
	batchBytes   = 64 << 10
)

// batch holds copies of some records of a slot. Keys and fields stay valid;
// the next fill overwrites the values.
type batch struct {
	recs   []Record
	values []byte
	names  []byte // keys and fields
	hashes []uint64
	ends   []int // of the values in values, which may move while it grows
}

// batches are used again, unless they had to grow beyond what most need.
var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) reset() {
	clear(b.recs)
	b.recs, b.hashes, b.values, b.names, b.ends = b.recs[:0], b.hashes[:0], b.values[:0], b.names[:0], b.ends[:0]
}

// Range implements Engine. It copies batches of records under the slot's lock
// and calls fn without it.
func (m *Memory) Range(slot uint16, after Cursor, fn func(Record) bool) (Cursor, bool, error) {
	return m.RangeTo(slot, after, ^uint64(0), fn)
}

// RangeTo is Range that ends with the records of hash to.
func (m *Memory) RangeTo(slot uint16, after Cursor, to uint64, fn func(Record) bool) (Cursor, bool, error) {
	b := batches.Get().(*batch)
	defer func() {
		if b.reset(); cap(b.values)+cap(b.names) <= 3*batchBytes {
			batches.Put(b)
		}
	}()
	for {
		more, err := m.fill(b, slot, after, to)
		if err != nil {
			return after, false, err
		}
		for i := range b.recs {
			r := b.recs[i]
			after = Cursor{Hash: b.hashes[i], Kind: r.Kind, Key: r.Key, Field: r.Field, Started: true}
			if !fn(r) {
				return after, !more && i == len(b.recs)-1, nil
			}
		}
		if !more {
			return after, true, nil
		}
	}
}

// fill copies the records after a cursor, up to a hash, into b and reports whether
// there are more.
func (m *Memory) fill(b *batch, slot uint16, after Cursor, to uint64) (more bool, err error) {
	b.reset()
	s, err := m.rlock(slot)
	if s == nil {
		return false, err
	}
	defer m.gates[slot].RUnlock()
	from := addr{hash: after.Hash, kind: after.Kind, key: after.Key, field: after.Field}
	m.eachPage(&s.cur, after.Hash, func(p indexPage, _ uint64) bool {
		n := p.count
		for i := p.search(after.Hash); i < n; i++ {
			e := p.at(i)
			if e.tag() > to>>tagShift {
				return false
			}
			c := m.arena.cell(e.ref())
			h := parse(c)
			a := h.addr(c, e)
			if a.hash > to {
				return false
			}
			if after.Started && a.compare(&from) <= 0 || h.stub() {
				continue
			}
			if len(b.recs) >= batchRecords || len(b.values) >= batchBytes {
				more = true
				return false
			}
			b.values = m.appendValue(b.values, c, &h)
			b.ends = append(b.ends, len(b.values))
			b.names = append(append(b.names, a.key...), a.field...)
			b.recs = append(b.recs, h.record(&a))
			b.hashes = append(b.hashes, a.hash)
		}
		return true
	})
	names, start := string(b.names), 0
	for i, end := range b.ends {
		r := &b.recs[i]
		k, f := len(r.Key), len(r.Key)+len(r.Field)
		r.Key, r.Field, names = names[:k], names[k:f], names[f:]
		r.Value = b.values[start:end:end]
		start = end
	}
	return more, nil
}

// Digest implements Engine.
func (m *Memory) Digest(slot uint16, lo, hi uint64) (Digest, error) {
	s, err := m.rlock(slot)
	if s == nil {
		return Digest{}, err
	}
	defer m.gates[slot].RUnlock()
	return m.digestOf(&s.cur, lo, hi), nil
}
