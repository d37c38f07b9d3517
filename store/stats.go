package store

import "unsafe"

// reserve is the share of the limit that free cells and pages may take.
const reserve = 16

// charged is the memory that records, indexes and the engine itself need.
func (m *Memory) charged() int64 {
	return m.arena.used.Load() + m.fixed()
}

// fixed is the memory outside of the arena.
func (m *Memory) fixed() int64 {
	return int64(m.live.Load())*int64(unsafe.Sizeof(slotState{})) + m.evict.bytes.Load() + int64(unsafe.Sizeof(*m))
}

// Short implements Engine. It is a few loads and additions.
//
// Where fragmentation has taken the reserve and more, it is short too, until
// deletes have given compaction something to gain.
func (m *Memory) Short(bytes int64) bool {
	if m.limit == 0 {
		return max(m.charged(), m.arena.held.Load())+bytes > MaxMemory // free cells need places, too
	}
	return m.charged()+bytes > m.limit-m.limit/reserve || m.arena.held.Load()+m.fixed() > m.limit+m.limit/(2*reserve)
}

// room reports ErrNoMemory if need more bytes do not fit.
func (m *Memory) room(need int64) error {
	if need > 0 && m.Short(need) {
		return ErrNoMemory
	}
	m.tidy(need)
	return nil
}

// SlotStats implements Engine.
func (m *Memory) SlotStats(slot uint16) SlotStats {
	s, _ := m.rlock(slot)
	if s == nil {
		return SlotStats{}
	}
	defer m.gates[slot].RUnlock()
	return SlotStats{Records: int(s.cur.count), Tombstones: int(s.cur.tombs), Bytes: s.cur.bytes() + s.next.bytes()}
}

// Stats implements Engine. It visits every slot.
func (m *Memory) Stats() Stats {
	st := Stats{Bytes: m.arena.held.Load() + m.arena.idle.Load() + m.fixed(), Limit: m.limit}
	for i := range m.slots {
		if s, _ := m.rlock(uint16(i)); s != nil {
			st.Records += int(s.cur.count)
			st.Tombstones += int(s.cur.tombs)
			m.gates[i].RUnlock()
		}
	}
	return st
}

// Close implements Engine.
func (m *Memory) Close() error {
	m.compacting.Lock()
	defer m.compacting.Unlock()
	if m.closed.Swap(true) {
		return nil
	}
	// Whoever holds a lock now finishes first; whoever takes one later sees
	// that the engine is closed. Then nobody looks at the arena.
	m.clearing.Lock()
	defer m.clearing.Unlock()
	m.wheel.close()
	for i := range m.slots {
		if s := m.slots[i].Load(); s != nil {
			m.relock(uint16(i))
			s.cur, s.next, s.gen = table{}, table{}, 0
			m.unlock(uint16(i))
		}
	}
	m.arena.reset()
	return nil
}
