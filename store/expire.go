package store

import "strings"

// again is how long, in milliseconds, a due record rests after it was proposed
// or its slot was not asked for.
const again = 4 * tick

// Expired implements Engine. It looks at some thousand records at most, so a
// million that expire at once are spread over many calls. A record that was
// proposed, or was due in a slot that may refused, comes up again seconds later.
func (m *Memory) Expired(dst []Candidate, n int, now func(slot uint16) int64, may func(slot uint16) bool) []Candidate {
	w := &m.wheel
	first, ok := w.first()
	if !ok {
		return dst
	}
	w.advance(max(now(first), now(0)))
	var buf [64]dueWord
	for budget := max(1024, 8*n); n > 0 && budget > 0; {
		words := w.due(buf[:0], min(len(buf), n))
		if len(words) == 0 {
			break
		}
		budget -= len(words)
		for _, d := range words {
			slot, hash := unword(d.word)
			ok := may == nil || may(slot)
			if c, due := m.dueRecord(slot, hash, d.mark, now(slot), ok); due {
				dst = append(dst, c)
				n--
			}
		}
	}
	return dst
}

// dueRecord looks up the record that a due word names, files it again and
// returns it if it has expired and is wanted.
func (m *Memory) dueRecord(slot uint16, hash uint64, mark uint16, now int64, wanted bool) (c Candidate, ok bool) {
	s, err := m.lock(slot)
	if err != nil {
		return c, false
	}
	defer m.unlock(slot)
	for _, t := range []*table{&s.cur, &s.next} {
		m.each(t, hash, hash|(1<<(64-hashBits)-1), func(h *head, a *addr, cell []byte) {
			if h.expiry == 0 || h.mark != mark && h.mark != 0 && !h.stub() {
				return
			}
			start := m.wheel.later(h.expiry)
			if h.expiry <= now {
				start = m.wheel.later(m.wheel.now.Load() + again)
				if wanted && t == &s.cur {
					c, ok = h.candidate(slot, a), true
				}
			}
			m.wheel.file(start, slot, a.hash)
			if !h.stub() {
				setMark(cell, h.flags, markOf(start))
			}
		})
	}
	return c, ok
}

// candidate returns a copy of a record's address and version.
func (h *head) candidate(slot uint16, a *addr) Candidate {
	at := Address{slot, a.kind, strings.Clone(a.key), strings.Clone(a.field)}
	return Candidate{Address: at, Version: h.version, Hash: a.hash, Unloaded: h.stub()}
}

func (w *wheel) advance(now int64) {
	for old := w.now.Load(); old < now && !w.now.CompareAndSwap(old, now); old = w.now.Load() {
	}
}

// later is start, but not due yet.
func (w *wheel) later(expiry int64) int64 {
	return max(w.start(expiry), w.now.Load()&^(tick-1)+tick)
}
