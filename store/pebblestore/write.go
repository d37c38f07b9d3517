package pebblestore

import (
	"errors"

	"github.com/slotmesh/slotmesh/store"
)

// Apply implements store.Engine. It waits while there are too many dirty
// bytes, not for the disk otherwise.
func (s *Store) Apply(slot uint16, recs []store.Record) error {
	return s.apply(slot, 0, recs)
}

// apply writes to the current records, or to the open generation gen.
func (s *Store) apply(n uint16, gen store.Generation, recs []store.Record) error {
	if err := s.warm(n); err != nil {
		return err
	}
	if err := s.queue.wait(); err != nil {
		return err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return s.applyLocked(n, sl, gen, recs)
}

func (s *Store) applyLocked(n uint16, sl *slot, gen store.Generation, recs []store.Record) error {
	var few [8]int
	kept := few[:0]
	err := s.withRoom(sl, need(recs), func() error {
		kept = kept[:0]
		return s.mem.Write(n, gen, recs, func(i int) { kept = append(kept, i) })
	})
	if err != nil || len(kept) == 0 {
		return err
	}
	to := sl.cur
	if gen != 0 {
		to = sl.next
	}
	_, err = s.queue.add(func(u *unit) {
		sp := u.span(n, sl)
		for _, i := range kept {
			r := &recs[i]
			u.setRecord(n, to, r)
			sp.wrote(r.Version)
			if gen == 0 {
				sp.mark = max(sp.mark, r.Version)
			}
		}
	})
	return err
}

// need is the memory that records take at most.
func need(recs []store.Record) (n int64) {
	for i := range recs {
		if r := &recs[i]; !r.Tombstone {
			n += int64(len(r.Key)+len(r.Field)+len(r.Value)) + 96
		}
	}
	return n + n/16
}

// updateTries bounds how often a record that is not resident may change
// between its read from disk and the update.
const updateTries = 1000

var errBusy = errors.New("pebblestore: record changes faster than it is read")

// Update implements store.Engine. A value that is not resident is read from
// disk before fn is called.
func (s *Store) Update(n uint16, kind uint8, key, field string, now int64, fn func(store.Item) (store.Record, bool)) error {
	if err := s.warm(n); err != nil {
		return err
	}
	at := store.Address{Slot: n, Kind: kind, Key: key, Field: field}
	var known store.Item // as read from disk
	for range updateTries {
		if err := s.queue.wait(); err != nil {
			return err
		}
		again, err := s.tryUpdate(at, now, known, fn)
		if !again {
			return err
		}
		if known, err = s.Fetch(nil, n, kind, key, field, now); err != nil {
			return err
		}
	}
	return errBusy
}

// tryUpdate is Update that gives up, before it calls fn, where the value is
// neither resident nor known.
func (s *Store) tryUpdate(at store.Address, now int64, known store.Item, fn func(store.Item) (store.Record, bool)) (again bool, err error) {
	sl := s.slot(at.Slot)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	var rec store.Record
	var encoded []byte // rec may be a part of what fn saw, which goes with fn
	var old uint64
	err = s.mem.Update(at.Slot, at.Kind, at.Key, at.Field, now, func(it store.Item) (store.Record, bool) {
		if it.State == store.NotResident {
			if known.State != store.Found || known.Version != it.Version {
				again = true
				return store.Record{}, false
			}
			it = known
		}
		old = it.Version
		r, ok := fn(it)
		if !ok {
			return r, false
		}
		encoded, rec = appendRecord(nil, &r), r
		return r, true
	})
	if again || encoded == nil {
		return again, err
	}
	rec.Kind, rec.Key, rec.Field, rec.Value = at.Kind, at.Key, at.Field, nil
	if errors.Is(err, store.ErrNoMemory) {
		// Nobody else can write to the slot: what fn decided still holds.
		r, _, err := parseRecord(encoded)
		if err != nil {
			return false, err
		}
		rec.Value = r.Value
		return false, s.applyLocked(at.Slot, sl, 0, []store.Record{rec})
	}
	if err != nil || rec.Version <= old {
		return false, err
	}
	_, err = s.queue.add(func(u *unit) {
		sp := u.span(at.Slot, sl)
		sp.wrote(rec.Version)
		sp.mark = max(sp.mark, rec.Version)
		u.set(dataKey(nil, at.Slot, sl.cur, at.Kind, at.Key, at.Field), encoded)
	})
	return false, err
}

// Purge implements store.Engine.
func (s *Store) Purge(n uint16, floor uint64) error {
	if err := s.warm(n); err != nil {
		return err
	}
	if err := s.queue.wait(); err != nil {
		return err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	var gone [][]byte
	err := s.mem.PurgeEach(n, floor, func(kind uint8, key, field string) {
		gone = append(gone, dataKey(nil, n, sl.cur, kind, key, field))
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	highest := s.mem.MaxVersion(n) // which may have been a tombstone's
	_, err = s.queue.add(func(u *unit) {
		for _, k := range gone {
			u.delete(k)
		}
		u.set(slotKey(n), slotValue(sl.cur, highest))
	})
	return err
}

// Drop implements store.Engine.
func (s *Store) Drop(n uint16) error {
	if err := s.warm(n); err != nil {
		return err
	}
	if err := s.queue.wait(); err != nil {
		return err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if err := s.mem.Drop(n); err != nil {
		return err
	}
	_, err := s.queue.add(func(u *unit) {
		u.deletePrefix(slotPrefix(n))
		u.delete(slotKey(n))
		sp := u.span(n, sl)
		sp.mark, sp.dropped = 0, true
		sp.structure(func() { sl.disk.Store(0) })
	})
	sl.cur, sl.next, sl.last, sl.gen = 0, 0, 0, 0
	sl.stubs.Store(false)
	return err
}
