package pebblestore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/store"
)

// warming brings the records of slots into memory after Open has returned: in
// the background one slot after another, and at once whichever is asked for. A
// slot is loaded as a whole, since digests, counts and misses need all of it.
type warming struct {
	one   sync.Mutex  // held by who loads a slot; a slot's lock nests in it
	over  atomic.Bool // every slot is loaded
	cold  [store.Slots / 64]atomic.Uint64
	stop  chan struct{}  // closed by Close
	group sync.WaitGroup // the background's goroutine
}

func newWarming() *warming {
	w := &warming{stop: make(chan struct{})}
	for i := range w.cold {
		w.cold[i].Store(^uint64(0))
	}
	return w
}

func (w *warming) isCold(n uint16) bool { return !w.over.Load() && w.cold[n/64].Load()>>(n%64)&1 != 0 }

// warm returns when the slot is loaded. The caller holds no lock.
//
// After damage on disk its error names the file, the slot stays cold and the
// engine is parked: a part of what it promised to keep is lost, and somebody has
// to know.
func (s *Store) warm(n uint16) error {
	if !s.warming.isCold(n) {
		return nil
	}
	s.warming.one.Lock()
	defer s.warming.one.Unlock()
	sl := s.slot(n)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if !s.warming.isCold(n) {
		return nil
	}
	err := s.disk(func() error {
		if err := s.loadRecords(n, sl); err != nil {
			return s.readError(err)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("load slot %d: %w", n, err)
		if errors.Is(err, ErrCorrupt) {
			s.park(err)
		}
		return err
	}
	s.warming.cold[n/64].And(^(uint64(1) << (n % 64)))
	return nil
}

// mayUnload reports whether a slot's values may be unloaded by who holds the
// lock of held: not those of a slot that somebody else is loading, who has its
// lock for long.
func (s *Store) mayUnload(n uint16, held *slot) bool {
	return !s.warming.isCold(n) || s.slots[n].Load() == held
}

// warmAll loads all slots, until Close.
func (s *Store) warmAll() error {
	for n := range uint16(store.Slots) {
		select {
		case <-s.warming.stop:
			return nil
		default:
		}
		if err := s.warm(n); err != nil {
			return err
		}
	}
	s.warming.over.Store(true)
	return nil
}

// warmBehind is warmAll beside the calls.
func (s *Store) warmBehind() {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := s.warmAll()
		if err == nil || s.reason() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		s.log.Warn("loading from disk waits", "err", err) // for memory, mostly
		select {
		case <-s.warming.stop:
			return
		case <-time.After(wait):
		}
	}
}
