package node

import (
	"sync"
	"sync/atomic"

	"github.com/slotmesh/slotmesh/shard"
)

// progress says how far a slot that this node serves is from where it should be.
type progress uint8

const (
	atRest    progress = iota // nothing to do until something happens
	unsettled                 // something is under way, or due at a time
	copying                   // a copy is being made
	handing                   // it is being handed over
	toRepair                  // waits for its turn to get a copy it lacks
	toMove                    // waits for its turn to move
	progresses
)

// agenda keeps which slots reconcile has to look at, so that slots at rest
// cost nothing. All but note is for the control loop alone.
type agenda struct {
	mu    sync.Mutex // guards notes
	notes []uint16
	noted [shard.Slots / 32]atomic.Uint32

	state  [shard.Slots]progress
	counts [progresses]int
	active []uint16          // those unsettled, copying or handing; others leave it in activeNow
	listed [shard.Slots]bool // in active
	turn   int               // where in active the next look begins
	queues [2]queue          // those that wait for their turn, the ones to repair first
}

// queue is a list that slots leave at the front; those whose state has changed
// since stay in it until then.
type queue struct {
	slots []uint16
	in    [shard.Slots]bool
}

// note asks for a look at a slot. It may be called from any goroutine, under
// the slot's lock too.
func (a *agenda) note(no uint16) {
	if bit := uint32(1) << (no % 32); a.noted[no/32].Or(bit)&bit == 0 {
		a.mu.Lock()
		a.notes = append(a.notes, no)
		a.mu.Unlock()
	}
}

// take returns the slots noted since it was called last.
func (a *agenda) take() []uint16 {
	a.mu.Lock()
	notes := a.notes
	a.notes = nil
	a.mu.Unlock()
	for _, no := range notes {
		a.noted[no/32].And(^(uint32(1) << (no % 32)))
	}
	return notes
}

// set takes in what a look at a slot gave.
func (a *agenda) set(no uint16, now progress) {
	was := a.state[no]
	a.counts[was]--
	a.counts[now]++
	a.state[no] = now
	switch {
	case isActive(now) && !a.listed[no]:
		a.listed[no] = true
		a.active = append(a.active, no)
	case now == toRepair || now == toMove:
		if q := &a.queues[now-toRepair]; !q.in[no] {
			q.in[no] = true
			q.slots = append(q.slots, no)
		}
	}
}

func isActive(p progress) bool { return p == unsettled || p == copying || p == handing }

// activeNow returns slots under way, at most so many, the others next time.
func (a *agenda) activeNow(most int) []uint16 {
	kept := a.active[:0]
	for _, no := range a.active {
		if isActive(a.state[no]) {
			kept = append(kept, no)
		} else {
			a.listed[no] = false
		}
	}
	a.active = kept
	if len(kept) <= most {
		return kept
	}
	turn := make([]uint16, 0, most)
	for i := range most {
		turn = append(turn, kept[(a.turn+i)%len(kept)])
	}
	a.turn = (a.turn + most) % len(kept)
	return turn
}

// next takes the slot whose turn it is; false: none waits.
func (a *agenda) next(q *queue, waits progress) (uint16, bool) {
	for len(q.slots) > 0 {
		no := q.slots[0]
		q.slots, q.in[no] = q.slots[1:], false
		if a.state[no] == waits {
			return no, true
		}
	}
	return 0, false
}
