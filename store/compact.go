package store

// tidy makes one step of compaction where the memory held is above the limit
// although what is live is not: writers pay for the fragmentation they make, a
// page at a time. The caller holds no lock.
func (m *Memory) tidy() {
	if m.limit == 0 || m.arena.held.Load()+m.fixed() <= m.limit {
		return
	}
	if m.compacting.TryLock() {
		m.compact()
		m.compacting.Unlock()
	}
}

// compact empties the emptiest of some pages of the class of records that
// wastes most.
func (m *Memory) compact() {
	if m.closed.Load() {
		return
	}
	var worst *class
	most := 2 * pageSize // below two pages there is nothing to gain
	for i := range m.records.classes {
		c := &m.records.classes[i]
		c.mu.Lock()
		waste := (c.pages*int(c.cells) - c.live) * int(c.size)
		c.mu.Unlock()
		if waste > most {
			worst, most = c, waste
		}
	}
	if worst == nil {
		return
	}
	m.empty(worst)
}

// empty moves the records of the emptiest of some pages elsewhere.
func (m *Memory) empty(c *class) {
	num, cells := m.records.drain(c)
	for _, c := range cells {
		m.move(c.at, c.slot)
	}
	m.records.endDrain(c, num)
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

// move copies a record to another cell, if the cell is still a record's.
func (m *Memory) move(at ref, n uint16) {
	s := m.slots[n].Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.closed.Load() || !m.records.owned(at, n) {
		return
	}
	c := m.arena.cell(at)
	h := parse(c)
	for _, t := range []*table{&s.cur, &s.next} {
		p, i, ok := m.findCell(t, c, &h, at)
		if !ok {
			continue
		}
		size := m.records.size(at)
		to := m.records.alloc(size, n)
		copy(m.arena.cell(to)[:size], c[:size])
		p.words[1+i] = uint64(p.at(i)&^refMask | entry(to))
		m.records.free(at)
		return
	}
}

// findCell finds the entry of a cell.
func (m *Memory) findCell(t *table, c []byte, h *head, at ref) (p indexPage, i int, ok bool) {
	if h.stub() { // it has only a part of its hash
		m.eachPage(t, 0, func(q indexPage, _ uint64) bool {
			for j := range q.count {
				if q.at(j).ref() == at {
					p, i, ok = q, j, true
				}
			}
			return !ok
		})
		return p, i, ok
	}
	a := h.addr(c, 0)
	if p = m.pageAt(t, a.hash); p.ref == 0 {
		return p, 0, false
	}
	for i = p.search(a.hash); i < p.count && p.at(i).tag() == a.hash>>tagShift; i++ {
		if p.at(i).ref() == at {
			return p, i, true
		}
	}
	return p, 0, false
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
