package store

import (
	"math"
	"strings"
)

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
	w.now.Store(max(now(first), now(0))) // also back, where a clock was set
	var buf [64]dueWord
	want := len(dst) + n
	for budget := max(1024, 8*n); len(dst) < want && budget > 0; {
		words := w.due(buf[:0], min(len(buf), want-len(dst)))
		if len(words) == 0 {
			break
		}
		budget -= len(words)
		for _, d := range words {
			slot, _ := unword(d.word)
			dst = m.visit(dst, want, d, now(slot), may == nil || may(slot))
		}
	}
	return dst
}

// sweepWords is how many words a write looks at, for each record, while the wheel is
// swept.
const sweepWords = 16

// sweep drops stale words while there may be as many as others: what is written and
// deleted, or evicted, long before it expires would leave a word each time until it
// had. The caller holds no lock.
func (m *Memory) sweep() {
	if w := &m.wheel; w.words.Load() > w.goal.Load() {
		var buf [sweepWords]dueWord
		for _, d := range w.pick(buf[:0]) {
			m.visit(nil, 0, d, math.MinInt64, false)
		}
	}
}

// visit looks up the records that a word names and files them again. It appends those
// that have expired, if they are wanted, until dst has want of them.
func (m *Memory) visit(dst []Candidate, want int, d dueWord, now int64, wanted bool) []Candidate {
	slot, hash := unword(d.word)
	s, err := m.lock(slot)
	if err != nil {
		return dst
	}
	defer m.unlock(slot)
	stubs := int64(0) // when to look at stubs again: they have no marks, and share one word
	for _, t := range []*table{&s.cur, &s.next} {
		m.each(t, hash, hash|(1<<(64-hashBits)-1), func(h *head, a *addr, cell []byte) {
			if h.expiry == 0 || h.mark != d.mark && h.mark != 0 && !h.stub() {
				return
			}
			start := m.wheel.later(h.expiry)
			if h.expiry <= now {
				start = m.wheel.later(m.wheel.now.Load() + again)
				if wanted && t == &s.cur && len(dst) < want {
					dst = append(dst, h.candidate(slot, a))
				}
			}
			if h.stub() {
				if stubs == 0 || start < stubs {
					stubs = start
				}
				return
			}
			m.wheel.file(start, slot, a.hash)
			setMark(cell, h.flags, markOf(start))
		})
	}
	if stubs != 0 {
		m.wheel.file(stubs, slot, hash)
	}
	return dst
}

// candidate returns a copy of a record's address and version.
func (h *head) candidate(slot uint16, a *addr) Candidate {
	at := Address{slot, a.kind, strings.Clone(a.key), strings.Clone(a.field)}
	return Candidate{Address: at, Version: h.version, Hash: a.hash, Unloaded: h.stub()}
}

// later is start, but not due yet.
func (w *wheel) later(expiry int64) int64 {
	return max(w.start(expiry), w.now.Load()&^(tick-1)+tick)
}
