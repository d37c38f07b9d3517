package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

// A group of calls is bounded by both of these; more are made group by group.
const (
	groupCalls = 1024
	groupBytes = 4 << 20
)

// flight is one call of a group.
type flight struct {
	trip
	call     *Call
	group    *group
	to       *transport.Peer // nil: it runs here
	id       uint64          // at to
	res      Result
	rsp      transport.Response
	err      error
	state    atomic.Uint32
	index    int
	ran      bool  // here, in the present round
	lane     *lane // nil: no order is to be kept
	answered func(*transport.Response, error)
	done     func(error)
}

const (
	underWay uint32 = iota
	landed          // there is an outcome, or will be at once
	given           // given up: an answer may come and is not wanted
)

// group is the calls of a round that are waited for together.
type group struct {
	left atomic.Int64
	over chan struct{} // closed when none is left
}

func (g *group) land() {
	if g.left.Add(-1) == 0 {
		close(g.over)
	}
}

// finish tells the group unless the call was given up.
func (f *flight) finish(rsp *transport.Response, err error) {
	if f.state.CompareAndSwap(underWay, landed) {
		if rsp != nil && err == nil {
			f.rsp = *rsp
		}
		f.err = err
		f.group.land()
	}
}

// DoMany runs calls of any slots side by side; results and errors are by
// index, also where ctx is done. What goes to one node leaves together, and
// what fails is tried again by itself.
func (n *Node) DoMany(ctx context.Context, calls []Call) ([]Result, []error) {
	return n.doMany(ctx, calls, false)
}

// DoInOrder is DoMany that runs calls on one key in their order.
func (n *Node) DoInOrder(ctx context.Context, calls []Call) ([]Result, []error) {
	return n.doMany(ctx, calls, true)
}

func (n *Node) doMany(ctx context.Context, calls []Call, ordered bool) ([]Result, []error) {
	if n.cfg.Trace != nil && len(calls) > 0 {
		end := n.traceMany(ctx, calls)
		results, errs := n.groups(ctx, calls, ordered)
		end(results, errs)
		return results, errs
	}
	return n.groups(ctx, calls, ordered)
}

func (n *Node) groups(ctx context.Context, calls []Call, ordered bool) ([]Result, []error) {
	results, errs := make([]Result, len(calls)), make([]error, len(calls))
	began, deadline := n.limits(ctx)
	for from := 0; from < len(calls); {
		to, bytes := from, 0
		for to < len(calls) && to < from+groupCalls && bytes < groupBytes {
			bytes += len(calls[to].Key) + len(calls[to].Value) + len(calls[to].Old)
			to++
		}
		deadline = n.together(ctx, began, deadline, calls[from:to], results[from:to], errs[from:to], ordered)
		from = to
	}
	return results, errs
}

// together is DoMany of one group: round after round, until each call has an outcome. It
// returns until when those after it are to have ended: without a deadline of ctx's each
// call that waits for others on its key has its time from their answers on.
func (n *Node) together(ctx context.Context, began, deadline time.Time, calls []Call, results []Result, errs []error, ordered bool) time.Time {
	var flights []*flight
	var order lanes
	if ordered && len(calls) > 1 {
		order = make(lanes, len(calls))
	}
	for i := range calls {
		c := &calls[i]
		if errs[i] = n.admit(ctx, c); errs[i] != nil {
			continue
		}
		if looks(c.Op) && order[c.Key] == nil && (n.lookHere(c, &results[i]) || n.lookBeside(c, &results[i])) {
			continue
		}
		f := n.flight()
		f.call, f.index = c, i
		n.setOut(&f.trip, c)
		order.enter(f)
		flights = append(flights, f)
	}
	if len(flights) < len(calls) {
		began = time.Now() // what was read at once is not these calls' time
	}
	for pause := retryMin; len(flights) > 0; {
		n.round(ctx, deadline, flights)
		now := time.Now()
		rest, hurry := flights[:0], false
		for _, f := range flights {
			if f.state.Load() == given {
				errs[f.index] = f.err
				f.source = SourceNone
				n.ended(&f.trip, f.call, false, began, now, f.err)
				continue // never to be used again
			}
			res, err := n.outcome(f)
			again, atOnce := false, false
			if err != nil {
				if again, atOnce = n.again(&f.trip, err); again && !atOnce {
					if final := n.giveUp(ctx, deadline, &f.trip); final != nil {
						res, err, again = Result{}, final, false
					}
				}
			}
			if again {
				hurry = hurry || atOnce
				rest = append(rest, f)
				continue
			}
			results[f.index], errs[f.index] = res, err
			n.ended(&f.trip, f.call, res.Found, began, now, err)
			if f.lane != nil { // who waits for it is next
				hurry = true
				if !errors.Is(err, context.DeadlineExceeded) {
					_, deadline = n.limits(ctx)
				}
			}
			n.land(f)
		}
		flights = rest
		if len(flights) > 0 && !hurry {
			n.rest(ctx, flights[0].call.Slot, min(pause, max(time.Until(deadline), 0)))
			pause = min(pause*2, retryMax)
		}
	}
	return deadline
}

// outcome is what a flight came back with.
func (n *Node) outcome(f *flight) (Result, error) {
	switch {
	case f.to != nil:
		return n.arrive(f.call, &f.trip, &f.rsp, f.err)
	case f.ran:
		n.servedHere(&f.trip, f.err)
		f.res.Local = true
	}
	return f.res, f.err
}

// round makes one attempt of every call and waits for all.
func (n *Node) round(ctx context.Context, deadline time.Time, flights []*flight) {
	g := &group{over: make(chan struct{})}
	g.left.Store(int64(len(flights)))
	n.transport.Hold()
	for i, f := range flights {
		if i%aheadCalls == 0 {
			n.aheadOf(flights[i:min(i+aheadCalls, len(flights))])
		}
		f.group, f.err, f.res, f.ran = g, nil, Result{}, false
		f.state.Store(underWay)
		n.launch(ctx, deadline, f)
	}
	n.transport.Release()
	for _, f := range flights {
		if f.to != nil && n.overtaken(&f.trip) {
			n.recall(f)
		}
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var cause error
	select {
	case <-g.over:
		return
	case <-ctx.Done():
		cause = ctx.Err()
	case <-timer.C:
		cause = context.DeadlineExceeded
	}
	for _, f := range flights {
		if f.to != nil {
			n.recall(f)
		} else if f.state.CompareAndSwap(underWay, given) {
			f.err = lost(f.call, cause)
			g.land()
		}
	}
	<-g.over
}

// recall ends a forwarded call that has no answer yet. What that means to its
// caller, whose time may be up, is judged as of any call that was not sent or
// lost.
func (n *Node) recall(f *flight) {
	pending, left := f.to.Cancel(f.id)
	switch {
	case !pending: // its answer is here or coming
	case left:
		f.finish(nil, transport.ErrLost)
	default:
		f.finish(nil, transport.ErrNotSent)
	}
}

func (n *Node) launch(ctx context.Context, deadline time.Time, f *flight) {
	var err error
	f.to, err = n.next(ctx, &f.trip)
	if err == nil && f.lane.stands(f) {
		f.attempts--
		err = errNotYet
	}
	if err != nil {
		f.to = nil
		f.lane.close(f)
		f.finish(nil, err)
		return
	}
	if f.to != nil {
		if f.near.wanted {
			f.near.send(n, f.to)
		}
		f.id = f.to.CallHeld(deadline, &f.req, f.answered)
		return
	}
	f.ran = true
	if parks(f.call.Op) {
		f.req.Timeout = time.Until(deadline).Microseconds()
	}
	if err := n.run(f.call, &f.req, &f.res, f.done); err != nil {
		if internal(err) || errors.Is(err, ErrOverloaded) { // to be made again
			f.lane.close(f)
		}
		f.finish(nil, err)
	} else if f.state.Load() == underWay && f.unversioned() {
		f.lane.close(f)
	}
}

func (n *Node) flight() *flight {
	if f, ok := n.flights.Get().(*flight); ok {
		return f
	}
	f := &flight{}
	f.answered = f.finish
	f.done = func(err error) { f.finish(nil, err) }
	return f
}

// land gives a flight back; it refers to nothing of the caller's any more.
func (n *Node) land(f *flight) {
	f.trip, f.call, f.group, f.lane, f.to, f.res, f.rsp, f.err = trip{}, nil, nil, nil, nil, Result{}, transport.Response{}, nil
	n.flights.Put(f)
}
