package pebblestore

import (
	"sync"
	"sync/atomic"

	"github.com/slotmesh/slotmesh/store"
)

// slot is made at the first write to a slot and stays.
type slot struct {
	// mu orders writes: records enter the queue in the order in which memory
	// took them. It nests outside of the queue's and all of memory's.
	mu   sync.Mutex
	cur  generation       // that writes go to
	next generation       // the open one
	last generation       // the highest one used
	gen  store.Generation // what memory calls next; 0: none open

	disk  atomic.Uint32 // the generation that is current on disk; set by the flusher
	busy  atomic.Int32  // commits, confirms and drops in the queue
	stubs atomic.Bool   // there may be unloaded records
}

func (s *Store) slot(n uint16) *slot {
	if sl := s.slots[n].Load(); sl != nil {
		return sl
	}
	s.slots[n].CompareAndSwap(nil, new(slot))
	return s.slots[n].Load()
}

func (sl *slot) diskGen() generation { return generation(sl.disk.Load()) }
