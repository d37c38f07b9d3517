package store

import (
	"maps"
	"slices"
)

// Compact empties a page of every class, wasted or not.
func (m *Memory) Compact() {
	m.compacting.Lock()
	defer m.compacting.Unlock()
	m.compact()
	for _, h := range []*heap{m.records, m.extents, m.index} {
		for i := range h.classes {
			m.empty(h, &h.classes[i])
		}
	}
}

// SplitAt makes index pages split at n entries.
func (m *Memory) SplitAt(n int) { m.split = n }

// SweepEarly lets few words of the wheel be worth a sweep.
func (m *Memory) SweepEarly() {
	m.wheel.few = 4
	m.wheel.goal.Store(4)
}

// HoldAtMost bounds the entries of index pages that cannot split.
func (m *Memory) HoldAtMost(n int) { m.most = n }

// Live returns the bytes in live cells and those charged to slots and wheel.
func (m *Memory) Live() (cells, charged int64) {
	for i := range m.slots {
		if s := m.slots[i].Load(); s != nil {
			m.gates[i].Lock()
			charged += s.cur.bytes() + s.next.bytes()
			m.gates[i].Unlock()
		}
	}
	m.wheel.mu.Lock()
	defer m.wheel.mu.Unlock()
	lists := append(slices.Collect(maps.Values(m.wheel.buckets)), m.wheel.rest)
	for _, r := range lists {
		for ; r != 0; r = ref(m.arena.words(r)[0] >> 16) {
			charged += int64(m.wheel.heap.size(r))
		}
	}
	return m.arena.used.Load(), charged
}

// Held returns the bytes of pages in use.
func (m *Memory) Held() int64 { return m.arena.held.Load() }
