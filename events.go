package slotmesh

import (
	"log/slog"
	"time"
)

// NodeEvent is a change of state that this node went through or saw.
type NodeEvent struct {
	Time  time.Time
	Level slog.Level
	// Name is what the log has as its message. It is one of a fixed set, listed
	// in docs/observability.md.
	Name  string
	Attrs string // name=value, with blanks between
}

// Events returns the last 256 changes of state of this node, oldest first,
// whether or not there is a logger. Keys and values are not in them.
func (c *Cache) Events() []NodeEvent {
	kept := c.n.Events()
	events := make([]NodeEvent, len(kept))
	for i, e := range kept {
		events[i] = NodeEvent(e)
	}
	return events
}

// SlowCall is a call that took longer than WithSlowCalls says.
type SlowCall struct {
	Time     time.Time // when it ended
	Op       string    // as in CallStats
	Slot     uint16
	Source   string // as in CallStats
	Peer     string // the node that was asked last; "" if none was
	Took     time.Duration
	Attempts int
	Err      string // "" where it succeeded
}

// SlowCalls returns the last 64 slow calls made here, oldest first.
func (c *Cache) SlowCalls() []SlowCall {
	kept := c.n.SlowCalls()
	calls := make([]SlowCall, len(kept))
	for i, s := range kept {
		calls[i] = SlowCall{
			Time: s.Time, Op: s.Op, Slot: s.Slot, Source: s.Source.String(), Peer: s.Peer,
			Took: s.Took, Attempts: s.Attempts, Err: s.Err,
		}
	}
	return calls
}
