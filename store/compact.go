package store

import "encoding/binary"

// tidy makes some steps of compaction where the memory held is above the limit
// although what is live is not: a writer that adds bytes pays for about as
// much. It sweeps the wheel, too. The caller holds no lock.
func (m *Memory) tidy(bytes int64) {
	m.sweep()
	for steps := bytes/pageSize + 1; steps > 0 && m.crowded(); steps-- {
		if !m.compacting.TryLock() {
			return
		}
		if m.compact() {
			m.barren.Store(0)
		} else { // look again when there is more to gain
			m.barren.Store(m.arena.waste() + pageSize/2)
		}
		m.compacting.Unlock()
	}
}

func (m *Memory) crowded() bool {
	return m.limit != 0 && m.arena.held.Load()+m.fixed() > m.limit && m.arena.waste() > m.barren.Load()
}

// compact empties a page of the class that has most free cells, and reports
// whether there was a class with a page's worth of them.
func (m *Memory) compact() bool {
	if m.closed.Load() {
		return false
	}
	given := m.index.giveEmpty() + m.wheel.heap.giveEmpty()
	var worst *class
	var in *heap
	most := 0
	for _, h := range []*heap{m.records, m.extents, m.index} {
		for i := range h.classes {
			c := &h.classes[i]
			c.mu.Lock()
			free := c.pages*int(c.cells) - c.live
			if waste := free * int(c.size); free >= int(c.cells) && waste > most {
				in, worst, most = h, c, waste
			}
			c.mu.Unlock()
		}
	}
	if worst == nil {
		return given > 0
	}
	m.empty(in, worst)
	return true
}

// giveEmpty gives away the last pages of classes that have no cell in use, and
// returns how many.
func (h *heap) giveEmpty() (n int) {
	for i := range h.classes {
		c := &h.classes[i]
		c.mu.Lock()
		if c.live == 0 && c.pages == 1 && c.room != 0 {
			num := c.room
			h.unlinkLocked(c, num, h.arena.page(num))
			c.pages--
			h.arena.givePage(num)
			n++
		}
		c.mu.Unlock()
	}
	return n
}

// empty moves the cells of the emptiest of some pages elsewhere.
func (m *Memory) empty(h *heap, c *class) {
	num, cells := h.drain(c)
	for _, cell := range cells {
		m.move(h, cell.at, cell.slot)
	}
	h.endDrain(c, num)
}

type ownedCell struct {
	at   ref
	slot uint16
}

// drain takes the emptiest of some pages with room out of use for new cells,
// and returns its live cells.
func (h *heap) drain(c *class) (num uint32, cells []ownedCell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	least := c.cells
	at := c.room
	for range 32 {
		if at == 0 {
			break
		}
		p := h.arena.page(at)
		if p.live < least {
			num, least = at, p.live
		}
		at = p.next
	}
	if num == 0 {
		return 0, nil
	}
	p := h.arena.page(num)
	h.unlinkLocked(c, num, p)
	if p.live == 0 {
		c.pages--
		h.arena.givePage(num)
		return 0, nil
	}
	p.draining = true
	for i := range p.bump {
		if slot := h.getOwner(num, i); slot != freeCell {
			cells = append(cells, ownedCell{ref(num)<<pageShift + ref(uint32(i)*c.size>>3), slot})
		}
	}
	return num, cells
}

// endDrain gives an emptied page away and puts another back into use. Until
// then nobody else does, so the page's head stays as it is.
func (h *heap) endDrain(c *class, num uint32) {
	if num == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := h.arena.page(num)
	p.draining = false
	switch p.live {
	case 0:
		c.pages--
		h.arena.givePage(num)
	case p.cells:
	default:
		h.linkLocked(c, num, p)
	}
}

// move copies a record, an extent or a part of an index to another cell, if its cell
// is still in use.
func (m *Memory) move(h *heap, at ref, n uint16) {
	s := m.slots[n].Load()
	if s == nil {
		return
	}
	m.relock(n)
	defer m.unlock(n)
	if m.closed.Load() || !h.owned(at, n) {
		return
	}
	find := m.recordRef
	switch {
	case h == m.index:
		m.moveIndex(&s.cur, at, n)
		m.moveIndex(&s.next, at, n)
		return
	case h == m.extents:
		find = m.extentRef
	default:
		if c := parse(m.arena.cell(at)); c.stub() {
			m.moveAll(&s.cur, at, n)
			m.moveAll(&s.next, at, n)
			return
		}
	}
	for _, t := range []*table{&s.cur, &s.next} {
		if set := find(t, at); set != nil {
			set(h.moved(at, n))
			return
		}
	}
}

// moved moves a cell and returns its new place.
func (h *heap) moved(at ref, slot uint16) (to ref) {
	size := h.size(at)
	to = h.alloc(size, slot)
	copy(h.arena.cell(to)[:size], h.arena.cell(at)[:size])
	h.free(at)
	return to
}

// moveAll moves what a table has in the page of at. A stub knows but a part of its
// hash, so that its entry has to be searched for in the whole slot: for all at once.
func (m *Memory) moveAll(t *table, at ref, slot uint16) {
	m.eachPage(t, 0, func(p indexPage, _ uint64) bool {
		for i := range p.count {
			if e := p.at(i); e.ref()>>pageShift == at>>pageShift {
				p.words[1+i] = uint64(e&^refMask | entry(m.records.moved(e.ref(), slot)))
			}
		}
		return true
	})
}

// moveIndex moves what a table's index has in the page of at.
func (m *Memory) moveIndex(t *table, at ref, slot uint16) {
	page := at >> pageShift
	if t.root>>pageShift == page {
		t.root = m.index.moved(t.root, slot)
	}
	if t.depth == 0 {
		return
	}
	dir := m.arena.words(t.root)[:1<<t.depth]
	var from, to ref
	for i, word := range dir { // several in a row may name one index page
		r := ref(word)
		if r>>pageShift != page {
			continue
		}
		if r != from {
			from, to = r, m.index.moved(r, slot)
		}
		dir[i] = uint64(to)
	}
}

// recordRef returns what changes the ref of a record that is no stub; nil: it is not
// in t.
func (m *Memory) recordRef(t *table, at ref) func(to ref) {
	c := m.arena.cell(at)
	h := parse(c)
	a := h.addr(c, 0)
	p := m.pageAt(t, a.hash)
	if p.ref == 0 {
		return nil
	}
	for i := p.search(a.hash); i < p.count && p.at(i).tag() == a.hash>>tagShift; i++ {
		if p.at(i).ref() == at {
			return func(to ref) { p.words[1+i] = uint64(p.at(i)&^refMask | entry(to)) }
		}
	}
	return nil
}

// extentRef returns what changes the ref of an extent; nil: it is not in t.
func (m *Memory) extentRef(t *table, at ref) (set func(to ref)) {
	hash := binary.LittleEndian.Uint64(m.arena.cell(at))
	m.each(t, hash, hash, func(h *head, _ *addr, c []byte) {
		if h.flags&flagExtents == 0 {
			return
		}
		_, n := split(h.vlen)
		for refs := c[h.values:]; n > 0; n-- {
			if place := refs[:8]; ref(binary.LittleEndian.Uint64(place)) == at {
				set = func(to ref) { binary.LittleEndian.PutUint64(place, uint64(to)) }
			}
			refs = refs[8:]
		}
	})
	return set
}

// owned reports whether a cell of a draining page belongs to a slot, whose lock
// the caller holds.
func (h *heap) owned(at ref, slot uint16) bool {
	num := uint32(at >> pageShift)
	c := &h.classes[h.arena.page(num).class]
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.getOwner(num, uint16((uint32(at)&(1<<pageShift-1))<<3/c.size)) == slot
}
