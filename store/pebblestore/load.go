package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/slotmesh/slotmesh/store"
)

// load reads back what is known of slots, but not their records: warm does.
// Open calls it before anything else runs.
func (s *Store) load() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.loadMeta(); err != nil {
		return err
	}
	if err := s.loadSlots(); err != nil {
		return err
	}
	return s.loadMarks()
}

// checkFormat reads the format version, and writes it in a new directory.
func (s *Store) checkFormat() error {
	v, closer, err := s.db.Get(versionKey)
	if err == nil {
		defer closer.Close()
		if len(v) != 1 || v[0] != formatVersion {
			return fmt.Errorf("%w %x, this release reads %d", ErrFormat, v, formatVersion)
		}
		return nil
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	empty := true
	if err := s.each(nil, nil, func(*pebble.Iterator) (bool, error) { empty = false; return false, nil }); err != nil {
		return err
	}
	if !empty {
		return fmt.Errorf("%w: there is none", ErrFormat)
	}
	return s.db.Set(versionKey, []byte{formatVersion}, pebble.Sync)
}

// checkPebble refuses what a later Pebble has written. That is no damage, and not to be
// moved aside, but its error for it is one among others.
func checkPebble(fs vfs.FS, dir string) error {
	v, err := atomicfs.ReadMarker(fs, dir, "format-version")
	if err != nil || v == "" {
		return err
	}
	if n, err := strconv.ParseUint(v, 10, 64); err == nil && n > uint64(pebble.FormatNewest) {
		return fmt.Errorf("%w: Pebble's %d, this release reads %d", ErrFormat, n, uint64(pebble.FormatNewest))
	}
	return nil
}

// eachIn is each for the keys of a room.
func (s *Store) eachIn(room byte, fn func(key, value []byte) error) error {
	return s.each([]byte{room}, []byte{room + 1}, func(it *pebble.Iterator) (bool, error) {
		v, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		return true, fn(it.Key(), v)
	})
}

func (s *Store) loadMeta() error {
	values := map[string][]byte{}
	err := s.eachIn(roomMeta, func(key, value []byte) error {
		values[string(key[1:])] = append([]byte{}, value...)
		return nil
	})
	if err != nil {
		return err
	}
	return s.mem.SetMeta(values)
}

func (s *Store) loadSlots() error {
	return s.eachIn(roomSlot, func(key, value []byte) error {
		gen, highest, err := parseSlotValue(value)
		if err != nil {
			return err
		}
		n, err := slotOf(key)
		if err != nil {
			return err
		}
		sl := s.slot(n)
		sl.cur, sl.last = gen, gen
		sl.disk.Store(uint32(gen))
		return s.learn(n, highest)
	})
}

// loadMarks lets MaxVersion be known of slots whose records are not loaded.
func (s *Store) loadMarks() error {
	return s.eachIn(roomMark, func(key, value []byte) error {
		n, err := slotOf(key)
		if err != nil || len(value) != 8 {
			return errShort
		}
		s.written[n] = binary.LittleEndian.Uint64(value)
		return s.learn(n, s.written[n])
	})
}

// learn lets memory know a slot's highest version: a tombstone of it, purged
// at once, is how memory learns.
func (s *Store) learn(n uint16, highest uint64) error {
	if highest == 0 {
		return nil
	}
	if err := s.mem.Apply(n, []store.Record{{Tombstone: true, Version: highest}}); err != nil {
		return err
	}
	return s.mem.Purge(n, highest)
}

func slotOf(key []byte) (uint16, error) {
	if len(key) != 3 || binary.BigEndian.Uint16(key[1:]) >= store.Slots {
		return 0, errShort
	}
	return binary.BigEndian.Uint16(key[1:]), nil
}

// loadRecords reads the records of a slot, which nobody writes to, and deletes
// what is left of generations that were never committed.
func (s *Store) loadRecords(n uint16, sl *slot) error {
	var stale [][]byte
	var last uint64 // hash
	err := s.each(slotPrefix(n), after(slotPrefix(n)), func(it *pebble.Iterator) (bool, error) {
		p, err := parseKey(it.Key())
		if err != nil {
			return false, err
		}
		if p.gen != sl.cur {
			prefix := genPrefix(nil, n, p.gen)
			stale = append(stale, prefix)
			it.SeekLT(after(prefix))
			return true, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		r, sum, err := parseRecord(v)
		if err != nil {
			return false, err
		}
		r.Kind, r.Key, r.Field = p.kind, p.key, p.field
		collides := p.hash == last
		last = p.hash
		return true, s.loadRecord(n, sl, r, sum, collides)
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	return s.guard(func() error {
		b := s.db.NewBatch()
		defer func() { _ = b.Close() }()
		for _, prefix := range stale {
			_ = b.DeleteRange(prefix, after(prefix), nil)
		}
		return s.db.Apply(b, pebble.NoSync)
	})
}

// loadRecord keeps a record in memory, without its value where there is no room.
func (s *Store) loadRecord(n uint16, sl *slot, r store.Record, sum uint32, whole bool) error {
	if whole || !s.mem.Short(need([]store.Record{r})+s.budget.records/16) {
		return s.withRoom(sl, need([]store.Record{r}), func() error { return s.mem.Apply(n, []store.Record{r}) })
	}
	sl.stubs.Store(true)
	r.Value = nil
	return s.withRoom(sl, 1<<10, func() error { return s.mem.LoadStub(n, r, sum) })
}
