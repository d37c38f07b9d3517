package store

import "encoding/binary"

// A stub is what an unloaded record leaves, 24 bytes:
//
//	version 8 | sum 4 | flags 1 | hash 5 | expiry and check 6
//
// The first 24 bits of the hash are the entry's tag. Of the last six bytes 42
// bits are the expiry and 6 a check of the address that no one outside of this
// process can foretell: a stub stands for the address whose hash and check it
// has.
const stubSize = 24

const maxStubExpiry = 1<<42 - 1

func putStub(c []byte, h *head, a *addr, check uint8) {
	le := binary.LittleEndian
	le.PutUint64(c, h.version)
	le.PutUint32(c[8:], h.sum)
	le.PutUint64(c[16:], uint64(h.expiry)<<22|uint64(check&63)<<16|a.hash>>24&0xFFFF)
	le.PutUint32(c[12:], uint32(a.hash)<<8|flagStub)
}

// stubHash returns the last 40 bits of a stub's hash.
func stubHash(c []byte) uint64 {
	le := binary.LittleEndian
	return uint64(le.Uint32(c[12:])>>8) | le.Uint64(c[16:])&0xFFFF<<24
}

func parseStub(c []byte, h head) head {
	v := binary.LittleEndian.Uint64(c[16:24])
	h.kind = 0
	h.expiry = int64(v >> 22)
	return h
}

func (m *Memory) stubIs(c []byte, a *addr) bool {
	return stubHash(c) == a.hash&(1<<tagShift-1) && uint8(c[18]&63) == m.check(a)
}

// Unload drops the value and the address strings of a record and leaves a stub
// of 24 bytes, if the record is still of that version: Get of it returns
// NotResident from then on, all sums and counts stay as they are, and Range
// leaves it out. It is for durable engines, which call it only for records
// that are on disk.
//
// A record is kept where another one of the slot has the same hash, or its
// expiry is after the year 2109.
func (m *Memory) Unload(at Address, version uint64) bool {
	m.tidy(0) // unloading is to give memory back, not only cells
	s, err := m.lock(at.Slot)
	if err != nil {
		return false
	}
	defer m.unlock(at.Slot)
	a := addrOf(at.Kind, at.Key, at.Field)
	t := &s.cur
	_, _, h, ok := m.find(t, &a)
	if !ok || h.version != version || h.tombstone() || h.stub() || h.expiry < 0 || h.expiry > maxStubExpiry {
		return false
	}
	same := 0
	m.each(t, a.hash, a.hash, func(*head, *addr, []byte) { same++ })
	if same != 1 {
		return false
	}
	p, i, _, _ := m.find(t, &a)
	e := p.at(i)
	m.erase(t, e.ref(), &h)
	p.words[1+i] = uint64(e&^(policyMask|refMask) | policyStub | entry(m.newStub(t, at.Slot, &h, &a)))
	return true // a stub has no room for a mark: any bucket finds it
}

func (m *Memory) newStub(t *table, slot uint16, h *head, a *addr) ref {
	at := m.records.alloc(stubSize, slot)
	t.units += uint32(m.records.size(at) / 8)
	putStub(m.arena.cell(at), h, a, m.check(a))
	return at
}

// Load puts the value of an unloaded record back, if there is still a stub of
// that version. It reports ErrNoMemory if the value does not fit.
func (m *Memory) Load(slot uint16, r Record) (bool, error) {
	w := prepare(&r)
	if err := m.room(w.total(&r)); err != nil {
		return false, err
	}
	s, err := m.lock(slot)
	if err != nil {
		return false, err
	}
	defer m.unlock(slot)
	t := &s.cur
	p, i, h, ok := m.find(t, &w.addr)
	if !ok || !h.stub() || h.version != r.Version {
		return false, nil
	}
	e := p.at(i)
	m.erase(t, e.ref(), &h)
	at := m.write(t, slot, &r, &w)
	p.words[1+i] = uint64(e&^(policyMask|refMask) | m.evict.admit(w.hash, w.size) | entry(at))
	return true, nil // without a mark: the bucket that has the stub finds it
}

// LoadStub stores a record of which the value is on disk only: r without its
// Value, and the Sum it has with it. Higher version wins, as in Apply. A
// tombstone is stored whole.
func (m *Memory) LoadStub(slot uint16, r Record, sum uint32) error {
	if r.Tombstone || r.Expiry < 0 || r.Expiry > maxStubExpiry {
		return m.Apply(slot, []Record{r})
	}
	if m.Short(2 * stubSize) {
		return ErrNoMemory
	}
	s, err := m.lock(slot)
	if err != nil {
		return err
	}
	defer m.unlock(slot)
	t := &s.cur
	a := addrOf(r.Kind, r.Key, r.Field)
	if m.packed(t, prepared{addr: a}) {
		return ErrTooLarge
	}
	t.max = max(t.max, r.Version)
	p, i, old, ok := m.find(t, &a)
	if ok {
		if old.version >= r.Version {
			return nil
		}
		m.remove(t, slot, a.hash, p, i, &old)
	}
	h := head{version: r.Version, expiry: r.Expiry, sum: sum}
	t.sum += RecordHash(a.hash, h.version, h.expiry, h.sum)
	m.insert(t, slot, &a, entry(a.hash>>tagShift<<tagShift)|policyStub|entry(m.newStub(t, slot, &h, &a)))
	if h.expiry != 0 {
		m.wheel.file(m.wheel.start(h.expiry), slot, a.hash)
	}
	return nil
}

// copyStub puts a stub of one generation into another.
func (m *Memory) copyStub(t *table, slot uint16, h *head, a *addr, c []byte) {
	p, i, old, ok := m.findStubbed(t, a.hash, c[18]&63)
	if ok {
		if old.version >= h.version {
			return
		}
		m.remove(t, slot, a.hash, p, i, &old)
	}
	at := m.records.alloc(stubSize, slot)
	t.units += uint32(m.records.size(at) / 8)
	copy(m.arena.cell(at)[:stubSize], c)
	t.sum += RecordHash(a.hash, h.version, h.expiry, h.sum)
	m.insert(t, slot, a, entry(a.hash>>tagShift<<tagShift)|policyStub|entry(at))
}

// findStubbed finds the record or stub of the address that a hash and a check
// stand for.
func (m *Memory) findStubbed(t *table, hash uint64, check uint8) (p indexPage, i int, h head, ok bool) {
	if p = m.pageAt(t, hash); p.ref == 0 {
		return p, 0, h, false
	}
	for i = p.search(hash); i < p.count && p.at(i).tag() == hash>>tagShift; i++ {
		c := m.arena.cell(p.at(i).ref())
		h = parse(c)
		a := h.addr(c, p.at(i))
		if a.hash != hash {
			continue
		}
		if h.stub() && c[18]&63 == check || !h.stub() && m.check(&a) == check {
			return p, i, h, true
		}
	}
	return p, i, h, false
}
