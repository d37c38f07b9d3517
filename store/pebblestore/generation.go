package pebblestore

import (
	"bytes"
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/slotmesh/slotmesh/store"
)

// The records of an open generation go to disk as they come, under a number of
// their own. One small batch makes it the current one and deletes the others;
// Open deletes what such a batch never came for.

// Begin implements store.Engine.
func (s *Store) Begin(n uint16) (store.Generation, error) {
	if err := s.warm(n); err != nil {
		return 0, err
	}
	if err := s.queue.wait(); err != nil {
		return 0, err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	gen, err := s.mem.Begin(n)
	if err != nil {
		return 0, err
	}
	if sl.gen != 0 {
		if err := s.discardLocked(n, sl); err != nil {
			return 0, err
		}
	}
	sl.last++
	sl.gen, sl.next = gen, sl.last
	return gen, nil
}

// discardLocked deletes the open generation from disk. Its versions were the
// slot's for a while.
func (s *Store) discardLocked(n uint16, sl *slot) error {
	next := sl.next
	sl.gen, sl.next = 0, 0
	highest := s.mem.MaxVersion(n)
	_, err := s.queue.add(func(u *unit) {
		u.deletePrefix(genPrefix(nil, n, next))
		u.set(slotKey(n), slotValue(sl.cur, highest))
	})
	return err
}

// ApplyTo implements store.Engine.
func (s *Store) ApplyTo(n uint16, gen store.Generation, recs []store.Record) error {
	if gen == 0 {
		return store.ErrGeneration
	}
	return s.apply(n, gen, recs)
}

// Confirm implements store.Engine. Few records go to disk anew from memory; of
// many, or where some are on disk only, the flusher makes the copy on disk. That
// takes an iterator, which costs more the more slots were copied lately.
func (s *Store) Confirm(n uint16, gen store.Generation, lo, hi uint64, want store.Digest) (ok bool, err error) {
	if err := s.queue.wait(); err != nil {
		return false, err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if recs, all := s.resided(n, sl, gen, lo, hi, want); all {
		if d, err := s.mem.Digest(n, lo, hi); err != nil || d != want {
			return false, err
		}
		err := s.applyLocked(n, sl, gen, recs)
		return err == nil, err
	}
	// How much the range takes is not known; the limit is a fair guess.
	err = s.withRoom(sl, s.budget.records/16, func() error {
		ok, err = s.mem.Confirm(n, gen, lo, hi, want)
		return err
	})
	if err != nil || !ok {
		return false, err
	}
	from, to := sl.cur, sl.next
	_, err = s.queue.add(func(u *unit) {
		u.span(n, sl).structure(func() {})
		u.after = func() error { return s.copyRange(n, from, to, lo, hi) }
	})
	return err == nil, err
}

const copyBytes = 1 << 20

// resided returns copies of a range's records if all are in memory and as few
// as want says, and if they are not many. The slot is locked.
func (s *Store) resided(n uint16, sl *slot, gen store.Generation, lo, hi uint64, want store.Digest) (recs []store.Record, all bool) {
	const most = 4096
	if gen == 0 || sl.stubs.Load() || want.Records > most {
		return nil, false
	}
	var from store.Cursor
	if lo > 0 {
		from = store.Cursor{Hash: lo - 1, Kind: math.MaxUint8, Started: true}
	}
	size := 0
	_, _, err := s.mem.Range(n, from, func(r store.Record) bool {
		switch h := store.Hash(r.Kind, r.Key, r.Field); {
		case h < lo:
			return true
		case h > hi:
			return false
		}
		r.Value = bytes.Clone(r.Value)
		recs = append(recs, r)
		size += len(r.Key) + len(r.Field) + len(r.Value)
		return len(recs) <= want.Records && size < copyBytes
	})
	return recs, err == nil && len(recs) == want.Records && size < copyBytes
}

// copyRange copies the records of a hash range on disk from one generation to
// another, where the higher version stays.
func (s *Store) copyRange(n uint16, from, to generation, lo, hi uint64) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: hashKey(nil, n, from, lo), UpperBound: after(hashKey(nil, n, from, hi))})
	if err != nil {
		return err
	}
	defer it.Close()
	var key []byte
	prefix := len(genPrefix(nil, n, to))
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		version, err := versionOf(v)
		if err != nil {
			return err
		}
		key = append(genPrefix(key[:0], n, to), it.Key()[prefix:]...)
		if old, err := s.versionOnDisk(key); err != nil {
			return err
		} else if old >= version {
			continue
		}
		_ = b.Set(key, v, nil)
		if b.Len() >= copyBytes {
			if err := s.db.Apply(b, pebble.NoSync); err != nil {
				return err
			}
			b.Reset()
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	return s.db.Apply(b, pebble.NoSync)
}

// versionOnDisk is 0 where there is no such key.
func (s *Store) versionOnDisk(key []byte) (uint64, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	return versionOf(v)
}

// Commit implements store.Engine.
func (s *Store) Commit(n uint16, gen store.Generation) error {
	if err := s.queue.wait(); err != nil {
		return err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if err := s.mem.Commit(n, gen); err != nil {
		return err
	}
	old, now := sl.cur, sl.next
	sl.cur, sl.next, sl.gen = now, 0, 0
	highest := s.mem.MaxVersion(n)
	_, err := s.queue.add(func(u *unit) {
		u.deletePrefix(genPrefix(nil, n, old))
		u.set(slotKey(n), slotValue(now, highest))
		sp := u.span(n, sl)
		sp.mark = highest
		sp.structure(func() { sl.disk.Store(uint32(now)) })
	})
	return err
}

// Abort implements store.Engine.
func (s *Store) Abort(n uint16, gen store.Generation) error {
	if err := s.queue.wait(); err != nil {
		return err
	}
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if err := s.mem.Abort(n, gen); err != nil {
		return err
	}
	return s.discardLocked(n, sl)
}
