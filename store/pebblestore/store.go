// Package pebblestore keeps the records of slots in memory and, written
// behind, on disk in a Pebble database.
//
// A Store answers from a store.Memory: every address it knows is there, with
// its value or, where memory was short, as a stub of 24 bytes. A write changes
// memory, enters the queue and returns; one goroutine, the flusher, writes the
// queue to disk in batches, in order and with no Apply cut in two, so that a
// crash leaves of each slot a prefix of its history.
//
// Its one rule is that what is unloaded is on disk: a value whose write is
// still in the queue stays in memory.
package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/slotmesh/slotmesh/store"
)

// Store is a durable store.Engine.
type Store struct {
	*parking
	opts   Options
	budget budget
	mem    *store.Memory
	cache  *pebble.Cache
	lock   *pebble.Lock
	db     *pebble.DB
	queue  *queue
	slots  [store.Slots]atomic.Pointer[slot]
	watch  *watch
	*warming

	*teller
	marks    map[uint16]uint64   // the flusher's: highest versions written since Open
	written  [store.Slots]uint64 // the flusher's: highest versions on disk
	unsynced int                 // the flusher's: units written since the last sync
	moved    map[uint16]struct{} // the flusher's: slots whose marks are to be told

	full   atomic.Bool  // the last search for something to unload found nothing
	loaded atomic.Int64 // bytes of memory that were in use then, but for those of stubs

	copying sync.Mutex   // held by the one Checkpoint under way
	reading sync.RWMutex // shared by who uses db; guards closed
	closed  bool
	closing sync.Once
}

var _ store.Engine = (*Store)(nil)

// Open opens the directory, which it makes if it is missing, and returns before
// the records on disk are in memory: they follow in the background, values as
// far as the limit allows, the rest as stubs, and those of a slot at once when
// something asks for the slot. Until then Stats, Victims and Expired know of the
// loaded slots alone, and damage that shows parks the engine. With
// Options.Recover all is loaded, and damage found, before Open returns.
//
// Errors: ErrLocked, ErrCorrupt, ErrFormat; store.ErrNoMemory if not even the
// stubs fit within the limit; those of the file system.
func Open(opts Options) (*Store, error) {
	opts.ensureDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s, err := open(opts)
	if opts.Recover && errors.Is(err, ErrCorrupt) {
		aside, moveErr := moveAside(opts.FS, opts.Dir)
		if moveErr != nil {
			return nil, errors.Join(err, moveErr)
		}
		opts.Logger.Error("moved a damaged directory aside", "from", opts.Dir, "to", aside, "err", err)
		s, err = open(opts)
	}
	return s, err
}

func open(opts Options) (*Store, error) {
	b := opts.budget()
	s := &Store{
		parking: newParking(opts.Logger), opts: opts, budget: b, watch: newWatch(),
		warming: newWarming(), teller: newTeller(), marks: map[uint16]uint64{}, moved: map[uint16]struct{}{},
	}
	if err := makeDir(opts.FS, opts.Dir); err != nil {
		return nil, fmt.Errorf("make %s: %w", opts.Dir, err)
	}
	var err error
	if s.lock, err = pebble.LockDirectory(opts.Dir, opts.FS); err != nil {
		if path := (*fs.PathError)(nil); !errors.As(err, &path) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
		return nil, fmt.Errorf("lock %s: %w", opts.Dir, err)
	}
	s.cache = pebble.NewCache(b.cache)
	s.mem = store.NewMemory(store.MemoryOptions{Limit: b.records})
	err = s.guard(func() error {
		fresh, err := prepare(opts.FS, opts.Dir)
		if err != nil {
			return err
		}
		if err := checkPebble(opts.FS, opts.Dir); err != nil {
			return err
		}
		if s.db, err = pebble.Open(opts.Dir, s.pebbleOptions()); err != nil {
			return err
		}
		age := opts.MaxDirtyAge
		if opts.Fsync == Always {
			age = 0
		}
		s.queue = newQueue(s.parking, s.db, opts.MaxDirty, b.flush, age)
		if err := s.load(); err != nil {
			return err
		}
		switch {
		case fresh:
			s.warming.over.Store(true)
			return complete(opts.FS, opts.Dir)
		case opts.Recover: // once this has returned there is no moving aside
			return s.warmAll()
		}
		return nil
	})
	if err == nil {
		err = s.reason()
	}
	if err != nil {
		_ = errors.Join(s.shut(), s.mem.Close())
		return nil, fmt.Errorf("open %s: %w", opts.Dir, damage(err))
	}
	go s.watchDisk()                 // ends at the end of Close
	go s.run()                       // ends when the queue is closed and empty, or at a park
	go s.teller.run()                // ends after that, when all is told
	s.warming.group.Go(s.warmBehind) // ends with the last slot, or at Close
	return s, nil
}

func (s *Store) pebbleOptions() *pebble.Options {
	return &pebble.Options{
		FS: newFreezingFS(s.opts.FS, s.opts.Dir, s.parking, s.watch), Lock: s.lock, Cache: s.cache, Logger: pebbleLogger{s.parking}, EventListener: s.events(),
		FormatMajorVersion: pebble.FormatWALSyncChunks,
		MemTableSize:       uint64(s.budget.memtable), MemTableStopWritesThreshold: 2,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
}

// damage marks errors that are not the operating system's as damage.
func damage(err error) error {
	var no syscall.Errno
	switch {
	case pebble.IsCorruptionError(err), errors.Is(err, errShort):
	case errors.Is(err, ErrFormat), errors.Is(err, store.ErrNoMemory):
		return err
	case errors.As(err, &no) && no != syscall.ENOENT, errors.Is(err, fs.ErrPermission), errors.Is(err, store.ErrParked):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// disk calls fn, which may read from db, unless the engine is closed. A disk that hangs
// is asked nothing more.
func (s *Store) disk(fn func() error) error {
	if s.watch.hangs.Load() {
		return s.reason()
	}
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	return fn()
}

// closeWait is how long Close waits, each time, for what a disk that has failed may
// have left waiting, or with locks held, for ever.
const closeWait = 5 * time.Second

// Close implements store.Engine. After a failure of the disk it returns what
// the failure was; what was dirty then is lost. It waits no longer for a disk that hangs
// than until that counts as failed.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.warming.stop)
		s.awaitOrPark(s.warming.group.Wait)
		s.queue.close()
		s.awaitOrPark(func() { <-s.teller.ended })
		err = errors.Join(s.shut(), s.mem.Close())
		close(s.watch.stop)
		<-s.watch.ended
		if reason := s.reason(); !errors.Is(err, reason) {
			err = errors.Join(reason, err)
		}
	})
	return err
}

// shut closes what open has opened.
func (s *Store) shut() error {
	var err error
	close(s.freed)
	if s.db != nil {
		closed := s.awaitOrPark(func() {
			s.reading.Lock()
			s.closed = true
			s.reading.Unlock()
			err = s.guard(s.db.Close)
		})
		if !closed {
			s.log.Error("pebble does not close after the failure")
			return s.lock.Close()
		}
	}
	s.cache.Unref()
	return errors.Join(err, s.lock.Close())
}

// awaitOrPark returns when fn has; in a parked engine it gives up after some seconds, at
// once where the disk hangs still, and reports false. Then the goroutine of fn stays.
func (s *Store) awaitOrPark(fn func()) bool {
	done := make(chan struct{})
	go func() { // ends with fn
		defer close(done)
		fn()
	}()
	select {
	case <-done:
		return true
	case <-s.parked:
	}
	if s.watch.hangs.Load() && s.watch.awaited() {
		return false
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Jammed reports whether a write would wait for the disk now, or soon would: what those
// write who asked at the same time has room yet. Who must not wait
// without a deadline, or with a lock held, asks before it writes.
func (s *Store) Jammed() bool { return s.queue.full.Load() && s.reason() == nil }

// Durable implements store.Engine.
func (s *Store) Durable() bool { return true }

// Sync implements store.Engine. It syncs in every mode.
func (s *Store) Sync(uint16) error { return s.flush(nil) }

// flush adds what fn has to a unit, if it is not nil, and returns when all
// that was queued before, and it, is synced.
func (s *Store) flush(fn func(*unit)) error {
	u, err := s.queue.add(func(u *unit) {
		u.sync = true
		if fn != nil {
			fn(u)
		}
	})
	if err != nil {
		return err
	}
	return s.queue.await(u)
}

// Digest implements store.Engine.
func (s *Store) Digest(slot uint16, lo, hi uint64) (store.Digest, error) {
	if err := s.warm(slot); err != nil {
		return store.Digest{}, err
	}
	return s.mem.Digest(slot, lo, hi)
}

// MaxVersion implements store.Engine.
func (s *Store) MaxVersion(slot uint16) uint64 { return s.mem.MaxVersion(slot) }

// SlotStats implements store.Engine. Of a slot that cannot be loaded it counts
// what was.
func (s *Store) SlotStats(slot uint16) store.SlotStats {
	_ = s.warm(slot) // the error comes back to who reads or writes
	return s.mem.SlotStats(slot)
}

// Stats implements store.Engine.
func (s *Store) Stats() store.Stats {
	st := s.mem.Stats()
	st.Limit = s.opts.Limit
	st.DirtyBytes = s.queue.dirtyBytes()
	st.Bytes += st.DirtyBytes
	_ = s.disk(func() error {
		if s.reason() != nil { // a failed operation may have left locks behind
			return nil
		}
		m := s.db.Metrics()
		st.DiskBytes = int64(m.DiskSpaceUsage())
		st.Bytes += m.BlockCache.Size + int64(m.MemTable.Size)
		return nil
	})
	return st
}
