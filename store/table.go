package store

import "encoding/binary"

// prepared is what of a record can be had without a lock.
type prepared struct {
	addr
	sum   uint32
	flags uint8
	size  int // of its cell
}

func prepare(r *Record) prepared {
	flags := flagsOf(r)
	w := prepared{addrOf(r.Kind, r.Key, r.Field), r.Sum(), flags, cellSize(r, flags)}
	w.ahead = min(w.size, 128)
	return w
}

// total is the memory that storing the record takes at most.
func (w *prepared) total(r *Record) int64 {
	n := int64(w.size) + 32
	if w.flags&flagExtents != 0 {
		n += int64(len(r.Value))
	}
	return n + n/16
}

// put stores a record unless the table has it in the same version or a higher,
// and reports whether it did.
func (m *Memory) put(t *table, slot uint16, r *Record, w *prepared) bool {
	p, i, old, ok := m.find(t, &w.addr)
	if ok && old.version >= r.Version {
		return false
	}
	t.sum += RecordHash(w.hash, r.Version, expiryOf(r), w.sum)
	if r.Tombstone {
		t.tombs++
	}
	if !ok {
		at := m.write(t, slot, r, w)
		policy := m.evict.admit(w.hash, w.size)
		if r.Tombstone {
			policy = policyTombstone
		}
		m.insert(t, slot, &w.addr, entry(w.hash>>tagShift<<tagShift)|policy|entry(at))
		m.schedule(slot, r, w, at, &head{})
		return true
	}

	e := p.at(i)
	at := e.ref()
	t.sum -= RecordHash(w.hash, old.version, old.expiry, old.sum)
	if old.tombstone() {
		t.tombs--
	}
	if (old.flags|w.flags)&(flagExtents|flagStub) == 0 && classOf(old.size()) == classOf(w.size) {
		encode(m.arena.cell(at), r, w.flags, w.sum)
	} else {
		m.erase(t, at, &old)
		at = m.write(t, slot, r, w)
	}
	policy := e & policyMask
	switch {
	case r.Tombstone:
		policy = policyTombstone
	case old.tombstone() || old.stub():
		policy = m.evict.admit(w.hash, w.size)
	default:
		policy = hit(policy)
	}
	p.words[1+i] = uint64(e&^(policyMask|refMask) | policy | entry(at))
	m.schedule(slot, r, w, at, &old)
	return true
}

// maxExpiry is in the year 6429. A cell has 48 bits for an expiry; one that needs more
// is as far away as they can say.
const maxExpiry = 1<<47 - 1

// expiryOf returns the expiry that is stored: a tombstone has none.
func expiryOf(r *Record) int64 {
	if r.Tombstone {
		return 0
	}
	return min(max(r.Expiry, -maxExpiry), maxExpiry)
}

// schedule files a record with the wheel, unless a bucket that the record it replaced,
// if any, was in finds it: the same one, or the one of a record without a mark.
func (m *Memory) schedule(slot uint16, r *Record, w *prepared, at ref, old *head) {
	expiry := expiryOf(r)
	if w.flags&flagExpiry == 0 || old.expiry != 0 && old.mark == 0 && expiry >= old.expiry {
		return
	}
	start := m.wheel.start(expiry)
	if mark := markOf(start); mark != old.mark {
		m.wheel.file(start, slot, w.hash)
	}
	setMark(m.arena.cell(at), w.flags, markOf(start))
}

// write stores a record in new cells.
func (m *Memory) write(t *table, slot uint16, r *Record, w *prepared) ref {
	at := m.records.alloc(w.size, slot)
	t.units += uint32(m.records.size(at) / 8)
	c := m.arena.cell(at)
	p := encode(c, r, w.flags, w.sum)
	if w.flags&flagExtents == 0 {
		return at
	}
	inline, n := split(len(r.Value))
	rest := r.Value[inline:]
	for i := range n {
		size := nextExtent(len(rest))
		x := m.extents.alloc(extentHead+size, slot)
		t.units += uint32((extentHead + size) / 8)
		cell := m.arena.cell(x)
		binary.LittleEndian.PutUint64(cell, w.hash)
		copy(cell[extentHead:], rest[:size])
		rest = rest[size:]
		binary.LittleEndian.PutUint64(c[p+8*i:], uint64(x))
	}
	return at
}

// erase frees a record's cells.
func (m *Memory) erase(t *table, at ref, h *head) {
	if h.flags&flagExtents != 0 {
		c := m.arena.cell(at)
		_, n := split(h.vlen)
		for i := range n {
			x := ref(binary.LittleEndian.Uint64(c[h.values+8*i:]))
			t.units -= uint32(m.extents.size(x) / 8)
			m.extents.free(x)
		}
	}
	t.units -= uint32(m.records.size(at) / 8)
	m.records.free(at)
}

// appendValue appends a record's value to dst.
func (m *Memory) appendValue(dst, c []byte, h *head) []byte {
	if h.flags&flagExtents == 0 {
		return append(dst, c[h.values:h.values+h.vlen]...)
	}
	inline, n := split(h.vlen)
	if need := len(dst) + h.vlen; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	from := h.values + 8*n
	dst = append(dst, c[from:from+inline]...)
	rest := h.vlen - inline
	for i := range n {
		size := nextExtent(rest)
		x := ref(binary.LittleEndian.Uint64(c[h.values+8*i:]))
		dst = append(dst, m.arena.cell(x)[extentHead:extentHead+size]...)
		rest -= size
	}
	return dst
}

// remove takes the record at p, i out.
func (m *Memory) remove(t *table, slot uint16, hash uint64, p indexPage, i int, h *head) {
	t.sum -= RecordHash(hash, h.version, h.expiry, h.sum)
	if h.tombstone() {
		t.tombs--
	}
	m.erase(t, p.at(i).ref(), h)
	m.cut(t, slot, hash, p, i)
}

// clear frees all cells of a table that was taken out of its slot. It locks
// the slot for a page at a time, since compaction may look at the cells. The caller
// shares clearing since before it took the table, or Close would not wait.
func (m *Memory) clear(slot uint16, t *table) {
	m.eachPage(t, 0, func(p indexPage, _ uint64) bool {
		m.relock(slot)
		defer m.unlock(slot)
		for i := range p.count {
			at := p.at(i).ref()
			h := parse(m.arena.cell(at))
			m.erase(t, at, &h)
		}
		m.freeIndex(t, p.ref)
		return true
	})
	if t.depth != 0 {
		m.freeIndex(t, t.root)
	}
}

// digestOf sums up the records whose hash is in [lo, hi].
func (m *Memory) digestOf(t *table, lo, hi uint64) (d Digest) {
	if lo == 0 && hi == ^uint64(0) {
		return Digest{Sum: t.sum, Records: int(t.count)}
	}
	m.each(t, lo, hi, func(h *head, a *addr, _ []byte) {
		d.Sum += RecordHash(a.hash, h.version, h.expiry, h.sum)
		d.Records++
	})
	return d
}

// each calls fn for the records whose hash is in [lo, hi], in order. fn must
// not change the table; a's strings alias the cell.
func (m *Memory) each(t *table, lo, hi uint64, fn func(h *head, a *addr, c []byte)) {
	if lo > hi {
		return
	}
	m.eachPage(t, lo, func(p indexPage, last uint64) bool {
		n := p.count
		for i := p.search(lo); i < n; i++ {
			e := p.at(i)
			if e.tag() > hi>>tagShift {
				return false
			}
			c := m.arena.cell(e.ref())
			h := parse(c)
			if a := h.addr(c, e); lo <= a.hash && a.hash <= hi {
				fn(&h, &a, c)
			}
		}
		return last < hi
	})
}
