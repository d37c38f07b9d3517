package transport

import (
	"sync/atomic"
	"time"
)

// sweeper ends calls whose deadline has passed. It is one goroutine for all
// peers, which sleeps until the earliest deadline it knows and then looks
// through the waiting calls. Nearly all calls end long before, so a call
// costs one atomic load here, and a look happens about once per timeout.
type sweeper struct {
	earliest atomic.Int64 // on the transport's clock; noDeadline for none
	kick     chan struct{}
}

// sweepEvery bounds how often the calls are looked through, and so how late a
// deadline is noticed.
const sweepEvery = int64(time.Millisecond)

func (s *sweeper) init() {
	s.earliest.Store(noDeadline)
	s.kick = make(chan struct{}, 1)
}

// note makes sure that the sweeper looks at deadline.
func (s *sweeper) note(deadline int64) {
	for {
		old := s.earliest.Load()
		if deadline >= old {
			return
		}
		if s.earliest.CompareAndSwap(old, deadline) {
			select {
			case s.kick <- struct{}{}:
			default:
			}
			return
		}
	}
}

// run ends when stop closes.
func (s *sweeper) run(stop <-chan struct{}, now func() int64, sweep func(now int64) (earliest int64)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for last := int64(0); ; {
		select {
		case <-stop:
			return
		case <-s.kick:
		case <-timer.C:
		}
		if t := now(); t >= max(s.earliest.Load(), last+sweepEvery) {
			last = t
			s.earliest.Store(noDeadline) // calls made during the sweep note theirs
			s.note(sweep(t))
		}
		if next := s.earliest.Load(); next == noDeadline {
			timer.Stop()
		} else {
			timer.Reset(time.Duration(max(next, last+sweepEvery) - now()))
		}
	}
}
