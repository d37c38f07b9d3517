package simnet

import (
	"sync"
	"time"
)

// Clock is a host's clock, which may be off and run too fast or too slow. Its
// times carry the error in the wall reading and in the monotonic one alike,
// since a time.Time cannot be made to differ in the two. Timers are exact.
type Clock struct {
	mu   sync.Mutex // guards the rest
	at   time.Time  // the true time of the last change
	off  time.Duration
	rate float64 // seconds gained per second
}

// NewClock returns an exact clock.
func NewClock() *Clock { return &Clock{at: time.Now()} }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return now.Add(c.offLocked(now))
}

// Step moves the clock, forwards or back.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// SetDrift makes the clock gain so many seconds per second from now on; a
// negative one loses.
func (c *Clock) SetDrift(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.off, c.at, c.rate = c.offLocked(now), now, rate
}

func (c *Clock) offLocked(now time.Time) time.Duration {
	return c.off + time.Duration(float64(now.Sub(c.at))*c.rate)
}
