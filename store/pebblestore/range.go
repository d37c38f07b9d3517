package pebblestore

import (
	"bytes"
	"math"
	"strings"

	"github.com/slotmesh/slotmesh/store"
)

const (
	chunkRecords = 128
	chunkBytes   = 64 << 10
)

// chunk is some records of a slot, in order, with their keys.
type chunk struct {
	recs  []store.Record
	keys  [][]byte
	bytes int
	done  bool
	next  store.Cursor // where the next chunk begins
}

func (c *chunk) add(key []byte, r store.Record) {
	c.recs = append(c.recs, r)
	c.keys = append(c.keys, key)
	c.bytes += len(r.Value)
}

func (c *chunk) isFull() bool { return len(c.recs) >= chunkRecords || c.bytes >= chunkBytes }

// Range implements store.Engine. It merges what is resident with what is on
// disk, some records at a time, and calls fn between. As long as nothing of the slot
// was ever unloaded memory has it all.
func (s *Store) Range(n uint16, from store.Cursor, fn func(store.Record) bool) (store.Cursor, bool, error) {
	if err := s.warm(n); err != nil {
		return from, false, err
	}
	sl := s.slots[n].Load()
	if sl == nil {
		return s.mem.Range(n, from, fn)
	}
	if !sl.stubs.Load() {
		var last store.Record
		stopped, unloaded := false, false
		next, done, err := s.mem.Range(n, from, func(r store.Record) bool {
			if unloaded = sl.stubs.Load(); unloaded {
				return false // there may be others before this one
			}
			last, stopped = r, !fn(r)
			return !stopped
		})
		if err != nil || !unloaded && !(done && sl.stubs.Load()) {
			return next, done, err
		}
		if last.Version != 0 {
			from = cursorOf(&last)
		}
		if stopped {
			return from, false, nil
		}
	}
	for at := from; ; {
		c, err := s.chunk(n, sl, at)
		if err != nil {
			return from, false, err
		}
		for i := range c.recs {
			r := c.recs[i]
			from = cursorOf(&r)
			if !fn(r) {
				return from, c.done && i == len(c.recs)-1, nil
			}
		}
		if c.done {
			return from, true, nil
		}
		at = c.next
	}
}

func cursorOf(r *store.Record) store.Cursor {
	return store.Cursor{Hash: store.Hash(r.Kind, r.Key, r.Field), Kind: r.Kind, Key: r.Key, Field: r.Field, Started: true}
}

// chunk collects records after a cursor.
func (s *Store) chunk(n uint16, sl *slot, from store.Cursor) (*chunk, error) {
	to := s.reach(n, from)
	for range fetchTries {
		gen := sl.diskGen()
		if sl.busy.Load() == 0 {
			resident, err := s.resident(n, gen, from, to)
			if err != nil {
				return nil, err
			}
			c, err := s.merge(n, gen, from, to, resident)
			if err != nil {
				return nil, err
			}
			if sl.busy.Load() == 0 && sl.diskGen() == gen {
				return c, nil
			}
		}
		if err := s.queue.drain(); err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

// reach is the last hash of a range after a cursor that has about a chunk of records.
// Behind it nothing is looked at: memory goes through all stubs for a resident record.
func (s *Store) reach(n uint16, from store.Cursor) uint64 {
	base, records := uint64(0), s.mem.SlotStats(n).Records
	if from.Started {
		base = from.Hash
	}
	if records < 2*chunkRecords {
		return math.MaxUint64
	}
	return base + min(math.MaxUint64/uint64(records)*chunkRecords, math.MaxUint64-base)
}

// resident collects what memory has.
func (s *Store) resident(n uint16, gen generation, from store.Cursor, to uint64) (*chunk, error) {
	c := &chunk{}
	var err error
	_, c.done, err = s.mem.RangeTo(n, from, to, func(r store.Record) bool {
		r.Value = bytes.Clone(r.Value)
		c.add(dataKey(nil, n, gen, r.Kind, r.Key, r.Field), r)
		return !c.isFull()
	})
	return c, err
}

// merge adds records from disk that are not among the resident ones. Those
// were collected before the disk is read: whatever had been unloaded by then
// is on disk, and whatever is loaded or unloaded since, memory or the list of
// resident ones has.
func (s *Store) merge(n uint16, gen generation, from store.Cursor, to uint64, mem *chunk) (*chunk, error) {
	lo, hi := genPrefix(nil, n, gen), after(hashKey(nil, n, gen, to))
	if from.Started {
		lo = append(placeKey(nil, n, gen, from.Hash, from.Kind, from.Key, from.Field), 0)
	}
	if !mem.done { // nothing is known behind the last resident one
		hi = append(bytes.Clone(mem.keys[len(mem.keys)-1]), 0)
	}
	out, i := &chunk{}, 0
	takeTo := func(key []byte) (equal bool) { // resident ones up to and with key
		for ; i < len(mem.keys) && !out.isFull(); i++ {
			c := bytes.Compare(mem.keys[i], key)
			if c > 0 {
				return false
			}
			out.add(mem.keys[i], mem.recs[i])
			if c == 0 {
				i++
				return true
			}
		}
		return false
	}
	err := s.scan(lo, hi, func(key []byte, r store.Record) bool {
		if takeTo(key) || out.isFull() {
			return !out.isFull()
		}
		if r, ok := s.current(n, r); ok {
			out.add(bytes.Clone(key), r)
		}
		return !out.isFull()
	})
	if err != nil {
		return nil, err
	}
	for ; i < len(mem.keys) && !out.isFull(); i++ {
		out.add(mem.keys[i], mem.recs[i])
	}
	switch all := mem.done && !out.isFull(); {
	case all && to == math.MaxUint64:
		out.done = true
	case all:
		out.next = store.Cursor{Hash: to, Kind: math.MaxUint8, Started: true}
	default:
		out.next = cursorOf(&out.recs[len(out.recs)-1])
	}
	return out, nil
}

// current returns the record that memory has for one read from disk: that one
// if it is unloaded, a newer one, or none.
func (s *Store) current(n uint16, r store.Record) (store.Record, bool) {
	it, err := s.mem.Get(nil, n, r.Kind, r.Key, r.Field, math.MinInt64)
	switch {
	case err != nil || it.State == store.Absent:
		return r, false
	case it.State == store.NotResident:
		r.Value = bytes.Clone(r.Value)
		return r, it.Version == r.Version
	}
	return store.Record{
		Kind: r.Kind, Key: strings.Clone(r.Key), Field: strings.Clone(r.Field), Value: it.Value, Tombstone: it.State == store.Deleted,
		Version: it.Version, Origin: it.Origin, Expiry: it.Expiry, Schema: it.Schema,
	}, true
}
