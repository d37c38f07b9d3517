package simnet

import (
	"net"
	"syscall"
	"time"
)

// This file is the kernel's side of a connection: what happens to data between
// Write at one end and Read at the other.

// sendLocked puts a segment in flight. Segments never overtake each other.
func (c *conn) sendLocked(s segment) {
	d := c.n.travelLocked(c.m, c.peer.m, len(s.data))
	if c.m != c.peer.m && c.n.chanceLocked(c.n.linkLocked(c.m, c.peer.m).Loss) {
		d += retransmit
	}
	s.at = time.Now().Add(d)
	if k := len(c.flight); k > 0 && s.at.Before(c.flight[k-1].at) {
		s.at = c.flight[k-1].at
	}
	c.flight = append(c.flight, s)
	if len(c.flight) == 1 {
		c.pumpAtLocked(s.at)
	}
}

// pumpAtLocked has the head of flight arrive at a time.
func (c *conn) pumpAtLocked(at time.Time) {
	d := max(time.Until(at), 0)
	if c.pump != nil {
		c.pump.Reset(d)
		return
	}
	c.pump = time.AfterFunc(d, func() {
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		c.pumpLocked()
	})
}

// pumpLocked delivers what has arrived by now.
func (c *conn) pumpLocked() {
	for len(c.flight) > 0 {
		s := c.flight[0]
		if s.at.After(time.Now()) {
			c.pumpAtLocked(s.at)
			return
		}
		switch from, to := c.m, c.peer.m; {
		case from.off:
			c.flight = nil
		case to.off || !c.n.openLocked(from, to):
			if s.kind == rst { // nobody repeats a reset
				c.flight = nil
				break
			}
			c.stallLocked()
			return
		case from.paused || to.paused:
			return // until Resume
		case s.kind != rst && c.peer.goneLocked():
			if s.kind == data {
				c.refusedLocked()
				return
			}
			c.flight = c.flight[1:]
		default:
			c.flight = c.flight[1:]
			c.deliverLocked(s)
		}
	}
	c.settleLocked()
}

// goneLocked reports whether no program will ever read at this end.
func (c *conn) goneLocked() bool { return c.closed || c.broken != nil }

func (c *conn) deliverLocked(s segment) {
	p := c.peer
	switch s.kind {
	case data:
		p.in = append(p.in, s.data...)
		c.held += len(s.data)
		c.acknowledgedLocked()
	case fin:
		p.eof = true
	case rst:
		p.failLocked(syscall.ECONNRESET)
	}
	p.readable.Broadcast()
}

// acknowledgedLocked counts what was delivered as such, if the sender can
// learn of it. Its travel time is left out.
func (c *conn) acknowledgedLocked() {
	if c.held == 0 {
		return
	}
	if !c.n.openLocked(c.peer.m, c.m) {
		c.stallLocked()
		return
	}
	c.unacked -= c.held
	c.held = 0
	c.writable.Broadcast()
	c.progressLocked()
}

// refusedLocked is what the other kernel answers when nobody is there.
func (c *conn) refusedLocked() {
	if !c.n.openLocked(c.peer.m, c.m) {
		c.stallLocked()
		return
	}
	c.flight = nil
	time.AfterFunc(c.n.travelLocked(c.peer.m, c.m, 0), func() {
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		c.failLocked(syscall.ECONNRESET)
	})
}

// stallLocked notes that nothing is acknowledged, and gives up in the end.
func (c *conn) stallLocked() {
	if !c.stalled.IsZero() {
		return
	}
	c.stalled = time.Now()
	c.giveUp = time.AfterFunc(c.n.TCPTimeout, func() {
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		if !c.stalled.IsZero() && time.Since(c.stalled) >= c.n.TCPTimeout {
			c.failLocked(syscall.ETIMEDOUT)
		}
	})
}

func (c *conn) progressLocked() {
	if c.giveUp != nil {
		c.giveUp.Stop()
		c.giveUp = nil
	}
	c.stalled = time.Time{}
}

// openedLocked resumes what was held back. Retransmissions come ever more
// rarely, so after a cut the next one takes a part of its length.
func (c *conn) openedLocked() {
	c.acknowledgedLocked()
	if len(c.flight) == 0 {
		return
	}
	at := c.flight[0].at
	if !c.stalled.IsZero() && !c.peer.m.off && c.n.openLocked(c.m, c.peer.m) {
		pause := min(time.Since(c.stalled)/4, 2*time.Second) + retransmit
		c.progressLocked()
		at = time.Now().Add(time.Duration(c.n.rng.Int64N(int64(pause))) + c.n.travelLocked(c.m, c.peer.m, 0))
		for i := range c.flight {
			if c.flight[i].at.Before(at) {
				c.flight[i].at = at
			}
		}
	}
	c.pumpAtLocked(at)
}

// failLocked ends this end with an error; the other learns of it when it sends.
func (c *conn) failLocked(err error) {
	if c.broken == nil {
		c.broken = err
	}
	c.flight = nil
	c.settleLocked()
	c.wakeLocked()
}

// killLocked is the end of the program at this end: its kernel resets the
// connection, after what is in flight.
func (c *conn) killLocked() {
	if c.closed || c.broken != nil {
		return
	}
	c.broken = net.ErrClosed
	c.in = nil
	if c.m.off {
		c.flight = nil
	} else {
		c.sendLocked(segment{kind: rst})
	}
	c.settleLocked()
	c.wakeLocked()
}

// settleLocked forgets the connection when nothing can happen to it any more.
func (c *conn) settleLocked() {
	if !c.goneLocked() || len(c.flight) > 0 {
		return
	}
	c.readBy.stopLocked()
	c.writeBy.stopLocked()
	c.progressLocked()
	if c.pump != nil {
		c.pump.Stop()
	}
	delete(c.n.conns, c)
}
