package gossip

import (
	"slices"
	"sync"
)

// EventKind says what happened to a member.
type EventKind uint8

const (
	Joined  EventKind = 1 // is living and was not known, or was Failed
	Left    EventKind = 2 // said goodbye, perhaps after it Failed; its ID never comes back
	Failed  EventKind = 3 // was silent too long, or was forgotten; it may come back
	Updated EventKind = 4 // changed what it says about itself
)

func (k EventKind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Left:
		return "left"
	case Failed:
		return "failed"
	case Updated:
		return "updated"
	}
	return "unknown"
}

// Event is a change of another member; a node hears no events about itself.
// After a member's Failed comes its next Joined, or Left, or nothing. Left may be all
// that a slow reader hears of one.
type Event struct {
	Kind   EventKind
	Member Member
}

// maxMessages bounds the broadcasts received and not yet handed to
// Config.Message. Beyond it the oldest go: broadcasts are hints.
const maxMessages = 1024

// inbox is what waits for the dispatcher: events and broadcasts. It never
// blocks a writer, because writers hold memberlist's locks. Events of one
// member coalesce to two at most (gone, then back), so a slow reader costs
// memory by the number of members and not by the time.
type inbox struct {
	wake chan struct{} // capacity 1: something was added

	mu       sync.Mutex // guards the rest
	events   []Event
	messages [][]byte
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (q *inbox) addEvent(e Event) {
	q.mu.Lock()
	q.events = coalesce(q.events, e)
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) addMessage(b []byte) {
	q.mu.Lock()
	if len(q.messages) >= maxMessages {
		q.messages = slices.Delete(q.messages, 0, 1)
	}
	q.messages = append(q.messages, b)
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits, in order.
func (q *inbox) take() (events []Event, messages [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, messages = q.events, q.messages
	q.events, q.messages = nil, nil
	return events, messages
}

// coalesce adds e to the pending events. The reader is left in the same state
// as by all of them, without steps that cancel out.
func coalesce(pending []Event, e Event) []Event {
	last := -1
	for i := range slices.Backward(pending) {
		if pending[i].Member.ID == e.Member.ID {
			last = i
			break
		}
	}
	if last < 0 {
		return append(pending, e)
	}
	switch was := pending[last].Kind; {
	case e.Kind == Updated && (was == Joined || was == Updated):
		pending[last].Member = e.Member
		return pending
	case e.Kind == Failed && was == Joined:
		return slices.Delete(pending, last, last+1) // the reader never knew of it, or knows it as failed
	case e.Kind == Failed && was == Updated, e.Kind == Left:
		pending[last] = e // the reader may know it as failed
		return pending
	}
	return append(pending, e)
}
