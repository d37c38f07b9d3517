package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// UpdateSelf tells the others what changed about this node. ID and Addr cannot
// change. After Leave it does nothing.
func (g *Gossip) UpdateSelf(m Member) error {
	if m.ID != g.self || m.Addr != g.cfg.Self.Addr {
		return errors.New("update self: ID and address cannot change")
	}
	if err := m.validate(); err != nil {
		return fmt.Errorf("update self: %w", err)
	}
	g.roll.update(m)
	select {
	case g.announce <- struct{}{}:
	case <-g.stop:
		return nil
	}
	defer func() { <-g.announce }()
	if g.roll.saidGoodbye() || g.stopped() {
		return nil
	}
	_ = g.ml.UpdateNode(1) // does not wait for the broadcast
	return nil
}

// Leave says goodbye and waits, up to ctx and a failure timeout, until it was
// sent often enough to reach everybody. The others then see Left and not
// Failed. Close follows.
//
// memberlist's own message of leaving reaches the others as any death does;
// who sent it is not told to delegates. So the goodbye is metadata: it spreads
// first, and by every road that metadata takes.
func (g *Gossip) Leave(ctx context.Context) error {
	select {
	case g.announce <- struct{}{}:
	case <-g.stop:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.announce }()
	if g.stopped() || !g.roll.sayGoodbye() {
		return nil
	}
	_, err1 := within(ctx, g.cfg.FailureTimeout, g.ml.UpdateNode)
	rest, err2 := within(ctx, g.cfg.FailureTimeout, g.ml.Leave)
	if err := errors.Join(err1, err2); err != nil && rest > 0 {
		return fmt.Errorf("leave: %w", err)
	}
	return ctx.Err()
}

// within calls f with the smaller of limit and what ctx leaves, and returns
// what ctx leaves afterwards.
func within(ctx context.Context, limit time.Duration, f func(time.Duration) error) (time.Duration, error) {
	left := func() time.Duration {
		if at, ok := ctx.Deadline(); ok {
			return time.Until(at)
		}
		return limit
	}
	err := f(max(min(limit, left()), 1)) // zero would mean for ever
	return left(), err
}
