package store

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	pageSize  = 128 << 10
	slabPages = 8
	slabSize  = slabPages * pageSize

	refBits   = 33 // in units of 8 bytes: 64 GiB
	slabShift = 17 // units in a slab
	pageShift = 14 // units in a page
	// MaxMemory is the most that a Memory holds: places have refBits.
	MaxMemory = 60 << 30
)

// ref is the place of a cell: its offset in 8-byte units from the first byte
// of slab 0, which is never allocated. 0 is no cell.
type ref uint64

type slab struct {
	mem   [slabSize]byte
	pages [slabPages]page
}

// arena hands out pages of large slabs without pointers, so that the garbage
// collector sees one object per slab, whatever lies in it. A slab comes from
// the Go heap and goes back when all its pages are free and enough others are.
type arena struct {
	// slabs is read without a lock; a cell's owner keeps its slab in place.
	slabs atomic.Pointer[[]*slab]
	// used is what live cells take, held what pages in use take, idle what
	// free pages of kept slabs take (some of it never touched).
	used, held, idle atomic.Int64

	mu    sync.Mutex // guards all below and writes to slabs
	free  []uint8    // by slab: the set of its free pages
	avail []uint32   // slabs that may have free pages
	gone  []uint32   // slabs given back
}

// page is the head of one page. Its heap's class guards it while it is in use.
type page struct {
	size       uint32 // of a cell
	class      uint16
	heap       uint8
	draining   bool
	cells      uint16
	live       uint16
	bump       uint16 // cells from here on were never used
	free       uint16 // head of the list of freed cells, plus 1
	next, prev uint32 // page numbers in the class's list of pages with room
}

func newArena() *arena {
	a := &arena{free: make([]uint8, 1)}
	a.slabs.Store(&[]*slab{nil})
	return a
}

// cell returns the bytes from r to the end of its slab.
func (a *arena) cell(r ref) []byte {
	s := (*a.slabs.Load())[r>>slabShift]
	return s.mem[(r&(1<<slabShift-1))<<3:]
}

// words returns the 8-byte words from r to the end of its slab.
func (a *arena) words(r ref) []uint64 {
	return (*a.slabs.Load())[r>>slabShift].words(r)
}

func (s *slab) words(r ref) []uint64 {
	return (*[slabSize / 8]uint64)(unsafe.Pointer(&s.mem))[r&(1<<slabShift-1):]
}

// takePage returns the number of a free page, whose head the caller sets up.
func (a *arena) takePage() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.avail) > 0 {
		n := a.avail[len(a.avail)-1]
		if set := a.free[n]; set != 0 {
			i := uint32(0)
			for set&(1<<i) == 0 {
				i++
			}
			a.free[n] &^= 1 << i
			a.held.Add(pageSize)
			a.idle.Add(-pageSize)
			return n*slabPages + i
		}
		a.avail = a.avail[:len(a.avail)-1]
	}
	n := a.addSlabLocked()
	a.free[n] = 1<<slabPages - 1 - 1
	a.avail = append(a.avail, n)
	a.held.Add(pageSize)
	a.idle.Add(slabSize - pageSize)
	return n * slabPages
}

func (a *arena) addSlabLocked() uint32 {
	old := *a.slabs.Load()
	if len(a.gone) > 0 {
		n := a.gone[len(a.gone)-1]
		a.gone = a.gone[:len(a.gone)-1]
		old[n] = newSlab() // nobody reads this element: no cell of it is live
		return n
	}
	slabs := append(old, newSlab()) // readers see only the elements before
	a.free = append(a.free, 0)
	a.slabs.Store(&slabs)
	return uint32(len(slabs) - 1)
}

// givePage takes back a page without live cells.
func (a *arena) givePage(n uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := n / slabPages
	if a.free[s] == 0 {
		a.avail = append(a.avail, s)
	}
	a.free[s] |= 1 << (n % slabPages)
	a.held.Add(-pageSize)
	a.idle.Add(pageSize)
	if a.free[s] == 1<<slabPages-1 && a.idle.Load() > 2*slabSize+a.held.Load()/4 {
		(*a.slabs.Load())[s] = nil
		a.free[s] = 0
		a.gone = append(a.gone, s)
		a.idle.Add(-slabSize)
	}
}

// page returns the head of page n, which is in use.
func (a *arena) page(n uint32) *page {
	return &(*a.slabs.Load())[n/slabPages].pages[n%slabPages]
}

// waste returns the bytes of free cells.
func (a *arena) waste() int64 { return a.held.Load() - a.used.Load() }

// reset lets go of all slabs. Nobody may use a cell then.
func (a *arena) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slabs.Store(&[]*slab{nil})
	a.free, a.avail, a.gone = make([]uint8, 1), nil, nil
	a.used.Store(0)
	a.held.Store(0)
	a.idle.Store(0)
}

// newSlab returns a slab in huge pages, where the system has some to spare: an
// access then misses the processor's caches, but not its page tables as well.
func newSlab() *slab {
	s := new(slab)
	advise(s)
	return s
}
