package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

const (
	retryMin = time.Millisecond
	retryMax = 20 * time.Millisecond
	maxHops  = 32 // redirects of one call that taught the caller nothing new
)

// waitCell parks one caller. Cells are pooled.
type waitCell struct {
	ch  chan error
	res Result
	rsp transport.Response
}

var cells = sync.Pool{New: func() any { return &waitCell{ch: make(chan error, 1)} }}

// Do runs one call wherever its slot is served, within ctx or OpTimeout. Get
// and Peek report a miss as Result.Found false. The value is appended to the
// spare capacity of Call.Value where it fits.
func (n *Node) Do(ctx context.Context, c *Call) (Result, error) {
	if n.closing.Load() {
		return Result{}, n.closedErr()
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if err := n.checkSize(c); err != nil {
		return Result{}, err
	}
	if n.cfg.RequireFullCoverage && n.uncovered.Load() > 0 {
		return Result{}, ErrNoPrimary
	}
	if isRead(c.Op) && c.Op != transport.OpScan {
		var r Result
		if wait, err := n.read(c, &r); err == nil && wait == 0 {
			n.stats.local.Add(1)
			return r, nil
		}
	}
	return n.route(ctx, c)
}

func (n *Node) checkSize(c *Call) error {
	if len(c.Key) > n.cfg.MaxKey || len(c.Field) > n.cfg.MaxKey || len(c.Value) > n.cfg.MaxValue || len(c.Old) > n.cfg.MaxValue {
		return ErrTooLarge
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

// route tries until the call has an answer, the deadline passes, or its
// outcome can't be known.
func (n *Node) route(ctx context.Context, c *Call) (Result, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(n.cfg.OpTimeout)
	}
	s := &n.slots[c.Slot]
	req := transport.Request{Call: *c, Mark: s.mark.Load()}
	if cl := n.table.Load().Claim(c.Slot); cl != nil {
		req.Epoch = cl.Epoch
	}
	write := !isRead(c.Op)
	if write {
		req.ID2 = transport.CallID{Node: n.id, Number: n.callNo.Add(1)}
	}
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	pause := retryMin
	var ask *peer // answer of an ASK: for one attempt
	var last error
	for {
		res, to, err := n.attempt(ctx, deadline, c, &req, ask)
		ask = nil
		switch {
		case err == nil:
			return res, nil
		case errors.Is(err, errMoved) && to != nil: // the table is newer now
			n.stats.redirected.Add(1)
			if req.Hops++; req.Hops < maxHops {
				last = err
				continue
			}
			req.Hops = 0
		case errors.Is(err, errAsk):
			n.stats.redirected.Add(1)
			if ask = to; ask != nil && req.Hops < maxHops {
				req.Hops++
				continue
			}
		case errors.Is(err, errRepeat), errors.Is(err, transport.ErrLost):
			req.Repeat = req.Repeat || write
		case errors.Is(err, errMoved), errors.Is(err, errNotYet), errors.Is(err, transport.ErrNotSent), errors.Is(err, ErrOverloaded):
		default:
			return res, err
		}
		last = err
		if n.closing.Load() {
			if req.Repeat {
				return Result{}, ErrUnknownOutcome
			}
			return Result{}, n.closedErr()
		}
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return Result{}, n.overdue(ctx, c, &req, last)
		}
		// Wait for the role to change here, the table, or a moment.
		s.mu.Lock()
		changed := s.changeLocked()
		s.mu.Unlock()
		d := min(pause, left)
		pause = min(pause*2, retryMax)
		if timer == nil {
			timer = time.NewTimer(d)
		} else {
			timer.Reset(d)
		}
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			return Result{}, n.overdue(ctx, c, &req, last)
		case <-n.stop:
		}
	}
}

// overdue is the error of a call whose time is up.
func (n *Node) overdue(ctx context.Context, c *Call, req *transport.Request, last error) error {
	cause := ctx.Err()
	if cause == nil {
		cause = context.DeadlineExceeded
	}
	switch {
	case req.Repeat:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
	case errors.Is(cause, context.Canceled):
		return cause
	case errors.Is(last, ErrOverloaded):
		return fmt.Errorf("%w: %w", ErrOverloaded, cause)
	}
	cl := n.table.Load().Claim(c.Slot)
	return fmt.Errorf("%w (slot %d, claim %v, %d redirects, last answer %q): %w", ErrNoPrimary, c.Slot, cl, req.Hops, last, cause)
}

// attempt makes the call once: here, at the claim's primary, or at ask.
func (n *Node) attempt(ctx context.Context, deadline time.Time, c *Call, req *transport.Request, ask *peer) (Result, *peer, error) {
	cl := n.table.Load().Claim(c.Slot)
	if ask == nil && (cl == nil || cl.Primary == n.id) {
		if cl == nil && n.noData() {
			return Result{}, nil, ErrNoPrimary
		}
		return n.here(ctx, deadline, c, req)
	}
	to := ask
	if to == nil {
		to = n.peer(cl.Primary)
	}
	t := to.live()
	if t == nil {
		return Result{}, nil, transport.ErrNotSent
	}
	req.Asked = ask != nil
	cell := cells.Get().(*waitCell)
	id := t.Call(deadline, req, func(rsp *transport.Response, err error) {
		if err == nil {
			cell.rsp = *rsp
		}
		cell.ch <- err
	})
	err := errWaiting
	for err == errWaiting {
		s := &n.slots[c.Slot]
		s.mu.Lock()
		changed := s.changeLocked()
		s.mu.Unlock()
		if ask == nil && n.table.Load().Claim(c.Slot).Primary != cl.Primary {
			// Served elsewhere now: whoever has the call may never answer.
			if pending, sent := t.Cancel(id); pending {
				cells.Put(cell)
				if !sent {
					return Result{}, nil, transport.ErrNotSent
				}
				return Result{}, nil, transport.ErrLost
			}
			err = <-cell.ch
			break
		}
		err = n.answer(ctx, cell, changed)
	}
	if err == errGaveUp {
		if pending, sent := t.Cancel(id); pending {
			cells.Put(cell)
			if sent && !isRead(c.Op) {
				return Result{}, nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
			}
			return Result{}, nil, ctx.Err()
		}
		err = <-cell.ch
	}
	rsp := cell.rsp
	cell.rsp = transport.Response{}
	cells.Put(cell)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && errors.Is(err, transport.ErrLost) && !isRead(c.Op) {
			return Result{}, nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.DeadlineExceeded)
		}
		if errors.Is(err, transport.ErrTooLarge) {
			return Result{}, nil, ErrTooLarge
		}
		if errors.Is(err, transport.ErrOverloaded) {
			return Result{}, nil, ErrOverloaded
		}
		if !errors.Is(err, transport.ErrLost) {
			err = transport.ErrNotSent
		}
		return Result{}, nil, err
	}
	n.stats.forwarded.Add(1)
	n.slots[c.Slot].heard(rsp.Mark)
	if rsp.Code == transport.CodeOK && c.Op == transport.OpGet && rsp.Found && cap(c.Value) > 0 && len(rsp.Value) <= cap(c.Value)-len(c.Value) {
		rsp.Value = append(c.Value[len(c.Value):], rsp.Value...)
	}
	err = n.codeError(&rsp)
	switch {
	case errors.Is(err, errAsk):
		to = n.peer(shard.NodeID(rsp.Node))
	case errors.Is(err, errMoved):
		claim, _, derr := shard.DecodeClaim(rsp.Claim)
		if derr != nil || claim.Slot != c.Slot || shard.Compare(claim, cl) <= 0 {
			return Result{}, nil, errMoved // taught nothing: wait a moment
		}
		n.learn([]*shard.Claim{claim})
	}
	return rsp.Result, to, err
}

var (
	errWaiting = errors.New("no answer yet")
	errGaveUp  = errors.New("the caller gave up")
)

// answer waits for a forwarded call's answer, or for a reason to stop waiting.
func (n *Node) answer(ctx context.Context, cell *waitCell, changed <-chan struct{}) error {
	select {
	case err := <-cell.ch:
		return err
	case <-changed:
		return errWaiting
	case <-ctx.Done():
		return errGaveUp
	}
}

// here runs the call on this node and waits for it.
func (n *Node) here(ctx context.Context, deadline time.Time, c *Call, req *transport.Request) (Result, *peer, error) {
	cell := cells.Get().(*waitCell)
	cell.res = Result{}
	err := n.run(c, req, &cell.res, func(err error) { cell.ch <- err })
	if err == nil {
		select {
		case err = <-cell.ch: // most often at once: the copies are quick or none
		default:
			timer := time.NewTimer(time.Until(deadline))
			select {
			case err = <-cell.ch:
				timer.Stop()
			case <-ctx.Done():
				timer.Stop()
				return Result{}, nil, lost(c, ctx.Err())
			case <-timer.C:
				return Result{}, nil, lost(c, context.DeadlineExceeded)
			}
		}
	}
	res := cell.res
	cells.Put(cell)
	if err == nil || !internal(err) {
		n.stats.local.Add(1)
	}
	var to *peer
	if errors.Is(err, errAsk) {
		s := &n.slots[c.Slot]
		s.mu.Lock()
		if h := s.view.Handover; !h.IsZero() {
			to = n.peer(h)
		}
		s.mu.Unlock()
	}
	if errors.Is(err, errMoved) {
		to = nil
	}
	return res, to, err
}

func internal(err error) bool {
	return err == errNotYet || err == errMoved || err == errAsk || err == errRepeat
}

// lost is the error of a call that ran here and whose time was up.
func lost(c *Call, cause error) error {
	if isRead(c.Op) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
}

// DoMany runs calls of any slots side by side; results and errors are by
// index, also where ctx is done.
func (n *Node) DoMany(ctx context.Context, calls []Call) ([]Result, []error) {
	results, errs := make([]Result, len(calls)), make([]error, len(calls))
	var wg sync.WaitGroup
	const lanes = 64
	next := make(chan int)
	for range min(lanes, len(calls)) {
		wg.Go(func() { // ends when next is closed
			for i := range next {
				results[i], errs[i] = n.Do(ctx, &calls[i])
			}
		})
	}
	for i := range calls {
		next <- i
	}
	close(next)
	wg.Wait()
	return results, errs
}
