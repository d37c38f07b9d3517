package pebblestore

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// run is the flusher, the one goroutine that writes to Pebble. It ends when
// the queue is closed and empty, or the engine is parked.
func (s *Store) run() {
	defer close(s.teller.kick)
	defer func() {
		if r := recover(); r != nil { // a failed log write of Pebble
			s.park(fmt.Errorf("write to disk: %v", r))
		}
	}()
	for {
		<-s.queue.kick
		for u := s.queue.take(); u != nil; u = s.queue.take() {
			if s.reason() != nil {
				return
			}
			if err := s.write(u); err != nil {
				s.park(err)
				return
			}
		}
		if s.queue.empty() {
			return
		}
	}
}

// empty reports whether nothing is left and nothing more will come.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closing && len(q.units) == 0
}

// write writes a unit and tells of it.
func (s *Store) write(u *unit) error {
	opts := pebble.NoSync
	synced := u.sync || s.opts.Fsync != Never && !s.maySyncLater(u)
	if synced {
		opts = pebble.Sync
	}
	s.mark(u)
	var err error
	if u.batch.Empty() {
		if u.sync || synced && s.unsynced > 0 {
			err = s.db.LogData(nil, opts)
		}
	} else {
		err = s.db.Apply(u.batch, opts)
	}
	if err == nil && u.after != nil {
		err = u.after()
	}
	if err == nil {
		err = s.reason() // a frozen file system reports success
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", s.opts.Dir, err)
	}
	if s.unsynced++; synced {
		s.unsynced = 0
	}
	_ = u.batch.Close()
	for _, sp := range u.slots {
		for _, fn := range sp.moves {
			fn()
		}
		sp.slot.busy.Add(-int32(len(sp.moves)))
	}
	for _, fn := range u.metas {
		fn()
	}
	s.tell(u, synced)
	s.queue.finish(u)
	return nil
}

// maxUnsynced bounds how many units in a row are written without a sync because
// the next one is there already.
const maxUnsynced = 32

// maySyncLater reports whether the sync of a unit may be left to the next one.
// Units that end with work of their own are many and small while copies of slots
// are confirmed; a sync for each would take longer than all else. Who saves meta
// values was promised a sync when the unit is done.
func (s *Store) maySyncLater(u *unit) bool {
	return u.after != nil && u.metas == nil && s.unsynced < maxUnsynced && s.queue.last() != u
}

// mark adds the highest versions of the slots that a unit writes to.
func (s *Store) mark(u *unit) {
	for n, sp := range u.slots {
		if sp.dropped {
			s.written[n] = 0
			u.delete(markKey(n))
		}
		if sp.mark > s.written[n] {
			s.written[n] = sp.mark
			u.set(markKey(n), binary.LittleEndian.AppendUint64(nil, sp.mark))
		}
	}
}

// tell reports the marks that a unit moved. Marks of units that were not
// synced are kept for the next one that is.
func (s *Store) tell(u *unit, synced bool) {
	for n, sp := range u.slots {
		if sp.dropped {
			delete(s.marks, n)
			s.teller.forget(n)
		}
		if sp.mark > s.marks[n] {
			s.marks[n] = sp.mark
			s.moved[n] = struct{}{}
		}
	}
	if !synced {
		return
	}
	for n := range s.moved {
		if mark := s.marks[n]; mark != 0 {
			s.teller.note(n, mark)
		}
	}
	clear(s.moved)
}
