package pebblestore

import (
	"cmp"
	"errors"
	"runtime"
	"slices"

	"github.com/slotmesh/slotmesh/store"
)

const (
	unloadBatch = 256
	unloadWaits = 3 // for flushes, while all there is to unload is dirty
)

// withRoom calls fn again, after other values were unloaded, while it reports
// that need bytes do not fit. The caller may hold one slot's lock.
func (s *Store) withRoom(held *slot, need int64, fn func() error) error {
	err := fn()
	for tries := 0; tries < 3 && errors.Is(err, store.ErrNoMemory) && s.makeRoom(held, need); tries++ {
		err = fn()
	}
	return err
}

// makeRoom unloads clean values until need more bytes fit, and some more, so
// that not every write has to.
func (s *Store) makeRoom(held *slot, need int64) bool {
	need += s.budget.records / 128
	var victims []store.Candidate
	locked := map[uint16]bool{} // slots found so
	may := func(n uint16) bool { return !locked[n] && s.mayUnload(n, held) }
	for waits := 0; s.mem.Short(need); {
		victims = s.mem.Victims(victims[:0], unloadBatch, may)
		unloaded, found := false, len(locked)
		for i := range victims {
			switch s.unload(held, &victims[i]) {
			case wasUnloaded:
				unloaded = true
			case slotLocked:
				locked[victims[i].Slot] = true
			}
		}
		if unloaded || len(locked) > found {
			continue
		}
		none := len(victims) == 0 && len(locked) == 0
		clear(locked)
		if waits++; none || waits > unloadWaits || s.queue.drain() != nil {
			s.loaded.Store(s.mem.Loaded())
			s.full.Store(true)
			return false
		}
		runtime.Gosched()
	}
	s.full.Store(false)
	return true
}

type unloading uint8

const (
	wasUnloaded unloading = iota
	slotLocked            // by somebody who writes to it or unloads from it
	notUnloaded
)

// unload unloads a value if it is on disk. Slots whose locks others have are
// left alone: whoever waited for them here might wait for a circle.
func (s *Store) unload(held *slot, c *store.Candidate) unloading {
	sl := s.slot(c.Slot)
	if sl != held {
		if !sl.mu.TryLock() {
			return slotLocked
		}
		defer sl.mu.Unlock()
	}
	if sl.busy.Load() != 0 || !s.queue.clean(c.Slot, c.Version) || s.reason() != nil {
		return notUnloaded
	}
	sl.stubs.Store(true) // before there is one: see Range
	if !s.mem.Unload(c.Address, c.Version) {
		return notUnloaded
	}
	return wasUnloaded
}

// Short implements store.Engine: memory is short where nothing is left to
// unload.
func (s *Store) Short(bytes int64) bool { return s.full.Load() && s.mem.Short(bytes) }

// Victims implements store.Engine. It proposes resident values; what is
// unloaded was a victim before. Where unloading gave no room the stubs are what takes
// it, and it proposes those first; but none once a quarter of the memory has filled with
// other values, which can be unloaded.
func (s *Store) Victims(dst []store.Candidate, n int, may func(uint16) bool) []store.Candidate {
	if !s.full.Load() {
		return s.mem.Victims(dst, n, may)
	}
	if s.mem.Loaded()-s.loaded.Load() > cmp.Or(s.budget.records, store.MaxMemory)/4 {
		s.full.Store(false) // the next write that finds no room unloads
		return dst
	}
	old := len(dst)
	if dst = s.identified(s.mem.Stubs(dst, n, may), old); len(dst) > old {
		return dst
	}
	return s.mem.Victims(dst, n, may)
}

// Expired implements store.Engine.
func (s *Store) Expired(dst []store.Candidate, n int, now func(uint16) int64, may func(uint16) bool) []store.Candidate {
	return s.identified(s.mem.Expired(dst, n, now, may), len(dst))
}

// identified looks up the addresses of the unloaded candidates from old on, and leaves
// out those that it does not find.
func (s *Store) identified(dst []store.Candidate, old int) []store.Candidate {
	kept := dst[:old]
	var failed error
	for _, c := range dst[old:] {
		if c.Unloaded {
			if err := s.identify(&c); err != nil {
				failed = err
			}
		}
		// A stub whose expiry was put off is found twice.
		if !c.Unloaded && !slices.Contains(kept[old:], c) {
			kept = append(kept, c)
		}
	}
	if failed != nil {
		s.log.Warn("cannot look up unloaded records", "err", failed)
	}
	return kept
}

// identify looks up the address of an unloaded candidate, and marks it as no longer
// that if it finds it.
func (s *Store) identify(c *store.Candidate) error {
	return s.scanHash(c.Slot, c.Hash, func(r store.Record) bool {
		if r.Version == c.Version {
			c.Kind, c.Key, c.Field, c.Unloaded = r.Kind, r.Key, r.Field, false
		}
		return c.Unloaded
	})
}
