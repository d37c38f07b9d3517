package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// guests are the callers that wait at a slot's primary for something other
// than an acknowledgement: for somebody's load, for a lock, for news. They and
// the leases they wait for are in memory only. When the slot is no longer
// served here they are sent away, and ask the new primary.
type guests struct {
	loads map[string]*loadLease
	lines map[string][]*guest // in front of locks, first come first
	polls []*guest            // for news of the slot
	near  *grants             // read leases; nil: none
}

// guest is a call in waiting. It is made again, by guestLoop, when what it
// waits for may have come.
type guest struct {
	call     Call
	req      transport.Request
	from     shard.NodeID
	r        *Result
	done     func(error)
	deadline int64 // on the node's clock; later nobody waits for it any more
}

const (
	maxGuests     = 1 << 16 // of a node
	maxGuestsHere = 1 << 13 // for one key
	maxLeases     = 1 << 18 // of a node
	leftKept      = 1 << 10
)

// lobby is a node's side of its guests.
type lobby struct {
	count  atomic.Int64 // guests parked
	leases atomic.Int64 // to load, of all slots

	mu    sync.Mutex // guards below; innermost
	ready []*guest   // to be made again
	wake  chan struct{}
	slots map[uint16]struct{} // with guests or leases
	shut  bool
	// left are the last who gave back, or ceased to wait for, the right to load a key:
	// what they asked before may still be on its way, or in ready.
	left [leftKept]uint64
	next int // place in left
}

func newLobby() lobby {
	return lobby{wake: make(chan struct{}, 1), slots: map[uint16]struct{}{}}
}

// parks reports whether a call of this op may wait as a guest. Such calls may
// be made again freely: they are reads, or name what they want by a token.
func parks(op transport.Op) bool {
	switch op {
	case transport.OpLoad, transport.OpRelease, transport.OpLock, transport.OpUnlock, transport.OpWatch, transport.OpFeed:
		return true
	}
	return false
}

// looks reports whether an op is a plain look-up.
func looks(op transport.Op) bool { return op == transport.OpGet || op == transport.OpPeek }

// leave notes that whoever has a token wants nothing of a key any more.
func (l *lobby) leave(token uint64, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left[l.next] = token ^ store.Hash(0, key, "")
	l.next = (l.next + 1) % leftKept
}

// hasLeft reports whether it did so lately.
func (l *lobby) hasLeft(token uint64, key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.left[:], token^store.Hash(0, key, ""))
}

// newGuest copies what a call needs to outlive its handler.
func (n *Node) newGuest(c *Call, req *transport.Request, r *Result, done func(error)) *guest {
	g := &guest{call: *c, req: *req, from: req.CallID.Node, r: r, done: done, deadline: n.now() + req.Timeout*1000}
	g.call.Key, g.call.Field = strings.Clone(c.Key), strings.Clone(c.Field)
	g.call.Value, g.call.Old = append([]byte(nil), c.Value...), append([]byte(nil), c.Old...)
	g.req.Call = g.call
	return g
}

// guestsLocked returns the slot's guests, made if there are none.
func (n *Node) guestsLocked(s *slot) *guests {
	if s.guests == nil {
		s.guests = &guests{}
		n.lobby.mu.Lock()
		n.lobby.slots[s.no] = struct{}{}
		n.lobby.mu.Unlock()
	}
	return s.guests
}

// checkIn counts a guest in; false means that there are too many.
func (n *Node) checkIn(here int) bool {
	if here >= maxGuestsHere || n.lobby.count.Load() >= maxGuests {
		return false
	}
	n.lobby.count.Add(1)
	return true
}

// endLease takes the right to load a key away.
func (n *Node) endLease(g *guests, key string) {
	delete(g.loads, key)
	n.lobby.leases.Add(-1)
}

// callAgain has guests' calls made again. They are counted out.
func (n *Node) callAgain(gs []*guest) {
	if len(gs) == 0 {
		return
	}
	n.lobby.count.Add(-int64(len(gs)))
	n.lobby.mu.Lock()
	shut := n.lobby.shut
	if !shut {
		n.lobby.ready = append(n.lobby.ready, gs...)
	}
	n.lobby.mu.Unlock()
	if shut {
		for _, g := range gs {
			g.done(ErrClosed)
		}
		return
	}
	select {
	case n.lobby.wake <- struct{}{}:
	default:
	}
}

// guestLoop makes guests' calls again. Whoever wakes a guest may hold the lock
// of its slot, so it is done here. It ends when n.stop closes.
func (n *Node) guestLoop() {
	for {
		select {
		case <-n.lobby.wake:
		case <-n.stop:
			n.lobby.mu.Lock()
			n.lobby.shut = true
			left := n.lobby.ready
			n.lobby.ready = nil
			n.lobby.mu.Unlock()
			for _, g := range left {
				g.done(ErrClosed)
			}
			return
		}
		n.lobby.mu.Lock()
		ready := n.lobby.ready
		n.lobby.ready = nil
		n.lobby.mu.Unlock()
		now := n.now()
		for _, g := range ready {
			if now >= g.deadline {
				continue // nobody waits for it
			}
			g.req.Timeout = (g.deadline - now) / 1000
			if err := n.run(&g.call, &g.req, g.r, g.done); err != nil {
				g.done(err)
			}
		}
	}
}

// len counts the guests parked.
func (g *guests) len() int {
	count := len(g.polls)
	for _, l := range g.loads {
		count += len(l.waiters)
	}
	for _, line := range g.lines {
		count += len(line)
	}
	return count
}

// takeGuestsLocked sends all guests of a slot away and forgets the leases.
func (n *Node) takeGuestsLocked(s *slot) (gs []*guest) {
	if s.guests == nil {
		return nil
	}
	n.lobby.leases.Add(-int64(len(s.guests.loads)))
	for _, l := range s.guests.loads {
		gs = append(gs, l.waiters...)
	}
	for _, line := range s.guests.lines {
		gs = append(gs, line...)
	}
	gs = append(gs, s.guests.polls...)
	if near := s.guests.near; near != nil {
		s.guests = &guests{near: near}
	} else {
		s.guests = nil
	}
	return gs
}

// tendGuests ends leases that have run out, lets go of guests that nobody
// waits for, and wakes those in front of locks that expired. House loop only.
func (n *Node) tendGuests() {
	n.lobby.mu.Lock()
	slots := make([]uint16, 0, len(n.lobby.slots))
	for no := range n.lobby.slots {
		slots = append(slots, no)
	}
	n.lobby.mu.Unlock()
	now := n.now()
	for _, no := range slots {
		s := &n.slots[no]
		s.mu.Lock()
		acked := n.tendSlotLocked(s, now)
		if s.guests == nil {
			n.lobby.mu.Lock()
			delete(n.lobby.slots, no)
			n.lobby.mu.Unlock()
		}
		s.mu.Unlock()
		finish(acked, nil)
	}
}

// tendSlotLocked is tendGuests for one slot. It returns the waiters that are done.
func (n *Node) tendSlotLocked(s *slot, now int64) (acked []waiter) {
	g := s.guests
	if g == nil {
		return nil
	}
	gone := 0
	late := func(list []*guest) []*guest {
		kept := slices.DeleteFunc(list, func(w *guest) bool { return now >= w.deadline })
		gone += len(list) - len(kept)
		return kept
	}
	var again []*guest
	for key, l := range g.loads {
		if l.waiters = late(l.waiters); now >= l.until {
			again = append(again, l.waiters...)
			n.endLease(g, key)
		}
	}
	for key, line := range g.lines {
		if line = late(line); len(line) == 0 {
			delete(g.lines, key)
			continue
		}
		g.lines[key] = line
		it, err := n.lookUp(nil, s.no, kindLock, key, "", n.slotTime(n.env.Now()))
		if sv := s.serving.Load(); err == nil && sv != nil && s.hold == nil && n.holderLocked(&it, sv) == 0 {
			n.grantLocked(s, key)
			acked = append(acked, n.advanceLocked(s)...)
		}
	}
	g.polls = slices.DeleteFunc(g.polls, func(w *guest) bool { // they are told that there is nothing new
		over := w.deadline-now < pollMargin*1000
		if over {
			again = append(again, w)
		}
		return over
	})
	n.lobby.count.Add(-int64(gone))
	n.tendGrantsLocked(g, now)
	if len(g.loads)+len(g.lines)+len(g.polls) == 0 && g.near == nil {
		s.guests = nil
	}
	n.callAgain(again)
	return acked
}

// wroteLocked tells guests of a write to a key: a load in progress may not
// overwrite it, and whoever waits looks again once it is acknowledged. What
// expiry and eviction remove does not concern loads.
// first is the version of the first record of the same append.
func (n *Node) wroteLocked(s *slot, rec *store.Record, first uint64, removed bool) {
	g := s.guests
	if g == nil {
		return
	}
	if g.near != nil && rec.Kind == 0 {
		n.revokeLocked(s, rec.Key, first)
	}
	var woken []*guest
	switch rec.Kind {
	case 0:
		if l := g.loads[rec.Key]; l != nil && !removed {
			woken = l.waiters
			n.endLease(g, rec.Key)
		}
	case kindLock:
		if rec.Tombstone {
			n.grantLocked(s, rec.Key)
		}
	}
	if len(woken) > 0 {
		s.insertWaiterLocked(rec.Version, func(error) { n.callAgain(woken) })
	}
	n.pollsLocked(s, rec.Version)
}

// pollsLocked wakes those who wait for news, once a version is acknowledged.
func (n *Node) pollsLocked(s *slot, version uint64) {
	if g := s.guests; g != nil && len(g.polls) > 0 {
		polls := g.polls
		g.polls = nil
		s.insertWaiterLocked(version, func(error) { n.callAgain(polls) })
	}
}

// leave frees what a node that went down held in memory here.
func (n *Node) leave(id shard.NodeID) {
	n.leaveFeeds(id)
	n.leaveGuests(id)
}

// leaveGuests sends a node's guests away and gives its leases to others.
func (n *Node) leaveGuests(id shard.NodeID) {
	n.lobby.mu.Lock()
	slots := make([]uint16, 0, len(n.lobby.slots))
	for no := range n.lobby.slots {
		slots = append(slots, no)
	}
	n.lobby.mu.Unlock()
	for _, no := range slots {
		s := &n.slots[no]
		var gone, theirs []*guest
		s.mu.Lock()
		if g := s.guests; g != nil {
			isTheirs := func(w *guest) bool {
				if shard.NodeID(w.from) != id {
					return false
				}
				theirs = append(theirs, w)
				return true
			}
			before := g.len()
			for key, l := range g.loads {
				l.waiters = slices.DeleteFunc(l.waiters, isTheirs)
				if l.holder == id {
					n.endLease(g, key)
					gone = append(gone, l.waiters...)
				}
			}
			for key, line := range g.lines {
				g.lines[key] = slices.DeleteFunc(line, isTheirs)
			}
			g.polls = slices.DeleteFunc(g.polls, isTheirs)
			n.lobby.count.Add(int64(g.len() + len(gone) - before))
			n.callAgain(gone)
		}
		s.mu.Unlock()
		for _, w := range theirs {
			w.done(errNotYet) // it may be alive, and have asked by way of others
		}
	}
}

// Go runs f on a goroutine that Close waits for; false means that the node is
// closing.
func (n *Node) Go(f func()) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	if n.closing.Load() {
		return false
	}
	n.wg.Go(f) // f looks at Context
	return true
}

// Token returns a number that names a caller's claim to something.
func (n *Node) Token() uint64 { return n.env.Uint64() | 1 }

// visit runs the calls that may wait as guests, and those that read more than
// one key.
func (n *Node) visit(c *Call, req *transport.Request, r *Result, done func(error)) error {
	switch c.Op {
	case transport.OpLoad:
		return n.load(c, req, r, done)
	case transport.OpRelease:
		return n.giveBack(c, r, done)
	case transport.OpLock:
		return n.lock(c, req, r, done)
	case transport.OpUnlock:
		return n.unlock(c, r, done)
	case transport.OpExplain:
		return n.explain(c, r, done)
	case transport.OpWatch:
		return n.watch(c, req, r, done)
	case transport.OpFeed:
		return n.answerFeed(c, req, r, done)
	case transport.OpScan:
		if shard.NodeID(req.CallID.Node) != n.id {
			return n.queueScan(c, r, done)
		}
		return n.scan(c, r, done)
	}
	return ErrInvalid
}

// Context ends when the node closes.
func (n *Node) Context() context.Context { return n.ctx }

// Closing reports whether the node is closing or closed.
func (n *Node) Closing() bool { return n.closing.Load() }

// Ended gives the error of a node that is closing or closed.
func (n *Node) Ended() error {
	if n.closing.Load() {
		return n.closedErr()
	}
	return nil
}
