package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// trip is a call on its way: what goes from one attempt to the next.
type trip struct {
	req    transport.Request
	claim  *shard.Claim // the present attempt goes by it; nil if there is none
	ask    *peer        // answer of an ASK: for one attempt, while the claim is in force
	taught bool         // the answer brought a newer claim
	last   error        // of the attempt before
	near   nearTicket   // of a read that asks for a lease
	known  uint64       // epoch of claim

	// For the statistics:
	source   Source // whose answer ended it
	attempts int
	peer     *peer // that the last attempt went to
	waited   bool  // here, for an acknowledgement
}

// setOut begins a trip. A write gets the ID under which its fate can be
// looked up; repeats carry it too.
func (n *Node) setOut(t *trip, c *Call) {
	*t = trip{req: transport.Request{Call: *c}, source: SourceNone}
	if n.near != nil {
		if cl := n.table.Load().Claim(c.Slot); cl != nil && cl.Primary != n.id {
			if t.near = n.near.ticket(c); t.near.wanted {
				t.req.Flags |= transport.FlagNear
			}
		}
	}
	t.req.CallID.Node = n.id
	if !isRead(c.Op) {
		t.req.CallID = transport.CallID{Node: n.id, Number: n.callNo.Add(1)}
	}
}

// next says where the next attempt goes: to, or here if that is nil.
func (n *Node) next(ctx context.Context, t *trip) (to *transport.Peer, err error) {
	before := t.claim
	t.claim, t.taught = n.table.Load().Claim(t.req.Slot), false
	t.attempts++
	ask := t.ask
	if ask != nil && (before == nil || t.claim == nil || before.Epoch != t.claim.Epoch) {
		ask = nil // who was asked for serves by now, or is overtaken: the call would seem later than it is
	}
	if t.claim != nil {
		t.known = t.claim.Epoch
	}
	if t.req.Repeat {
		t.req.Known = t.known
	} else { // so far nobody can have given it a version
		t.req.Mark = n.fronts[t.req.Slot].mark.Load()
		if t.claim != nil {
			t.req.Epoch = t.claim.Epoch
		}
	}
	t.ask, t.req.Asked = nil, ask != nil
	if ask == nil {
		if t.claim == nil || t.claim.Primary == n.id {
			if t.claim == nil && n.noData() {
				return nil, fmt.Errorf("%w: no member may hold slots", ErrNoPrimary)
			}
			return nil, nil
		}
		ask = n.peer(t.claim.Primary)
	}
	t.peer = ask
	t.req.Flags &^= transport.FlagRelay
	if to = ask.live(); ask.cut.Load() {
		to = n.detour(t)
	}
	if to == nil {
		return nil, transport.ErrNotSent
	}
	if t.req.Flags &^= transport.FlagCopy; n.backsAlone(t.claim) && !n.cfg.SyncWrites {
		t.req.Flags |= transport.FlagCopy
	}
	if t.req.Repeat { // it may have taken effect: what became of it is looked up
		return to, nil
	}
	if redirect, ok := ctx.Value(noForward{}).(Redirect); ok {
		return nil, n.redirected(redirect, t, ask.id)
	}
	return to, nil
}

// backsAlone reports whether this node is the only backup of a claim.
func (n *Node) backsAlone(cl *shard.Claim) bool {
	return cl != nil && len(cl.Backups) == 1 && cl.Backups[0] == n.id
}

// overtaken reports whether the slot's primary has changed since next looked:
// whoever has the call now may never answer. For later changes see reroute.
func (n *Node) overtaken(t *trip) bool {
	return !t.req.Asked && n.table.Load().Claim(t.req.Slot).Primary != t.claim.Primary
}

// reroute ends calls that were given to nodes which no longer serve their
// slots, so that they are tried where those are served now.
func (n *Node) reroute(before *shard.Table, news []*shard.Claim) {
	moved := false
	for _, cl := range news {
		old := before.Claim(cl.Slot)
		moved = moved || old != nil && old.Primary != cl.Primary
	}
	if !moved {
		return
	}
	for _, p := range n.allPeers() {
		if t := p.t.Load(); t != nil {
			table := n.table.Load()
			t.Abandon(func(slot uint16, elsewhere bool) bool {
				cl := table.Claim(slot)
				return !elsewhere && cl != nil && cl.Primary != p.id
			})
		}
	}
}

// arrive makes a result or an error of what a peer answered.
func (n *Node) arrive(c *Call, t *trip, rsp *transport.Response, err error) (Result, error) {
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, transport.ErrLost) && !isRead(c.Op):
		return Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.DeadlineExceeded)
	case errors.Is(err, transport.ErrTooLarge):
		return Result{}, ErrTooLarge
	case errors.Is(err, transport.ErrOverloaded):
		return Result{}, ErrOverloaded
	case errors.Is(err, transport.ErrLost):
		return Result{}, err
	default:
		return Result{}, transport.ErrNotSent
	}
	n.fronts[c.Slot].heard(rsp.Mark)
	t.source = SourceRemote
	if rsp.Code == transport.CodeOK {
		if t.near.wanted && rsp.Lease > 0 {
			n.near.fill(n, &t.near, c, &rsp.Result, time.Duration(rsp.Lease)*time.Microsecond)
		}
		if c.Op == transport.OpGet && rsp.Found && cap(c.Value) > 0 && len(rsp.Value) <= cap(c.Value)-len(c.Value) {
			rsp.Value = append(c.Value[len(c.Value):], rsp.Value...)
		}
		return rsp.Result, nil
	}
	err = n.codeError(rsp)
	switch {
	case errors.Is(err, errAsk):
		t.ask = n.peer(shard.NodeID(rsp.Node))
	case errors.Is(err, errMoved):
		claim, _, derr := shard.DecodeClaim(rsp.Claim)
		if derr != nil || claim.Slot != c.Slot || shard.Compare(claim, t.claim) <= 0 {
			return Result{}, errMoved // taught nothing: wait a moment
		}
		t.taught = true
		n.learn([]*shard.Claim{claim})
	}
	return rsp.Result, err
}

// again judges the error of an attempt: whether there is to be another, and
// whether at once.
func (n *Node) again(t *trip, err error) (again, atOnce bool) {
	t.last = err
	switch {
	case errors.Is(err, errMoved) && t.taught: // the table is newer now
		n.stats.redirected.Add(1)
		if t.req.Hops++; t.req.Hops < maxHops {
			return true, true
		}
		t.req.Hops = 0
	case errors.Is(err, errAsk):
		n.stats.redirected.Add(1)
		if t.ask != nil && t.req.Hops < maxHops {
			t.req.Hops++
			return true, true
		}
	case errors.Is(err, errRepeat), errors.Is(err, transport.ErrLost):
		t.req.Repeat = t.req.Repeat || !isRead(t.req.Op)
		t.req.After = max(t.req.After, t.known)
	case errors.Is(err, errMoved), errors.Is(err, errNotYet), errors.Is(err, transport.ErrNotSent), errors.Is(err, ErrOverloaded):
	default:
		return false, false
	}
	return true, false
}

// giveUp is the error of a call that is not tried again although its last
// error would allow it; nil if it may be.
func (n *Node) giveUp(ctx context.Context, deadline time.Time, t *trip) error {
	switch {
	case n.closing.Load():
		t.source = SourceNone
		if t.req.Repeat {
			return ErrUnknownOutcome
		}
		return n.closedErr()
	case ctx.Err() != nil || time.Until(deadline) <= 0:
		t.source = SourceNone
		return n.overdue(ctx, t)
	}
	return nil
}

// overdue is the error of a call whose time is up.
func (n *Node) overdue(ctx context.Context, t *trip) error {
	cause := ctx.Err()
	if cause == nil {
		cause = context.DeadlineExceeded
	}
	switch {
	case t.req.Repeat:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
	case errors.Is(cause, context.Canceled), parks(t.req.Op) && errors.Is(t.last, transport.ErrLost):
		return cause
	case errors.Is(t.last, ErrOverloaded):
		return fmt.Errorf("%w: %w", ErrOverloaded, cause)
	}
	slot := t.req.Slot
	cl := n.table.Load().Claim(slot)
	return fmt.Errorf("%w (slot %d, claim %v, %d redirects, last answer %q): %w", ErrNoPrimary, slot, cl, t.req.Hops, t.last, cause)
}

// lost is the error of a call that is given up on its way.
func lost(c *Call, cause error) error {
	if isRead(c.Op) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
}

// internal reports whether err is for the next attempt, not for the caller.
func internal(err error) bool {
	return errors.Is(err, errNotYet) || errors.Is(err, errMoved) || errors.Is(err, errAsk) || errors.Is(err, errRepeat)
}

// servedHere counts a call that ran here and finds out where an ASK leads.
func (n *Node) servedHere(t *trip, err error) {
	switch {
	case err == nil || !internal(err):
		t.source = SourceLocal
	case errors.Is(err, errAsk):
		s := &n.slots[t.req.Slot]
		s.mu.Lock()
		if h := s.view.Handover; !h.IsZero() {
			t.ask = n.peer(h)
		}
		s.mu.Unlock()
	}
}
