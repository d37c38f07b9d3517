package pebblestore

import (
	"sync"
	"sync/atomic"
)

// teller calls OnDurable's function, on a goroutine of its own: that may wait for a
// lock whose holder waits for the flusher, for room in the queue.
type teller struct {
	onDurable atomic.Pointer[func(slot uint16, version uint64)]
	kick      chan struct{} // capacity 1: there are marks; closed when the flusher ends
	ended     chan struct{} // closed when all is told after that

	mu    sync.Mutex        // guards marks
	marks map[uint16]uint64 // to be told
}

func newTeller() *teller {
	return &teller{kick: make(chan struct{}, 1), ended: make(chan struct{}), marks: map[uint16]uint64{}}
}

// OnDurable implements store.Engine.
func (t *teller) OnDurable(fn func(slot uint16, version uint64)) { t.onDurable.Store(&fn) }

// note has a mark told. It waits for nobody.
func (t *teller) note(n uint16, mark uint64) {
	t.mu.Lock()
	t.marks[n] = mark
	t.mu.Unlock()
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// forget leaves out what was not told yet of a slot.
func (t *teller) forget(n uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.marks, n)
}

func (t *teller) run() {
	defer close(t.ended)
	for range t.kick {
		t.mu.Lock()
		marks := t.marks
		t.marks = map[uint16]uint64{}
		t.mu.Unlock()
		fn := t.onDurable.Load()
		for n, mark := range marks {
			if fn != nil {
				(*fn)(n, mark)
			}
		}
	}
}
