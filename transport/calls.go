package transport

import (
	"math"
	"sync"
)

// calls are the requests to one peer that wait for an answer. An ID is a
// count in the high bits and an index into slots in the low ones, so finding
// the call of an answer is an array access, and an ID never comes back.
type calls struct {
	mu    sync.Mutex // guards all below; taken inside an outbox's
	slots []call
	free  int // first free slot, -1 for none
	live  int
	count uint64
}

type call struct {
	id        uint64 // 0: the slot is free
	next      int    // free slot after this one
	done      func(*Response, error)
	deadline  int64 // on the transport's clock, noDeadline for none
	at        place
	slot      uint16
	elsewhere bool // see Request.elsewhere
}

const (
	indexBits  = 20
	noDeadline = math.MaxInt64
)

// add registers a call, one of live that wait; id is 0 if there are too many.
func (c *calls) add(new call) (id uint64, live int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.free
	if i < 0 {
		if i = len(c.slots); i >= 1<<indexBits {
			return 0, c.live
		}
		c.slots = append(c.slots, call{next: -1})
	}
	s := &c.slots[i]
	c.free = s.next
	c.count++
	c.live++
	*s = new
	s.id = c.count<<indexBits | uint64(i)
	return s.id, c.live
}

// remove removes the calls that which picks.
func (c *calls) remove(which func(*call) bool) (removed []call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if s := &c.slots[i]; s.id != 0 && which(s) {
			removed = append(removed, c.takeLocked(i))
		}
	}
	return removed
}

// take removes the call id. Whoever takes it runs its done.
func (c *calls) take(id uint64) (call, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int(id & (1<<indexBits - 1))
	if id == 0 || i >= len(c.slots) || c.slots[i].id != id {
		return call{}, false
	}
	return c.takeLocked(i), true
}

// has reports whether the call id still waits.
func (c *calls) has(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int(id & (1<<indexBits - 1))
	return i < len(c.slots) && c.slots[i].id == id
}

// counted returns how many calls there were, those to the same node before included.
func (c *calls) counted() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (c *calls) takeLocked(i int) call {
	s := c.slots[i]
	c.slots[i] = call{next: c.free}
	c.free = i
	c.live--
	return s
}

// expire removes the calls whose deadline has come and returns them with the
// earliest deadline of those that remain.
func (c *calls) expire(now int64) (late []call, earliest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	earliest = noDeadline
	for i := range c.slots {
		switch s := &c.slots[i]; {
		case s.id == 0:
		case s.deadline <= now:
			late = append(late, c.takeLocked(i))
		default:
			earliest = min(earliest, s.deadline)
		}
	}
	return late, earliest
}

// drain removes all.
func (c *calls) drain() []call {
	late, _ := c.expire(noDeadline)
	return late
}
