package store

import (
	"encoding/binary"
	"slices"
	"sync"
)

// freeCell marks a cell in its page's table of owners.
const freeCell = 0xFFFF

// heap gives out cells of some hundred sizes. A page holds cells of one size;
// its last bytes say which slot owns each, two bytes a cell, so that a page can
// be emptied without knowing what its cells are. A freed cell is used again by
// the next record of its size.
//
// A heap's locks are taken last but for the arena's.
type heap struct {
	id      uint8
	arena   *arena
	classes []class
}

type class struct {
	size  uint32 // bytes of a cell, a multiple of 8
	cells uint16 // in a page

	mu    sync.Mutex // guards all below and the heads and owners of its pages
	room  uint32     // first page with a free cell; 0: none
	pages int
	live  int
}

// sizes are the cell sizes: steps of 8 up to 256, of a sixteenth up to 4 KiB,
// then of an eighth, each raised to fill the page.
var sizes = func() (list []uint32) {
	for size := 16; size < pageSize; {
		n := pageSize / (size + 2)
		list = append(list, uint32((pageSize/n-2)&^7))
		switch {
		case size < 256:
			size += 8
		case size < 4096:
			size += 1 << (log2(size) - 4)
		default:
			size += 1 << (log2(size) - 3)
		}
	}
	list = append(list, (pageSize-2)&^7)
	slices.Sort(list)
	return slices.Compact(list)
}()

// smallClasses maps (bytes+7)/8 of cells up to 4 KiB to their class.
var smallClasses = func() (table [4096/8 + 1]uint8) {
	for i := range table {
		c, _ := slices.BinarySearch(sizes, uint32(i*8))
		table[i] = uint8(c)
	}
	return table
}()

// maxCell is the size of the largest cell, a page of its own.
const maxCell = (pageSize - 2) &^ 7

func log2(n int) (bits int) {
	for ; n > 1; n >>= 1 {
		bits++
	}
	return bits
}

// classOf returns the class of cells for n bytes, n at most maxCell.
func classOf(n int) int {
	if n <= 4096 {
		return int(smallClasses[(n+7)>>3])
	}
	c, _ := slices.BinarySearch(sizes, uint32(n))
	return c
}

func newHeap(id uint8, a *arena) *heap {
	h := &heap{id: id, arena: a, classes: make([]class, len(sizes))}
	for i, size := range sizes {
		h.classes[i].size = size
		h.classes[i].cells = uint16(pageSize / (size + 2))
	}
	return h
}

// alloc returns a cell of at least n bytes that belongs to slot.
func (h *heap) alloc(n int, slot uint16) ref {
	ci := classOf(n)
	c := &h.classes[ci]
	c.mu.Lock()
	if c.room == 0 {
		h.addPageLocked(ci)
	}
	num := c.room
	p := h.arena.page(num)
	base := ref(num) << pageShift
	var i uint16
	if p.free != 0 {
		i = p.free - 1
		p.free = binary.LittleEndian.Uint16(h.arena.cell(base + ref(uint32(i)*c.size>>3)))
	} else {
		i = p.bump
		p.bump++
	}
	h.setOwner(num, i, slot)
	p.live++
	c.live++
	if p.live == p.cells {
		h.unlinkLocked(c, num, p)
	}
	c.mu.Unlock()
	h.arena.used.Add(int64(c.size))
	return base + ref(uint32(i)*c.size>>3)
}

func (h *heap) setOwner(page uint32, i uint16, slot uint16) {
	end := h.arena.cell(ref(page) << pageShift)[:pageSize]
	binary.LittleEndian.PutUint16(end[pageSize-2-2*int(i):], slot)
}

func (h *heap) getOwner(page uint32, i uint16) uint16 {
	end := h.arena.cell(ref(page) << pageShift)[:pageSize]
	return binary.LittleEndian.Uint16(end[pageSize-2-2*int(i):])
}

func (h *heap) addPageLocked(ci int) {
	c := &h.classes[ci]
	num := h.arena.takePage()
	*h.arena.page(num) = page{size: c.size, class: uint16(ci), heap: h.id, cells: c.cells}
	c.pages++
	h.linkLocked(c, num, h.arena.page(num))
}

func (h *heap) linkLocked(c *class, num uint32, p *page) {
	p.prev, p.next = 0, c.room
	if c.room != 0 {
		h.arena.page(c.room).prev = num
	}
	c.room = num
}

func (h *heap) unlinkLocked(c *class, num uint32, p *page) {
	if p.prev != 0 {
		h.arena.page(p.prev).next = p.next
	} else if c.room == num {
		c.room = p.next
	}
	if p.next != 0 {
		h.arena.page(p.next).prev = p.prev
	}
	p.prev, p.next = 0, 0
}

// size returns the bytes of r's cell; the caller owns it.
func (h *heap) size(r ref) int { return int(h.arena.page(uint32(r >> pageShift)).size) }

// free gives back a cell the caller owns.
func (h *heap) free(r ref) {
	num := uint32(r >> pageShift)
	p := h.arena.page(num)
	c := &h.classes[p.class]
	h.arena.used.Add(-int64(c.size))
	i := uint16((uint32(r) & (1<<pageShift - 1)) << 3 / c.size)

	c.mu.Lock()
	defer c.mu.Unlock()
	binary.LittleEndian.PutUint16(h.arena.cell(r), p.free)
	p.free = i + 1
	h.setOwner(num, i, freeCell)
	full := p.live == p.cells
	p.live--
	c.live--
	switch {
	case p.draining: // see endDrain
	case p.live == 0 && c.pages > 1:
		if !full {
			h.unlinkLocked(c, num, p)
		}
		c.pages--
		h.arena.givePage(num)
	case full:
		h.linkLocked(c, num, p)
	}
}

// count returns the live cells.
func (h *heap) count() (n int) {
	for i := range h.classes {
		c := &h.classes[i]
		c.mu.Lock()
		n += c.live
		c.mu.Unlock()
	}
	return n
}
