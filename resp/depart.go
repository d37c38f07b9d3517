package resp

import (
	"errors"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

// Clients keep a map of the slots, and ask for it again about a second after they
// were redirected. A node whose slots have gone to others therefore redirects for a
// while after its cache has closed: a connection that ends under a write is an error
// that no client can repeat by itself.
const (
	departTick  = 50 * time.Millisecond
	departQuiet = 10 // ticks without a redirect: all have gone
	departLimit = 60 // ticks
)

// watchCache ends the serving when the cache is closed: its subscription is.
func (s *server) watchCache() {
	defer close(s.settled)
	inbox, err := s.cache.Subscription()
	if err == nil {
		_, err = inbox.Next(s.ctx)
		inbox.Close()
	}
	if s.ctx.Err() != nil || err == nil {
		return
	}
	if t := s.newTopology(); !s.forward && s.cache.Err() == nil && t.withoutSelf() {
		s.departed.Store(t)
		s.wg.Go(s.sendAway) // ends after departLimit, or with s.ctx
		return
	}
	s.failed = slotmesh.ErrClosed
	s.cancel()
}

// withoutSelf reports whether other nodes serve all slots, and clients can be sent
// to each of them.
func (t *topology) withoutSelf() bool {
	return t.self != nil && t.self.slots == 0 && t.served == hashtag.Slots && !t.strangers
}

// sendAway ends the serving when no client comes any more. It counts ticks, not time:
// where the process stood still, what clients sent meanwhile has yet to be read.
func (s *server) sendAway() {
	tick := time.NewTicker(departTick)
	defer tick.Stop()
	for all, quiet := 0, 0; all < departLimit && quiet < departQuiet; all++ {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		if quiet++; s.redirected.Swap(false) {
			quiet = 0
		}
	}
	s.failed = slotmesh.ErrClosed
	s.cancel()
}

// elsewhere is the redirect for a command that found the cache closed; false: there
// is none.
func (c *conn) elsewhere(err error) (string, bool) {
	if !errors.Is(err, slotmesh.ErrClosed) || len(c.running) == 0 {
		return "", false
	}
	<-c.s.settled // right after the cache is closed
	t, cmd := c.s.departed.Load(), lookup(c.running)
	if t == nil || cmd == nil {
		return "", false
	}
	slot := cmd.slotOf(c.running)
	if cmd.flags&pubsub != 0 && len(c.running) > 1 {
		slot = int(hashtag.SlotBytes(c.running[1])) // any node takes what is published
	}
	if slot < 0 {
		return "", false
	}
	c.s.redirected.Store(true)
	m := t.primary[slot]
	return "MOVED " + itoa(int64(slot)) + " " + m.host + ":" + m.port, true
}
