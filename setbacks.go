package slotmesh

import (
	"maps"
	"time"
)

// setbacks are values that could not be loaded anew on this node, and are not to be
// before a while has passed: with a source that is down, each read of a stale value would
// begin another load as soon as the one before has failed.
type setbacks map[flightKey]setback

type setback struct {
	wait  time.Duration
	until time.Time
}

const (
	minSetback  = 100 * time.Millisecond // doubled each time
	maxSetback  = 10 * time.Second
	maxSetbacks = 4096 // what is beyond it is tried sooner
)

func (s setbacks) wait(k flightKey, now time.Time) bool {
	b, ok := s[k]
	return ok && now.Before(b.until)
}

func (s setbacks) add(k flightKey, now time.Time) {
	b, ok := s[k]
	if !ok && len(s) >= maxSetbacks {
		maps.DeleteFunc(s, func(_ flightKey, old setback) bool { return !now.Before(old.until) })
		if len(s) >= maxSetbacks {
			clear(s)
		}
	}
	b.wait = min(max(2*b.wait, minSetback), maxSetback)
	b.until = now.Add(b.wait)
	s[k] = b
}
