package store

import (
	"sync"
	"sync/atomic"
)

// evictor picks victims as S3-FIFO does (Yang et al., SOSP 2023): a new record
// is on probation until a tenth of the limit has been written after it. Who was
// read twice by then joins the main part, the others are victims, and ghosts
// remember their hashes: who returns soon joins the main part at once. So a
// scan passes through a tenth of the memory. In the main part a clock hand
// takes a hit from each record it passes and picks those without any.
//
// The queues of the paper would cost 4 to 8 bytes a record. Here the order is
// that of the index, with two hands. In an entry, stamp is the writing time of
// a record on probation in fortieths of the limit, modulo 16; the hand that
// collects them moves so fast that none is passed over for long. What is no
// value is in the main part under stamps of its own.
type evictor struct {
	period  int64 // bytes written in one stamp; 0: no limit, no aging
	written atomic.Int64
	bytes   atomic.Int64 // of the ghosts
	ghosts  atomic.Pointer[[]uint32]

	mu                       sync.Mutex // guards the hands; taken before a slot's lock
	probation, circle, stubs hand
}

// hand is a place in the order of all entries.
type hand struct {
	slot int
	hash uint64
}

const (
	policyValue     = entry(0)
	policyMain      = entry(mainBit)
	policyTombstone = policyMain | 1<<stampShift
	policyStub      = policyMain | 2<<stampShift
	stampMask       = entry(15) << stampShift

	probationStamps = 4 // of 40
	sweep           = 32
	promoteHits     = 2
)

func (v *evictor) init(limit int64) {
	v.period = limit / 40
}

func (v *evictor) stamp() entry {
	if v.period == 0 {
		return 0
	}
	return entry(v.written.Load()/v.period&15) << stampShift
}

// admit returns the policy bits of a new value of size bytes.
func (v *evictor) admit(hash uint64, size int) entry {
	if v.period == 0 {
		return policyValue
	}
	v.written.Add(int64(size))
	if g := v.ghosts.Load(); g != nil && atomic.LoadUint32(ghost(*g, hash)) == uint32(hash) {
		return policyMain
	}
	return v.stamp()
}

// ghost returns the place of a victim's hash.
func ghost(g []uint32, hash uint64) *uint32 {
	return &g[hash>>32&uint64(len(g)-1)]
}

// remember makes a ghost of a victim.
func (v *evictor) remember(hash uint64) {
	if g := v.ghosts.Load(); g != nil {
		atomic.StoreUint32(ghost(*g, hash), uint32(hash))
	}
}

// fitGhosts makes room for about as many ghosts as there are records.
func (v *evictor) fitGhosts(records int) {
	n := 1024
	for n < records {
		n *= 2
	}
	if g := v.ghosts.Load(); v.period != 0 && (g == nil || len(*g) < n) {
		list := make([]uint32, n)
		v.ghosts.Store(&list)
		v.bytes.Store(int64(4 * n))
	}
}

// touch counts a read of the entry at i, which was e. A lost race loses a hit.
func (p indexPage) touch(i int, e entry) {
	if h := hit(e); h != e {
		atomic.CompareAndSwapUint64(&p.words[1+i], uint64(e), uint64(h))
	}
}

// hit adds a hit; they are counted up to 3.
func hit(e entry) entry {
	if e&hitsMask == hitsMask {
		return e
	}
	return e + 1<<hitsShift
}

func (e entry) hits() int { return int(e & hitsMask >> hitsShift) }

// pass is what a hand does with an entry.
type pass func(v *evictor, e entry) (next entry, victim bool)

// passProbation judges records on probation whose time is over.
func passProbation(v *evictor, e entry) (entry, bool) {
	age := (v.stamp() - e&stampMask) & stampMask >> stampShift
	switch {
	case e&mainBit != 0 || age < probationStamps:
		return e, false
	case e.hits() >= promoteHits:
		return e&^(stampMask|hitsMask) | mainBit, false
	}
	return e, true
}

// passMain judges values of the main part.
func passMain(_ *evictor, e entry) (entry, bool) {
	if e&(mainBit|stampMask) != mainBit {
		return e, false
	}
	if e&hitsMask == 0 {
		return e, true
	}
	return e - 1<<hitsShift, false
}

// passAny takes any value.
func passAny(_ *evictor, e entry) (entry, bool) {
	return e, e&mainBit == 0 || e&stampMask == 0
}

// passStub takes stubs.
func passStub(_ *evictor, e entry) (entry, bool) {
	return e, e&(mainBit|stampMask) == policyStub
}

// Stubs appends up to n unloaded records of the slots that may names (nil: all), each
// time others: they were victims once. It is for durable engines.
func (m *Memory) Stubs(dst []Candidate, n int, may func(slot uint16) bool) []Candidate {
	v := &m.evict
	v.mu.Lock()
	defer v.mu.Unlock()
	return m.turn(dst, len(dst)+n, &v.stubs, passStub, may, -1)
}

// Loaded is how many bytes the cells of records take that are not unloaded, tombstones
// too; it leaves out those that are as small as stubs. It is for durable engines.
func (m *Memory) Loaded() (bytes int64) {
	stubs := classOf(stubSize)
	for _, h := range []*heap{m.records, m.extents} {
		for i := range h.classes {
			if h == m.records && i == stubs {
				continue
			}
			c := &h.classes[i]
			c.mu.Lock()
			bytes += int64(c.live) * int64(c.size)
			c.mu.Unlock()
		}
	}
	return bytes
}

// Victims implements Engine. It looks at records on probation first, then at
// the main part, and takes what it finds where nothing else is left.
func (m *Memory) Victims(dst []Candidate, n int, may func(slot uint16) bool) []Candidate {
	v := &m.evict
	v.mu.Lock()
	defer v.mu.Unlock()
	if n <= 0 || m.closed.Load() {
		return dst
	}
	if v.ghosts.Load() == nil {
		v.fitGhosts(m.records.count())
	}
	want := len(dst) + n
	dst = m.turn(dst, want, &v.probation, passProbation, may, max(sweep*n, 1024))
	for rounds := 0; len(dst) < want && rounds < 5; rounds++ {
		dst = m.turn(dst, want, &v.circle, passMain, may, -1)
	}
	if len(dst) < want {
		dst = m.turn(dst, want, &v.circle, passAny, may, -1)
	}
	return dst
}

// turn moves a hand until dst has want candidates, budget entries were seen
// (below 0: any number) or the hand is where it began.
func (m *Memory) turn(dst []Candidate, want int, at *hand, judge pass, may func(slot uint16) bool, budget int) []Candidate {
	for slots := 0; slots <= Slots && len(dst) < want && budget != 0; slots++ {
		slot := uint16(at.slot)
		if s := m.slots[slot].Load(); s != nil && (may == nil || may(slot)) {
			m.gates[slot].RLock()
			var end bool
			dst, budget, end = m.turnSlot(dst, want, s, at, judge, budget)
			m.gates[slot].RUnlock()
			if !end {
				break
			}
		}
		if at.slot, at.hash = (at.slot+1)%Slots, 0; at.slot == 0 {
			m.evict.fitGhosts(m.records.count())
		}
	}
	return dst
}

// turnSlot moves a hand through the rest of its slot, which is locked shared,
// and reports whether it came to the end.
func (m *Memory) turnSlot(dst []Candidate, want int, s *slotState, at *hand, judge pass, budget int) (_ []Candidate, left int, end bool) {
	end = true
	if m.closed.Load() {
		return dst, budget, end
	}
	m.eachPage(&s.cur, at.hash, func(p indexPage, _ uint64) bool {
		for i := p.search(at.hash); i < p.count; i++ {
			e := p.at(i)
			if len(dst) == want || budget == 0 {
				at.hash, end = uint64(e)>>tagShift<<tagShift, false
				return false
			}
			budget--
			next, victim := judge(&m.evict, e)
			if next != e {
				atomic.CompareAndSwapUint64(&p.words[1+i], uint64(e), uint64(next))
			}
			if !victim {
				continue
			}
			c := m.arena.cell(e.ref())
			h := parse(c)
			a := h.addr(c, e)
			if e&mainBit == 0 {
				m.evict.remember(a.hash)
			}
			dst = append(dst, h.candidate(uint16(at.slot), &a))
		}
		return true
	})
	return dst, budget, end
}
