package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Message is what a subscription gets.
type Message struct {
	Channel string
	Pattern string // that the channel matched; "" for one subscribed to by name
	Payload []byte // shared with other subscriptions: not to be changed
	Missed  uint64 // messages lost before this one, for want of room
}

const (
	maxChannels = 1 << 20 // channels of all subscriptions of a node
	maxPatterns = 1 << 14 // likewise; each is tried for every message

	defaultQueue = 1024    // messages
	queueBytes   = 8 << 20 // of a subscription
)

// hub is a node's subscriptions. A message goes to every node and there to
// those who want it now: nothing is kept for later.
type hub struct {
	mu       sync.RWMutex // guards below; outside of Subscription.mu
	channels map[string]map[*Subscription]struct{}
	patterns map[string]map[*Subscription]struct{}
	names    int
	globs    int
}

func newHub() hub {
	return hub{channels: map[string]map[*Subscription]struct{}{}, patterns: map[string]map[*Subscription]struct{}{}}
}

// deliver gives a message to the subscriptions of this node and counts them.
// It never waits and keeps nothing of payload.
func (h *hub) deliver(channel string, payload []byte) (receivers int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.channels[channel]) == 0 && len(h.patterns) == 0 {
		return 0
	}
	m := Message{}
	give := func(subscribers map[*Subscription]struct{}, pattern string) {
		if m.Payload == nil {
			m.Channel, m.Payload = strings.Clone(channel), append([]byte{}, payload...)
		}
		m.Pattern = pattern
		for s := range subscribers {
			s.push(m)
			receivers++
		}
	}
	if subscribers := h.channels[channel]; len(subscribers) > 0 {
		give(subscribers, "")
	}
	if strings.HasPrefix(channel, "\x00") {
		return receivers
	}
	for pattern, subscribers := range h.patterns {
		if MatchGlob(pattern, channel) {
			give(subscribers, pattern)
		}
	}
	return receivers
}

// Subscription is what a caller gets messages by. It is safe for concurrent
// use.
type Subscription struct {
	n     *Node
	limit int
	wake  chan struct{} // capacity 1
	over  chan struct{} // closed by Close
	close sync.Once
	names [2]map[string]struct{} // channels and patterns; guarded by hub.mu

	mu     sync.Mutex // guards below
	queue  []Message
	size   int
	missed uint64
}

// Subscription returns one that holds up to limit messages, 0 for the default.
func (n *Node) Subscription(limit int) *Subscription {
	if limit == 0 {
		limit = defaultQueue
	}
	return &Subscription{n: n, names: [2]map[string]struct{}{{}, {}}, limit: limit, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

func (s *Subscription) push(m Message) {
	s.mu.Lock()
	size := len(m.Channel) + len(m.Payload) + 64
	if len(s.queue) >= s.limit || len(s.queue) > 0 && s.size+size > queueBytes {
		s.missed++
	} else {
		m.Missed, s.missed = s.missed, 0
		s.queue = append(s.queue, m)
		s.size += size
	}
	s.mu.Unlock()
	s.rouse()
}

// take returns the oldest message there is.
func (s *Subscription) take() (m Message, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return m, false
	}
	m = s.queue[0]
	s.queue[0] = Message{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	} else {
		s.rouse() // another Next: those that wait may be several
	}
	s.size -= len(m.Channel) + len(m.Payload) + 64
	return m, true
}

// rouse wakes one Next.
func (s *Subscription) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for a message. Errors: ErrClosed once the subscription or the
// node is closed, ctx's error.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	for {
		if m, ok := s.take(); ok {
			return m, nil
		}
		select {
		case <-s.wake:
		case <-s.over:
			if m, ok := s.take(); ok { // it came right before the end
				return m, nil
			}
			return Message{}, ErrClosed
		case <-s.n.stop:
			return Message{}, s.n.closedErr()
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// Add subscribes to channels, or to patterns of their names. Where they are
// too many, the error is ErrOverloaded and none was added.
func (s *Subscription) Add(patterns bool, names ...string) error {
	h := &s.n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	own := s.names[0]
	select {
	case <-s.over:
		return ErrClosed
	default:
	}
	set, count, limit := h.channels, &h.names, maxChannels
	if patterns {
		set, count, limit, own = h.patterns, &h.globs, maxPatterns, s.names[1]
	}
	if *count+len(names) > limit {
		return fmt.Errorf("%w: more than %d subscribed to", ErrOverloaded, limit)
	}
	for _, name := range names {
		if set[name] == nil {
			set[name] = map[*Subscription]struct{}{}
		}
		if _, ok := set[name][s]; !ok {
			set[name][s] = struct{}{}
			own[name] = struct{}{}
			*count++
		}
	}
	return nil
}

// Remove ends what Add began. Messages that are there already still come.
func (s *Subscription) Remove(patterns bool, names ...string) {
	h := &s.n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if patterns {
			s.removeLocked(h.patterns, &h.globs, 1, name)
		} else {
			s.removeLocked(h.channels, &h.names, 0, name)
		}
	}
}

func (s *Subscription) removeLocked(set map[string]map[*Subscription]struct{}, count *int, which int, name string) {
	if _, ok := s.names[which][name]; !ok {
		return
	}
	*count--
	delete(s.names[which], name)
	if delete(set[name], s); len(set[name]) == 0 {
		delete(set, name)
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.close.Do(func() {
		h := &s.n.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		close(s.over)
		for name := range s.names[0] {
			s.removeLocked(h.channels, &h.names, 0, name)
		}
		for name := range s.names[1] {
			s.removeLocked(h.patterns, &h.globs, 1, name)
		}
	})
}

// Publish gives a message to the subscribers of all nodes that can be reached,
// and counts them. The error says which nodes did not answer.
func (n *Node) Publish(ctx context.Context, channel string, payload []byte) (int, error) {
	call := Call{Op: transport.OpPublish, Key: channel, Value: payload}
	if err := n.admit(ctx, &call); err != nil {
		return 0, err
	}
	type answer struct {
		from  shard.NodeID
		count int64
		err   error
	}
	peers := n.allPeers()
	answers := make(chan answer, len(peers)) // never full
	deadline := n.Deadline(ctx)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	receivers := n.hub.deliver(channel, payload)
	type sent struct {
		to *transport.Peer
		id uint64
	}
	under := map[shard.NodeID]sent{}
	var faults []error
	for _, p := range peers {
		to := p.live()
		if to == nil {
			if p.cut.Load() { // it lives, and others reach it
				faults = append(faults, fmt.Errorf("publish to %s: %w", n.who(p.id), transport.ErrNotSent))
			}
			continue
		}
		// Asked, so that it does not matter who serves which slot.
		req := transport.Request{Call: call, Asked: true}
		id := to.Call(deadline, &req, func(rsp *transport.Response, err error) {
			a := answer{from: p.id, err: err}
			if err == nil {
				a.count, a.err = rsp.Int, n.codeError(rsp)
			}
			answers <- a
		})
		under[p.id] = sent{to, id}
	}
	for done := ctx.Done(); len(under) > 0; {
		select {
		case a := <-answers:
			delete(under, a.from)
			receivers += int(max(a.count, 0))
			switch {
			case a.err == nil:
			case n.closing.Load():
				return receivers, n.closedErr()
			default:
				faults = append(faults, fmt.Errorf("publish to %s: %w", n.who(a.from), a.err))
			}
		case <-done:
			done = nil // the others have just been answered
			for id, s := range under {
				if pending, _ := s.to.Cancel(s.id); pending {
					delete(under, id)
					faults = append(faults, fmt.Errorf("publish to %s: %w", n.who(id), ctx.Err()))
				}
			}
		}
	}
	return receivers, errors.Join(faults...)
}
