package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Lock is a lock that this process holds: see Cache.Lock. Its methods are safe
// for concurrent use.
type Lock struct {
	c     *Cache
	key   string
	token uint64 // names this holder
	fence uint64
	ttl   time.Duration
	stop  chan struct{} // closed by Unlock
	lost  chan struct{} // closed when the lock is not held any more

	mu      sync.Mutex // guards below
	until   time.Time  // when it is lost unless renewed before
	ended   bool
	stopped bool
}

const (
	minLockTTL = 100 * time.Millisecond
	maxLockTTL = 24 * time.Hour
)

// Lock waits until it holds the lock named key, within ctx or WithOpTimeout.
// Those who wait are served in the order in which they asked; a failover of the
// slot has them line up anew. The lock is renewed in the background until
// Unlock, which frees it at once, or until the cache closes; then, or if this
// process dies, it is free ttl later.
// ttl is 100ms to 24h. Locks and keys do not meet: the lock "a" has nothing to
// do with the key "a", and is never evicted.
//
// What a lock can promise: as long as Lost is open and clocks run at about the
// same speed, whatever time they show, nobody else holds the lock, by what is promised
// for writes. A primary that takes over counts ttl anew, as it knows no more. What
// it cannot: a process that sleeps in the middle of its work does not notice
// that its time has passed. Where that matters, pass Token along with the work
// and have its receiver refuse tokens lower than the highest it has seen.
//
// Where its ttl has passed before the primary's answer is here, it asks anew.
//
// Errors: ErrInvalid, ErrTooLarge; ErrLocked together with the context's error
// where time was up in line, or before the slot's primary had answered at all, and
// alone where every answer came too late for ttl; otherwise those of Set.
func (c *Cache) Lock(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return c.lock(ctx, key, ttl, node.LockWait)
}

// TryLock is Lock that does not wait: where somebody else holds the lock, or
// stands in line for it, it gives ErrLocked.
func (c *Cache) TryLock(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return c.lock(ctx, key, ttl, node.LockTry)
}

func (c *Cache) lock(ctx context.Context, key string, ttl time.Duration, how uint8) (*Lock, error) {
	if ttl < minLockTTL || ttl > maxLockTTL {
		return nil, fmt.Errorf("%w: lock %s for %v, want %v to %v", ErrInvalid, quoted(key), ttl, minLockTTL, maxLockTTL)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, c.n.Deadline(ctx)) // of all that is asked together
	defer cancel()
	for {
		l, err := c.askLock(ctx, key, ttl, how)
		if !errors.Is(err, errLate) || ctx.Err() != nil {
			return l, err
		}
	}
}

// errLate is ErrLocked for callers who are told it in the end; before that it has the lock
// asked for anew, since nobody else need have it.
var errLate = fmt.Errorf("%w: its time had passed when the answer came", ErrLocked)

func (c *Cache) askLock(ctx context.Context, key string, ttl time.Duration, how uint8) (*Lock, error) {
	l := &Lock{c: c, key: key, token: c.n.Token(), ttl: ttl, stop: make(chan struct{}), lost: make(chan struct{})}
	asked := time.Now()
	call := l.call(how)
	r, err := c.n.Do(ctx, &call)
	if err == nil && r.Found && time.Since(asked) > ttl/4 {
		// It stood in line, or the answer was slow: from when on the time
		// counts is not known.
		asked = time.Now()
		call := l.call(node.LockRenew)
		if _, err = c.n.Do(ctx, &call); errors.Is(err, ErrLocked) {
			err = errLate
		}
	}
	if err != nil {
		l.leave(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
		if how == node.LockWait && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrNoPrimary) && !errors.Is(err, ErrOverloaded) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
		return nil, err
	}
	l.fence, l.until = r.Version, asked.Add(ttl)
	if !l.Held() {
		l.leave(false) // before it is asked for anew
		return nil, errLate
	}
	if !c.n.Go(l.keep) { // ends at Unlock, when the lock is lost, and when the cache closes
		return nil, ErrClosed
	}
	return l, nil
}

// maxLeaving bounds the calls in the background: callers that soon give up may make
// many while nobody serves a slot.
const maxLeaving = 256

// leave gives back what a call for the lock that failed may have got, and its place in
// line, or what an Unlock that failed has not: otherwise nobody has the lock until its
// ttl has passed. Where nobody answered that call it tries for WithOpTimeout, in the
// background: what failed the one may fail the first attempts of the other.
func (l *Lock) leave(unanswered bool) {
	c, call := l.c, node.Unlock(l.token, keyCall(0, l.key).Slot, l.key)
	if unanswered {
		if c.leaving.Add(1) <= maxLeaving && c.n.Go(func() {
			defer c.leaving.Add(-1)
			_, _ = c.n.Do(c.n.Context(), &call)
		}) {
			return
		}
		c.leaving.Add(-1)
	}
	c.n.Forget(&call)
}

func (l *Lock) call(how uint8) node.Call {
	return node.Lock{Token: l.token, TTL: l.ttl, How: how}.Call(keyCall(0, l.key).Slot, l.key)
}

// Key returns the lock's name.
func (l *Lock) Key() string { return l.key }

// Token returns the fencing token: a number larger than that of every earlier
// holder of this lock.
func (l *Lock) Token() uint64 { return l.fence }

// Lost is closed when the lock is not held any more: after Unlock, when it
// could not be renewed in time, or when the cache closed.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Held reports whether the lock is held now, by this machine's clocks.
func (l *Lock) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended && l.heldLocked(time.Now())
}

// heldLocked goes by the monotonic and by the wall clock: either may stand
// still in a pause.
func (l *Lock) heldLocked(now time.Time) bool {
	return now.Before(l.until) && now.Round(0).Before(l.until.Round(0))
}

func (l *Lock) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		close(l.lost)
	}
}

// Unlock gives the lock back, and the next in line has it. A second Unlock, or
// one of a lock that was lost, does nothing and returns nil. Lost is closed when
// it returns, also with an error, such as that of a ctx that was done: then the lock
// is given back in the background, within WithOpTimeout, and where that fails too it
// may be held for others until its ttl has passed. Its errors are those of Set.
func (l *Lock) Unlock(ctx context.Context) error {
	l.mu.Lock()
	first := !l.stopped
	if l.stopped = true; first {
		close(l.stop)
	}
	ended := l.ended
	l.mu.Unlock()
	l.end()
	if !first || ended {
		return nil
	}
	call := node.Unlock(l.token, keyCall(0, l.key).Slot, l.key)
	_, err := l.c.n.Do(ctx, &call)
	if err != nil {
		l.leave(true)
	}
	return err
}

// keep renews the lock.
func (l *Lock) keep() {
	defer l.end()
	timer := time.NewTimer(l.ttl / 3)
	defer timer.Stop()
	closing := l.c.n.Context()
	for {
		select {
		case <-l.stop:
			return
		case <-closing.Done():
			return
		case <-timer.C:
		}
		l.mu.Lock()
		until, held := l.until, l.heldLocked(time.Now())
		l.mu.Unlock()
		if !held {
			return
		}
		ctx, cancel := context.WithDeadline(closing, until)
		asked := time.Now()
		call := l.call(node.LockRenew)
		_, err := l.c.n.Do(ctx, &call)
		cancel()
		switch {
		case err == nil:
			l.mu.Lock()
			l.until = asked.Add(l.ttl)
			l.mu.Unlock()
			timer.Reset(l.ttl / 3)
		case errors.Is(err, ErrLocked):
			return
		default: // again soon, while there is time
			timer.Reset(l.ttl / 20)
		}
	}
}
