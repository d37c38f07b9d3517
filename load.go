package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// LoadError is the failure of a loader, as every caller gets it who waited for
// that load. On the node where the loader ran it wraps the loader's own error;
// on others only its text is left.
type LoadError struct {
	Key string
	Err error
}

func (e *LoadError) Error() string { return fmt.Sprintf("slotmesh: load %s: %v", quoted(e.Key), e.Err) }
func (e *LoadError) Unwrap() error { return e.Err }

// PanicError says that a loader panicked: it is what LoadError wraps on the node where
// that ran.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // of its goroutine, as runtime/debug.Stack formats it
}

func (e *PanicError) Error() string { return fmt.Sprintf("loader panicked: %v", e.Value) }

// GetOrLoad returns key's value, and where there is none has load make it: once
// in the whole fleet, however many callers on however many nodes ask at the
// same time. All of them get the value, or the loader's error, which is not
// kept; who comes after a Delete gets nothing that was loaded before it. The
// loader runs in one of the processes that ask, on a goroutine of its own, with
// the values of its caller's context; the context ends after LoadTimeout, when
// nobody waits any more, and when the cache closes. Close waits for loaders that
// do not heed it.
//
// A loader that dies with its process, whose node is not heard of for the failure
// timeout, or that takes longer than LoadTimeout, loses the right to load to another
// caller. What it returns later never overwrites a newer value, nor comes back after
// a Delete that fell in between. When the slot moves or fails over during a load, one
// more may run.
//
// A value that cannot be stored, since it is too large or there is no room, is
// returned all the same: the next caller loads again.
//
// A loader says by ErrNotFound that there is no value: see LoadNegative. One
// that panics gives a LoadError that wraps a PanicError.
//
// Cost: for a hit that of Get; for a miss a round trip for the right to load,
// or to wait, and one to store the value.
//
// Errors: *LoadError, ErrNotFound, ErrInvalid; otherwise those of Get.
func (c *Cache) GetOrLoad(ctx context.Context, key string, load func(ctx context.Context, key string) ([]byte, error), opts ...LoadOption) ([]byte, error) {
	if load == nil {
		return nil, fmt.Errorf("%w: GetOrLoad of %s with a nil loader", ErrInvalid, quoted(key))
	}
	o, err := loadOptionsOf(opts)
	if err != nil {
		return nil, fmt.Errorf("GetOrLoad of %s: %w", quoted(key), err)
	}
	var r node.Result
	if err := c.getOrLoad(ctx, key, 0, nil, load, &o, &r); err != nil {
		return nil, err
	}
	return present(r.Value), nil
}

// flights are the loads that this node makes or waits for.
type flights struct {
	asked atomic.Uint64 // questions that flights have asked so far

	mu     sync.Mutex // guards below and the flights' callers
	m      map[flightKey]*flight
	failed setbacks
}

type flightKey struct {
	key     string
	schema  uint32
	refresh bool
}

type flight struct {
	done    chan struct{} // closed when the rest is set
	result  node.Result
	err     error
	callers int
	cancel  context.CancelFunc
	// overtaken: the key was written or deleted since the load began. Who joined may
	// have come after that, and is not to be told what was before.
	overtaken bool
	// found is the number of the question that somebody else's value answers; 0: none
	// does. Who joined later may have come after that was deleted.
	found uint64
}

// getOrLoad is GetOrLoad of values with a schema, into r, which is zero before.
// known, if not nil, says which values count as present. A hit is on the hot path.
func (c *Cache) getOrLoad(ctx context.Context, key string, schema uint32, known func(schema uint32) bool, load func(context.Context, string) ([]byte, error), o *loadOptions, r *node.Result) error {
	call := keyCall(transport.OpGet, key)
	err := c.n.DoInto(ctx, &call, r)
	switch {
	case err != nil:
		return err
	case r.Found && (known == nil || known(r.Schema)):
		if r.Expiry > 0 && o.due(millis(r.Int)) {
			c.refresh(ctx, key, schema, r.Version, load, *o)
		}
		return nil
	case r.Schema&node.SchemaAbsent != 0:
		return ErrNotFound
	}
	// A value that is there is of another schema.
	*r, err = c.miss(ctx, key, schema, node.Load{Wait: true, Ignore: r.Version}, known, load, *o)
	return err
}

// miss waits for a load, its own or somebody else's.
func (c *Cache) miss(ctx context.Context, key string, schema uint32, ask node.Load, known func(schema uint32) bool, load func(context.Context, string) ([]byte, error), o loadOptions) (node.Result, error) {
	k := flightKey{key, schema, false}
	for came := c.loads.asked.Load(); ; {
		f, joined := c.join(ctx, k, ask, known, load, &o)
		if f == nil {
			return node.Result{}, ErrClosed
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			c.quit(f, k)
			return node.Result{}, ctx.Err()
		}
		if errors.Is(f.err, errAbandoned) || f.overtaken && joined || f.found > 0 && f.found <= came {
			continue // its callers had gone when we came, or it was begun too early for us
		}
		r := f.result
		r.Value = append([]byte(nil), r.Value...) // each caller's own
		return r, f.err
	}
}

var errAbandoned = errors.New("load was given up by its callers")

// refresh has a value that is still good loaded anew in the background, unless that has
// just failed.
func (c *Cache) refresh(ctx context.Context, key string, schema uint32, version uint64, load func(context.Context, string) ([]byte, error), o loadOptions) {
	ask := node.Load{Ignore: version}
	c.join(ctx, flightKey{key, schema, true}, ask, nil, load, &o)
}

// join returns the flight under way for k, which others have begun, or a new one; nil
// where the cache is closing, or k is to wait.
func (c *Cache) join(ctx context.Context, k flightKey, ask node.Load, known func(schema uint32) bool, load func(context.Context, string) ([]byte, error), o *loadOptions) (f *flight, joined bool) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	if f := c.loads.m[k]; f != nil {
		f.callers++
		return f, true
	}
	if k.refresh && c.loads.failed.wait(k, time.Now()) {
		return nil, false
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f = &flight{done: make(chan struct{}), callers: 1, cancel: cancel}
	if c.loads.m == nil {
		c.loads.m = map[flightKey]*flight{}
	}
	c.loads.m[k] = f
	ask.Token, ask.Lease = c.n.Token(), o.timeout
	started := c.n.Go(func() { // ends with the load; see fly
		result, err := c.fly(run, f, k, ask, known, load, o)
		switch {
		case !errors.Is(err, context.Canceled):
		case c.n.Closing():
			err = ErrClosed
		case run.Err() != nil:
			err = errAbandoned
		}
		if k.refresh { // before the next one may begin
			c.refreshed(k, result, err)
			if p, ok := errors.AsType[*PanicError](err); ok {
				c.n.LoaderPanicked(p.Stack)
			}
		}
		c.unlist(f, k)
		cancel()
		f.result, f.err = result, err
		close(f.done)
	})
	if !started {
		delete(c.loads.m, k)
		cancel()
		return nil, false
	}
	return f, false
}

// refreshed notes how a refresh ended, which nobody waits for.
func (c *Cache) refreshed(k flightKey, r node.Result, err error) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	switch {
	case errors.Is(err, ErrClosed):
	case err != nil && !errors.Is(err, ErrNotFound):
		if c.loads.failed == nil {
			c.loads.failed = setbacks{}
		}
		c.loads.failed.add(k, time.Now())
	case err != nil || r.Found: // rather than that somebody else is at it
		delete(c.loads.failed, k)
	}
}

// unlist has nobody join a flight any more.
func (c *Cache) unlist(f *flight, k flightKey) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	if c.loads.m[k] == f {
		delete(c.loads.m, k)
	}
}

// quit leaves a flight; one that nobody waits for is given up.
func (c *Cache) quit(f *flight, k flightKey) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	if f.callers--; f.callers == 0 {
		f.cancel()
		if c.loads.m[k] == f {
			delete(c.loads.m, k)
		}
	}
}

// fly gets the value or the right to load it, and loads it. It returns when
// the loader has returned, its time is up, ctx is done or the cache closes.
func (c *Cache) fly(ctx context.Context, f *flight, k flightKey, ask node.Load, known func(schema uint32) bool, load func(context.Context, string) ([]byte, error), o *loadOptions) (node.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.n.Context(), cancel)()
	slot := keyCall(0, k.key).Slot
	for {
		asked := c.loads.asked.Add(1)
		call := ask.Call(slot, k.key)
		r, err := c.n.Do(ctx, &call)
		var failed *node.LoadFailed
		switch {
		case errors.As(err, &failed):
			return node.Result{}, &LoadError{k.key, failed}
		case err != nil && ctx.Err() == nil && takesTime(err):
			continue
		case err != nil:
			c.forget(slot, k.key, ask.Token) // it may be granted all the same
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return node.Result{}, err
		case r.Int == node.LoadBusy:
			return node.Result{}, nil // of a refresh, whose result nobody waits for
		case r.Int == node.LoadGranted:
			return c.loadIt(ctx, f, k, lease{ask.Token, r.Version}, load, o)
		case !r.Found:
			return node.Result{}, ErrNotFound
		case known != nil && !known(r.Schema) && r.Version != ask.Ignore:
			ask.Ignore = r.Version // of another schema
		default:
			f.found = asked
			return r, nil
		}
	}
}

// takesTime reports whether a call waited for somebody else's load until its own time
// was up: it is to be made anew.
func takesTime(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrNoPrimary) && !errors.Is(err, ErrOverloaded)
}

func (c *Cache) forget(slot uint16, key string, token uint64) {
	call := node.Release{Token: token}.Call(slot, key)
	c.n.Forget(&call)
}

// lease is the right to load a key.
type lease struct {
	token uint64 // of whom it was granted to, to give it back by
	grant uint64 // to store a value by
}

// loadIt runs the loader under a lease and stores what it gives.
func (c *Cache) loadIt(ctx context.Context, f *flight, k flightKey, l lease, load func(context.Context, string) ([]byte, error), o *loadOptions) (node.Result, error) {
	value, err := runLoader(ctx, c, o.timeout, func(ctx context.Context) ([]byte, error) { return load(ctx, k.key) })
	switch {
	case err != nil && ctx.Err() != nil: // nobody waits here: elsewhere somebody may
		c.forget(keyCall(0, k.key).Slot, k.key, l.token)
		return node.Result{}, ctx.Err()
	case errors.Is(err, ErrNotFound):
		f.overtaken = c.landAbsent(ctx, k, l, o)
		return node.Result{}, ErrNotFound
	case err != nil:
		c.n.LoadFailed()
		call := failedCall(k.key, l, err)
		c.release(ctx, &call)
		return node.Result{}, &LoadError{k.key, err}
	}
	return c.land(ctx, f, k, l, value, o)
}

// failedCall tells those who wait that a load failed, or where it only took
// too long lets one of them try.
func failedCall(key string, of lease, err error) node.Call {
	l := node.Release{Token: of.token, How: node.ReleaseFailed}
	if !errors.Is(err, errLoadTimeout) {
		l.Grant, l.Text = of.grant, err.Error()
	}
	return l.Call(keyCall(0, key).Slot, key)
}

// absentCall tells those who wait that there is no value.
func absentCall(key string, l lease) node.Call {
	return node.Release{Token: l.token, Grant: l.grant, How: node.ReleaseAbsent}.Call(keyCall(0, key).Slot, key)
}

// releaseWait bounds how long the callers of a load without a value wait until
// its primary knows.
const releaseWait = time.Second

// release ends a load without a value before its callers are told: who calls
// after them is not to be answered with a load that was over by then. It reports
// whether the key was written or deleted meanwhile.
func (c *Cache) release(ctx context.Context, call *node.Call) (overtaken bool) {
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	r, err := c.n.Do(ctx, call)
	if err != nil {
		c.n.Forget(call)
	}
	return r.Int == node.LoadOvertaken
}

// land stores a loaded value. Where the right to load was lost meanwhile, or
// the value can't be stored, it is returned all the same.
func (c *Cache) land(ctx context.Context, f *flight, k flightKey, l lease, value []byte, o *loadOptions) (node.Result, error) {
	c.unlist(f, k) // the value may be deleted as soon as it is stored
	call := fillCall(k.key, k.schema, l.grant, value, o.lifetime())
	switch _, err := c.n.Do(ctx, &call); {
	case errors.Is(err, ErrConflict):
		f.overtaken = true
	case err != nil:
		c.forget(call.Slot, k.key, l.token)
		if k.refresh {
			return node.Result{}, err
		}
	}
	return node.Result{Found: true, Value: value, Schema: k.schema}, nil
}

// landAbsent tells the others that there is no value, removes the one that was to
// be loaded anew, and remembers it as o says. It reports whether the key was written
// or deleted meanwhile.
func (c *Cache) landAbsent(ctx context.Context, k flightKey, l lease, o *loadOptions) (overtaken bool) {
	if o.negative > 0 || k.refresh {
		call := fillCall(k.key, node.SchemaAbsent, l.grant, nil, o.negative)
		if o.negative == 0 {
			call.Op = transport.OpDelete
		}
		_, err := c.n.Do(ctx, &call)
		if err == nil {
			return false
		}
		overtaken = errors.Is(err, ErrConflict)
	}
	call := absentCall(k.key, l)
	return c.release(ctx, &call) || overtaken
}

func fillCall(key string, schema uint32, grant uint64, value []byte, life time.Duration) node.Call {
	call := keyCall(transport.OpSet, key)
	call.Value, call.Schema, call.Version, call.Flags = value, schema, grant, transport.FlagLease
	if life > 0 {
		call.Flags |= transport.FlagRelative
		call.Expiry = int64((life-1)/time.Millisecond) + 1
	}
	return call
}

// errLoadTimeout is the error of a load that took longer than LoadTimeout.
var errLoadTimeout = fmt.Errorf("%w: the loader took too long", context.DeadlineExceeded)

// errLoaderEnded is the error of a load whose loader called runtime.Goexit.
var errLoaderEnded = errors.New("loader ended its goroutine")

// runLoader runs a user's function until it returns or its time is up. One
// that does not heed its context stays behind on a goroutine, which Close waits
// for.
func runLoader[T any](ctx context.Context, c *Cache, timeout time.Duration, f func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLoadTimeout)
	defer cancel()
	ended := make(chan outcome, 1)
	started := c.n.Go(func() { // ends when f returns
		out := outcome{err: errLoaderEnded}
		defer func() {
			if p := recover(); p != nil {
				out.err = &PanicError{p, debug.Stack()}
			}
			ended <- out
		}()
		out.value, out.err = f(ctx)
	})
	if !started {
		var none T
		return none, ErrClosed
	}
	var out outcome
	select {
	case out = <-ended:
	case <-ctx.Done():
		select {
		case out = <-ended: // both at once: what it gave counts
		default:
			out.err = context.Cause(ctx)
		}
	}
	if late := context.Cause(ctx); out.err != nil && errors.Is(late, errLoadTimeout) && !errors.Is(out.err, late) && !errors.Is(out.err, ErrNotFound) {
		out.err = fmt.Errorf("%w: %w", late, out.err) // it heeds its context, and says so in its own words
	}
	return out.value, out.err
}
