package node

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

const (
	retryMin = time.Millisecond
	retryMax = 20 * time.Millisecond
	maxHops  = 32 // redirects that a call follows without a rest
	waitless = 64 // calls answered at once, about 100 µs of them, until others may run
)

// waitCell is what one call needs while it waits. Cells are pooled, and so
// are the functions that answers call.
type waitCell struct {
	trip
	ch       chan error
	res      Result
	rsp      transport.Response
	timer    *time.Timer // of writes here; nil until needed
	lost     bool        // an answer may still come: not to be used again
	unwaited int         // calls answered at once since others were let run
	answered func(*transport.Response, error)
	done     func(error)
}

func newCell() any {
	w := &waitCell{ch: make(chan error, 1)}
	w.done = func(err error) { w.ch <- err }
	w.answered = func(rsp *transport.Response, err error) {
		if err == nil {
			w.rsp = *rsp
		}
		w.ch <- err
	}
	return w
}

func (n *Node) cell() *waitCell {
	if w, ok := n.cells.Get().(*waitCell); ok {
		return w
	}
	return newCell().(*waitCell)
}

// release gives a cell back; it refers to nothing of the caller's any more.
func (n *Node) release(w *waitCell) {
	if !w.lost {
		w.trip, w.res, w.rsp = trip{}, Result{}, transport.Response{}
		n.cells.Put(w)
	}
}

// Do runs one call wherever its slot is served, within ctx or OpTimeout. Get
// and Peek report a miss as Result.Found false. The value is appended to the
// spare capacity of Call.Value where it fits.
func (n *Node) Do(ctx context.Context, c *Call) (Result, error) {
	var r Result
	err := n.DoInto(ctx, c, &r)
	return r, err
}

// DoInto is Do that leaves the result in r, which is zero before.
func (n *Node) DoInto(ctx context.Context, c *Call, r *Result) error {
	if n.cfg.Trace != nil {
		return n.doTraced(ctx, c, r)
	}
	return n.do(ctx, c, r, nil)
}

// do is DoInto that tells how it went.
func (n *Node) do(ctx context.Context, c *Call, r *Result, end *CallEnd) (err error) {
	if err := n.admit(ctx, c); err != nil {
		return err
	}
	if looks(c.Op) {
		if n.lookHere(c, r) {
			return nil
		}
		return n.lookFar(ctx, c, r, end)
	}
	*r, err = n.route(ctx, c, end)
	return err
}

// lookFar looks where this node does not serve the slot, or has to wait.
func (n *Node) lookFar(ctx context.Context, c *Call, r *Result, end *CallEnd) (err error) {
	if n.lookBeside(c, r) {
		return nil
	}
	if n.near != nil {
		f, answered := n.near.board(ctx, n, c, r)
		if answered {
			return nil
		}
		if f != nil {
			defer n.near.land(c.Key, f)
		}
	}
	*r, err = n.route(ctx, c, end)
	return err
}

// lookBeside looks in what this node has of slots that others serve.
func (n *Node) lookBeside(c *Call, r *Result) bool {
	*r = Result{} // perhaps of a write that is not acknowledged
	return n.near != nil && n.near.read(n, c, r) || c.MaxAge > 0 && n.readStale(c, r)
}

// admit refuses a call that cannot be made at all.
func (n *Node) admit(ctx context.Context, c *Call) error {
	if n.closing.Load() {
		return n.closedErr()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.checkSize(c); err != nil {
		return err
	}
	if n.cfg.RequireFullCoverage && n.uncovered.Load() > 0 {
		return ErrNoPrimary
	}
	return nil
}

// maxQuestion bounds what a call asks by its Value, which is no value of a caller's:
// the most is a scan's, of five strings as long as keys.
const maxQuestion = 512 << 10

func (n *Node) checkSize(c *Call) error {
	maxValue := n.cfg.MaxValue
	if isRead(c.Op) || c.Op == transport.OpAsk {
		maxValue = max(maxValue, maxQuestion)
	}
	if len(c.Key) > n.cfg.MaxKey || len(c.Field) > n.cfg.MaxKey || len(c.Value) > maxValue || len(c.Old) > n.cfg.MaxValue {
		return fmt.Errorf("%w: key %.40q of %d bytes, value of %d", ErrTooLarge, c.Key, len(c.Key), max(len(c.Value), len(c.Old)))
	}
	if int(c.Slot) >= shard.Slots {
		return ErrInvalid
	}
	return nil
}

func (n *Node) closedErr() error {
	if err := n.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// limits returns the present time, and until when a call is to have ended.
func (n *Node) limits(ctx context.Context) (now, deadline time.Time) {
	now = time.Now()
	if d, ok := ctx.Deadline(); ok {
		return now, d
	}
	return now, now.Add(n.cfg.OpTimeout)
}

// Deadline is ctx's, or after OpTimeout where it has none.
func (n *Node) Deadline(ctx context.Context) time.Time {
	_, d := n.limits(ctx)
	return d
}

// route tries until the call has an answer, the deadline passes, or its
// outcome can't be known.
func (n *Node) route(ctx context.Context, c *Call, end *CallEnd) (Result, error) {
	began, deadline := n.limits(ctx)
	w := n.cell()
	defer n.release(w)
	n.setOut(&w.trip, c)
	res, err := n.travel(ctx, deadline, c, w)
	n.ended(&w.trip, c, res.Found, began, time.Time{}, err)
	if end != nil {
		end.Source, end.Attempts = w.source, w.attempts
		if w.peer != nil {
			end.Peer = n.who(w.peer.id)
		}
	}
	return res, err
}

func (n *Node) travel(ctx context.Context, deadline time.Time, c *Call, w *waitCell) (Result, error) {
	pause := retryMin
	for {
		res, err := n.attempt(ctx, deadline, c, w)
		if err == nil {
			return res, nil
		}
		again, atOnce := n.again(&w.trip, err)
		if !again {
			return res, err
		}
		if atOnce {
			continue
		}
		if err := n.giveUp(ctx, deadline, &w.trip); err != nil {
			return Result{}, err
		}
		n.rest(ctx, c.Slot, min(pause, time.Until(deadline)))
		if ctx.Err() != nil {
			w.source = SourceNone
			return Result{}, n.overdue(ctx, &w.trip)
		}
		pause = min(pause*2, retryMax)
	}
}

// rest waits for the slot's role to change here, its claim, or d.
func (n *Node) rest(ctx context.Context, slot uint16, d time.Duration) {
	s := &n.slots[slot]
	s.mu.Lock()
	changed := s.changeLocked()
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	case <-n.stop:
	}
}

// attempt makes the call once: here, or at the claim's primary, or where an
// ASK led. Forwarding is on the hot path.
func (n *Node) attempt(ctx context.Context, deadline time.Time, c *Call, w *waitCell) (Result, error) {
	t := &w.trip
	to, err := n.next(ctx, t)
	if err != nil {
		return Result{}, err
	}
	if to == nil {
		return n.here(ctx, deadline, c, w)
	}
	if t.near.wanted {
		t.near.send(n, to)
	}
	id := to.Call(deadline, &t.req, w.answered)
	if n.overtaken(t) {
		if pending, sent := to.Cancel(id); pending {
			if !sent {
				return Result{}, transport.ErrNotSent
			}
			return Result{}, transport.ErrLost
		}
	}
	if done := ctx.Done(); done == nil {
		err = <-w.ch
	} else {
		select {
		case err = <-w.ch:
		case <-done:
			if pending, sent := to.Cancel(id); pending {
				if sent {
					return Result{}, lost(c, ctx.Err())
				}
				return Result{}, ctx.Err()
			}
			err = <-w.ch
		}
	}
	return n.arrive(c, t, &w.rsp, err)
}

// giveWay lets others run now and then: callers that never wait would use up
// their time slices, and whatever comes from peers would stand in line behind
// some milliseconds of each.
func (w *waitCell) giveWay() {
	if w.unwaited++; w.unwaited >= waitless {
		w.unwaited = 0
		runtime.Gosched()
	}
}

// here runs the call on this node and waits for it.
func (n *Node) here(ctx context.Context, deadline time.Time, c *Call, w *waitCell) (Result, error) {
	if parks(c.Op) {
		w.req.Timeout = time.Until(deadline).Microseconds()
	}
	n.transport.Hold() // appends leave after the slot's lock
	err := n.run(c, &w.req, &w.res, w.done)
	n.transport.Release()
	if err == nil {
		select {
		case err = <-w.ch: // at once: no copies to wait for
			w.giveWay()
		default:
			w.waited = true
			if w.timer == nil {
				w.timer = time.NewTimer(time.Until(deadline))
			} else {
				w.timer.Reset(time.Until(deadline))
			}
			select {
			case err = <-w.ch:
				w.timer.Stop()
			case <-ctx.Done():
				w.timer.Stop()
				w.lost = true
				return Result{}, lost(c, ctx.Err())
			case <-w.timer.C:
				w.lost = true
				return Result{}, lost(c, context.DeadlineExceeded)
			}
		}
	}
	n.servedHere(&w.trip, err)
	w.res.Local = true
	return w.res, err
}
