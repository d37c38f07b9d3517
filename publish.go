package slotmesh

import (
	"cmp"
	"context"
	"errors"
	"iter"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Message is what a subscriber gets.
type Message struct {
	Channel string
	Pattern string // that the channel matched; "" where it was subscribed to by name
	Payload []byte // shared with other subscribers: not to be changed
	// Missed counts messages to this subscriber that were lost right before
	// this one, because it was slower than they came.
	Missed uint64
}

// Publish sends payload to whoever is subscribed to channel now, on whatever
// node, and returns how many that are; one that subscribed twice counts twice.
// Messages of one publisher, one after another, arrive in order. A message
// arrives at most once, and not at all where a node cannot be reached or a
// subscriber is slow: what must not be lost belongs under a key, see Watch.
//
// Channels have nothing to do with keys. One whose name begins with a zero byte
// is matched by no pattern.
//
// Cost: a round trip to all nodes side by side.
//
// Errors: ErrTooLarge by the limits of keys and values; ErrClosed and
// ErrSuperseded; joined and with their names, those of the nodes that did not answer
// in time or that only others reach, while the rest have the message.
func (c *Cache) Publish(ctx context.Context, channel string, payload []byte) (receivers int, err error) {
	return c.n.Publish(ctx, channel, payload)
}

// SubscribeOption says what Subscribe yields.
type SubscribeOption func(*subscribeOptions)

type subscribeOptions struct {
	channels, patterns []string
	buffer             int
	faults             faults
}

// maxSubscribeBuffer bounds SubscribeBuffer.
const maxSubscribeBuffer = 1 << 20

// SubscribeChannel yields the messages of the named channels.
func SubscribeChannel(names ...string) SubscribeOption {
	return func(o *subscribeOptions) {
		o.channels = append(o.channels, names...)
		for _, name := range names {
			o.faults.unless(len(name) <= maxKey, "SubscribeChannel: %d bytes, want at most %d", len(name), maxKey)
		}
	}
}

// SubscribePattern yields the messages of channels whose names match a
// pattern: see MatchGlob. One that matches several is yielded for each.
func SubscribePattern(patterns ...string) SubscribeOption {
	return func(o *subscribeOptions) {
		o.patterns = append(o.patterns, patterns...)
		for _, pattern := range patterns {
			o.faults.unless(len(pattern) <= maxKey, "SubscribePattern: %d bytes, want at most %d", len(pattern), maxKey)
		}
	}
}

// SubscribeBuffer sets how many messages wait for the subscriber at most, 1 to
// 1048576, default 1024; 8 MiB are the limit as well. Those beyond are lost, and
// counted in Message.Missed.
func SubscribeBuffer(n int) SubscribeOption {
	return func(o *subscribeOptions) {
		o.buffer = n
		o.faults.unless(n >= 1 && n <= maxSubscribeBuffer, "SubscribeBuffer(%d): want 1 to %d", n, maxSubscribeBuffer)
	}
}

// Subscribe yields the messages published, on whatever node, from the moment
// its loop begins. It ends with ctx's error, or ErrClosed; leaving the loop
// leaves nothing behind.
//
// Errors: ErrInvalid; ErrOverloaded beyond 1048576 channels or 16384 patterns of
// all subscribers of a node; ErrClosed, ErrSuperseded, ctx's error.
func (c *Cache) Subscribe(ctx context.Context, opts ...SubscribeOption) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		s, err := c.Subscription(opts...)
		if err != nil {
			yield(Message{}, err)
			return
		}
		defer s.Close()
		for {
			m, err := s.Next(ctx)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Subscription is Subscribe for those whose channels change. It is safe for
// concurrent use, and to be closed.
type Subscription struct{ s *node.Subscription }

// Subscription returns one that has begun. It takes the options of Subscribe,
// also none. Its errors are those of Subscribe but for ctx's.
func (c *Cache) Subscription(opts ...SubscribeOption) (*Subscription, error) {
	var o subscribeOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if err := errors.Join(o.faults...); err != nil {
		return nil, err
	}
	if c.n.Closing() {
		return nil, cmp.Or(c.n.Err(), ErrClosed)
	}
	s := &Subscription{c.n.Subscription(o.buffer)}
	if err := errors.Join(s.Add(o.channels...), s.AddPattern(o.patterns...)); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Next waits for a message and returns it. Errors: ErrClosed, also after
// Close; ErrSuperseded; ctx's error.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	m, err := s.s.Next(ctx)
	return Message(m), err
}

// Add subscribes to more channels, from the moment it returns. Errors:
// ErrOverloaded, ErrClosed.
func (s *Subscription) Add(channels ...string) error { return s.s.Add(false, channels...) }

// AddPattern subscribes to patterns; otherwise it is Add.
func (s *Subscription) AddPattern(patterns ...string) error { return s.s.Add(true, patterns...) }

// Remove unsubscribes from channels. What has arrived is still there for Next.
func (s *Subscription) Remove(channels ...string) { s.s.Remove(false, channels...) }

// RemovePattern unsubscribes from patterns.
func (s *Subscription) RemovePattern(patterns ...string) { s.s.Remove(true, patterns...) }

// Close ends the subscription: Next returns ErrClosed, after what has arrived.
func (s *Subscription) Close() { s.s.Close() }
