package meter

import "sync"

// Ring keeps the last of what was added to it.
type Ring[T any] struct {
	mu    sync.Mutex // guards below
	items []T
	next  int
	added uint64
}

// NewRing returns a ring of at most n.
func NewRing[T any](n int) *Ring[T] { return &Ring[T]{items: make([]T, 0, n)} }

// Add puts an item in the place of the oldest one.
func (r *Ring[T]) Add(item T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added++
	if len(r.items) < cap(r.items) {
		r.items = append(r.items, item)
		return
	}
	r.items[r.next] = item
	r.next = (r.next + 1) % len(r.items)
}

// All returns what is kept, oldest first.
func (r *Ring[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, 0, len(r.items))
	all = append(all, r.items[r.next:]...)
	return append(all, r.items[:r.next]...)
}

// Added returns how many items were ever added.
func (r *Ring[T]) Added() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.added
}
