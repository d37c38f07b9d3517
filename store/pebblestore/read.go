package pebblestore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/slotmesh/slotmesh/store"
)

// Get implements store.Engine. It waits for the disk where the slot is not
// loaded yet, soon after Open.
func (s *Store) Get(dst []byte, slot uint16, kind uint8, key, field string, now int64) (store.Item, error) {
	if err := s.warm(slot); err != nil {
		return store.Item{}, err
	}
	return s.mem.Get(dst, slot, kind, key, field, now)
}

// fetchTries bounds how often a record may change between the look into memory
// and the read from disk.
const fetchTries = 100

// Fetch implements store.Engine. What it reads from disk it keeps in memory,
// where other values may be unloaded for it.
func (s *Store) Fetch(dst []byte, n uint16, kind uint8, key, field string, now int64) (store.Item, error) {
	if err := s.warm(n); err != nil {
		return store.Item{}, err
	}
	for range fetchTries {
		it, err := s.mem.Get(dst, n, kind, key, field, now)
		if err != nil || it.State != store.NotResident {
			return it, err
		}
		r, found, err := s.read(n, kind, key, field)
		if err != nil {
			return store.Item{}, err
		}
		if found && r.Version == it.Version {
			s.reload(n, r)
			return store.Item{
				State: store.Found, Value: append(dst, r.Value...)[len(dst):],
				Version: r.Version, Origin: r.Origin, Expiry: r.Expiry, Schema: r.Schema,
			}, nil
		}
		// It was changed or dropped in between, or it lies in a generation that
		// is about to be current on disk, or the stub is another address's.
		sl := s.slot(n)
		busy := sl.busy.Load() != 0
		if err := s.loadOthers(n, store.Hash(kind, key, field)); err != nil {
			return store.Item{}, err
		}
		if err := s.queue.drain(); err != nil {
			return store.Item{}, err
		}
		again, err := s.mem.Get(nil, n, kind, key, field, now)
		if err == nil && !found && !busy && again.State == store.NotResident && again.Version == it.Version && sl.busy.Load() == 0 {
			if _, found, err = s.read(n, kind, key, field); err == nil && !found {
				return store.Item{}, fmt.Errorf("%w: %s lacks a record of slot %d", ErrCorrupt, s.opts.Dir, n)
			}
		}
	}
	return store.Item{}, errBusy
}

// read reads a record from disk. Its value is the caller's.
func (s *Store) read(n uint16, kind uint8, key, field string) (r store.Record, found bool, err error) {
	err = s.disk(func() error {
		k := dataKey(nil, n, s.slot(n).diskGen(), kind, key, field)
		v, closer, err := s.db.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return s.readError(err)
		}
		defer closer.Close()
		if r, _, err = parseRecord(v); err != nil {
			return s.readError(err)
		}
		r.Kind, r.Key, r.Field = kind, key, field
		r.Value = append([]byte(nil), r.Value...)
		found = true
		return nil
	})
	return r, found, err
}

// readError says where a read failed.
func (s *Store) readError(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, errShort) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("read from %s: %w", s.opts.Dir, err)
}

// reload puts a value read from disk into memory, if there is room or can be
// made.
func (s *Store) reload(n uint16, r store.Record) {
	_ = s.withRoom(nil, need([]store.Record{r}), func() error {
		_, err := s.mem.Load(n, r)
		return err
	})
}

// loadOthers puts the records of a hash back into memory, so that none of
// their stubs can be taken for another address of that hash.
func (s *Store) loadOthers(n uint16, hash uint64) error {
	return s.scanHash(n, hash, func(r store.Record) bool {
		r.Value = append([]byte(nil), r.Value...)
		s.reload(n, r)
		return true
	})
}

// scanHash calls fn for the records on disk of one hash.
func (s *Store) scanHash(n uint16, hash uint64, fn func(store.Record) bool) error {
	lo := hashKey(nil, n, s.slot(n).diskGen(), hash)
	return s.scan(lo, after(lo), func(_ []byte, r store.Record) bool { return fn(r) })
}

// scan calls fn for the records on disk from lo up to hi. Key and value are
// valid until fn returns.
func (s *Store) scan(lo, hi []byte, fn func(key []byte, r store.Record) bool) error {
	return s.disk(func() error {
		err := s.each(lo, hi, func(it *pebble.Iterator) (bool, error) {
			at, err := parseKey(it.Key())
			if err != nil {
				return false, err
			}
			v, err := it.ValueAndErr()
			if err != nil {
				return false, err
			}
			r, _, err := parseRecord(v)
			if err != nil {
				return false, err
			}
			r.Kind, r.Key, r.Field = at.kind, at.key, at.field
			return fn(it.Key(), r), nil
		})
		if err != nil {
			return s.readError(err)
		}
		return nil
	})
}

// each calls fn at the keys from lo up to hi until it returns false. fn may
// move the iterator to just before where it is to go on.
func (s *Store) each(lo, hi []byte, fn func(*pebble.Iterator) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if more, err := fn(it); err != nil || !more {
			return err
		}
	}
	return it.Error()
}
