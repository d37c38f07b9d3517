package simnet

import (
	"sync"
	"time"
	"unsafe"
)

// Clock is a host's clock: a wall clock that may be off and be set, and a
// monotonic one that never runs back. Both may run too fast or too slow, and
// the monotonic one stands still while the host is suspended. Timers are exact.
type Clock struct {
	mu     sync.Mutex // guards the rest
	born   time.Time
	base   time.Duration // its monotonic reading, outside of a bubble
	at     time.Time     // the true time of the last change
	wall   time.Duration // the wall clock is off by, as of at
	mono   time.Duration // the monotonic one
	rate   float64       // seconds gained per second
	asleep bool
}

// NewClock returns an exact clock.
func NewClock() *Clock {
	now := time.Now()
	return &Clock{born: now, at: now, base: monotonic(now)}
}

// Now reads the clock. Times of one clock differ by its monotonic reading,
// times of two clocks by their wall readings.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	wall, mono := c.offLocked(now)
	return reading(now.Add(wall), c.base+now.Sub(c.born)+mono)
}

const hasMonotonic = 1 << 63 // in the first word of a time

// monotonic is a time's monotonic reading, 0 if it has none, as in a bubble. Times
// of a clock outside of one can then be compared with time.Now.
func monotonic(t time.Time) time.Duration {
	words := (*[2]uint64)(unsafe.Pointer(&t))
	if words[0]&hasMonotonic == 0 {
		return 0
	}
	return time.Duration(words[1])
}

// Step sets the wall clock, forwards or back.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
}

// SetDrift makes the clock gain so many seconds per second from now on; a
// negative one loses.
func (c *Clock) SetDrift(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked()
	c.rate = rate
}

// Sleep stops the monotonic clock, as that of a suspended machine may be;
// wake undoes it.
func (c *Clock) Sleep(asleep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked()
	c.asleep = asleep
}

// turnLocked makes the present the time of the last change.
func (c *Clock) turnLocked() {
	now := time.Now()
	c.wall, c.mono = c.offLocked(now)
	c.at = now
}

func (c *Clock) offLocked(now time.Time) (wall, mono time.Duration) {
	passed := now.Sub(c.at)
	gained := time.Duration(float64(passed) * c.rate)
	if c.asleep {
		return c.wall + gained, c.mono - passed
	}
	return c.wall + gained, c.mono + gained
}

// reading makes a time of a wall and a monotonic reading. Outside of a bubble
// time.Now has both; in one it has the wall's alone, and nothing in the time
// package puts another one in.
func reading(wall time.Time, mono time.Duration) time.Time {
	t := wall
	*(*struct {
		wall uint64 // the flag, seconds since 1885, nanoseconds
		ext  int64  // monotonic nanoseconds
	})(unsafe.Pointer(&t)) = struct {
		wall uint64
		ext  int64
	}{hasMonotonic | uint64(wall.Unix()-year1885)<<30 | uint64(wall.Nanosecond()), int64(mono)}
	return t
}

var year1885 = time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
