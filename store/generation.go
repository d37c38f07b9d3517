package store

// Begin implements Engine.
func (m *Memory) Begin(slot uint16) (Generation, error) {
	m.clearing.RLock()
	defer m.clearing.RUnlock()
	s, err := m.lock(slot)
	if err != nil {
		return 0, err
	}
	old := s.next
	s.cur.max = max(s.cur.max, old.max)
	s.next, s.gen = table{}, Generation(m.gens.Add(1))
	gen := s.gen
	m.unlock(slot)
	m.clear(slot, &old)
	return gen, nil
}

// ApplyTo implements Engine.
func (m *Memory) ApplyTo(slot uint16, gen Generation, recs []Record) error {
	if gen == 0 {
		return ErrGeneration
	}
	return m.Write(slot, gen, recs, nil)
}

// open locks the slot whose open generation is gen.
func (m *Memory) open(slot uint16, gen Generation) (*slotState, error) {
	s, err := m.lock(slot)
	if err != nil {
		return nil, err
	}
	if gen == 0 || s.gen != gen {
		m.unlock(slot)
		return nil, ErrGeneration
	}
	return s, nil
}

// Confirm implements Engine. It copies the range.
func (m *Memory) Confirm(slot uint16, gen Generation, lo, hi uint64, want Digest) (bool, error) {
	m.tidy(0)
	s, err := m.open(slot, gen)
	if err != nil {
		return false, err
	}
	defer m.unlock(slot)
	if m.digestOf(&s.cur, lo, hi) != want {
		return false, nil
	}
	var need int64
	fit, packed := packing{m: m, t: &s.next, more: want.Records}, false
	m.each(&s.cur, lo, hi, func(h *head, a *addr, c []byte) {
		need += int64(h.values + h.vlen + 32)
		packed = packed || fit.full(a.hash, func() bool { return m.copied(&s.next, h, a, c) })
	})
	switch {
	case packed:
		return false, ErrTooLarge
	case m.Short(need):
		return false, ErrNoMemory
	}
	var value []byte
	m.each(&s.cur, lo, hi, func(h *head, a *addr, c []byte) {
		if h.stub() {
			m.copyStub(&s.next, slot, h, a, c)
			return
		}
		r := h.record(a)
		if !r.Tombstone {
			value = m.appendValue(value[:0], c, h)
			r.Value = value
		}
		w := prepared{*a, h.sum, flagsOf(&r), 0}
		w.size = cellSize(&r, w.flags)
		m.put(&s.next, slot, &r, &w)
	})
	return true, nil
}

// copied reports whether a table has the address of another one's cell.
func (m *Memory) copied(t *table, h *head, a *addr, c []byte) (ok bool) {
	if h.stub() {
		_, _, _, ok = m.findStubbed(t, a.hash, c[18]&63)
	} else {
		_, _, _, ok = m.find(t, a)
	}
	return ok
}

// record returns the record of a cell without its value.
func (h *head) record(a *addr) Record {
	return Record{Kind: a.kind, Key: a.key, Field: a.field, Tombstone: h.tombstone(),
		Version: h.version, Origin: h.origin, Expiry: h.expiry, Schema: h.schema}
}

// Commit implements Engine.
func (m *Memory) Commit(slot uint16, gen Generation) error {
	m.clearing.RLock()
	defer m.clearing.RUnlock()
	s, err := m.open(slot, gen)
	if err != nil {
		return err
	}
	old := s.cur
	s.cur, s.next, s.gen = s.next, table{}, 0
	s.cur.max = max(s.cur.max, old.max)
	m.unlock(slot)
	m.clear(slot, &old)
	return nil
}

// Abort implements Engine.
func (m *Memory) Abort(slot uint16, gen Generation) error {
	m.clearing.RLock()
	defer m.clearing.RUnlock()
	s, err := m.open(slot, gen)
	if err != nil {
		return err
	}
	old := s.next
	s.cur.max = max(s.cur.max, old.max)
	s.next, s.gen = table{}, 0
	m.unlock(slot)
	m.clear(slot, &old)
	return nil
}

// Drop implements Engine.
func (m *Memory) Drop(slot uint16) error {
	if m.slots[slot].Load() == nil && !m.closed.Load() {
		return nil
	}
	m.clearing.RLock()
	defer m.clearing.RUnlock()
	s, err := m.lock(slot)
	if err != nil {
		return err
	}
	cur, next := s.cur, s.next
	s.cur, s.next, s.gen = table{}, table{}, 0
	m.unlock(slot)
	m.clear(slot, &cur)
	m.clear(slot, &next)
	return nil
}

// Purge implements Engine.
func (m *Memory) Purge(slot uint16, floor uint64) error {
	return m.PurgeEach(slot, floor, nil)
}

// PurgeEach is Purge that calls fn, unless that is nil, with the slot locked
// for each tombstone that goes. The strings are valid until fn returns.
func (m *Memory) PurgeEach(slot uint16, floor uint64, fn func(kind uint8, key, field string)) error {
	s, err := m.lock(slot)
	if err != nil {
		return err
	}
	defer m.unlock(slot)
	if s.cur.tombs == 0 {
		return nil
	}
	// Tombstones are known by their policy bits: values are not touched.
	var gone []addr
	m.eachPage(&s.cur, 0, func(p indexPage, _ uint64) bool {
		for i := range p.count {
			e := p.at(i)
			if e&policyMask != policyTombstone {
				continue
			}
			c := m.arena.cell(e.ref())
			if h := parse(c); h.version <= floor {
				gone = append(gone, h.addr(c, e))
			}
		}
		return true
	})
	for i := range gone {
		if p, at, h, ok := m.find(&s.cur, &gone[i]); ok {
			if fn != nil {
				fn(gone[i].kind, gone[i].key, gone[i].field)
			}
			m.remove(&s.cur, slot, gone[i].hash, p, at, &h)
		}
	}
	return nil
}

// MaxVersion implements Engine.
func (m *Memory) MaxVersion(slot uint16) uint64 {
	s, _ := m.rlock(slot)
	if s == nil {
		return 0
	}
	defer m.gates[slot].RUnlock()
	return max(s.cur.max, s.next.max)
}
