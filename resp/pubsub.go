package resp

import (
	"errors"
	"sort"
	"strings"
	"sync"

	"github.com/slotmesh/slotmesh"
)

var pubsubCommands = []command{
	{name: "subscribe", arity: -2, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Listens to channels.", run: subscribe(channels)},
	{name: "psubscribe", arity: -2, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Listens to channels that match patterns.", run: subscribe(patterns)},
	{name: "ssubscribe", arity: -2, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Listens to shard channels.", run: subscribe(shards)},
	{name: "unsubscribe", arity: -1, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Stops listening to channels.", run: unsubscribe(channels)},
	{name: "punsubscribe", arity: -1, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Stops listening to patterns.", run: unsubscribe(patterns)},
	{name: "sunsubscribe", arity: -1, flags: pubsub | noMulti | subscribed, group: "pubsub", about: "Stops listening to shard channels.", run: unsubscribe(shards)},
	{name: "publish", arity: 3, flags: pubsub | fast, group: "pubsub", about: "Sends a message to a channel.", run: publish("")},
	{name: "spublish", arity: 3, flags: pubsub | fast, group: "pubsub", about: "Sends a message to a shard channel.", run: publish(shardPrefix)},
	{name: "pubsub", arity: -2, flags: pubsub, group: "pubsub", about: "A container for commands about channels."},
}

var pubsubSubcommands = []command{
	{name: "channels", arity: -2, flags: pubsub, about: "Lists the channels that clients of this node listen to.", run: pubsubChannels(channels)},
	{name: "shardchannels", arity: -2, flags: pubsub, about: "Lists the shard channels that clients of this node listen to.", run: pubsubChannels(shards)},
	{name: "numsub", arity: -2, flags: pubsub, about: "Counts the listeners of channels.", run: pubsubCounts(channels)},
	{name: "shardnumsub", arity: -2, flags: pubsub, about: "Counts the listeners of shard channels.", run: pubsubCounts(shards)},
	{name: "numpat", arity: 2, flags: pubsub, about: "Counts the patterns that clients of this node listen to.", run: func(c *conn, _ [][]byte) {
		c.s.mu.Lock()
		n := len(c.s.subs[patterns])
		c.s.mu.Unlock()
		c.out.int(int64(n))
	}},
}

// Shard channels are channels of the library's with names that patterns do not
// match: a message of theirs reaches every node as any other does.
const shardPrefix = "\x00shard:"

// kind is a kind of subscription.
type kind int

const (
	channels kind = iota
	patterns
	shards
	kinds
)

var kindWords = [kinds]struct{ add, remove, message string }{
	{"subscribe", "unsubscribe", "message"}, {"psubscribe", "punsubscribe", "pmessage"}, {"ssubscribe", "sunsubscribe", "smessage"},
}

// subscribers are the clients of a server by what they listen to.
type subscribers [kinds]map[string]map[*subscriber]bool

func newSubscribers() (s subscribers) {
	for k := range s {
		s[k] = map[string]map[*subscriber]bool{}
	}
	return s
}

// subscriber is a client that listens, or has listened, to something.
type subscriber struct {
	inbox *slotmesh.Subscription
	names [kinds]map[string]bool // changed by the connection's goroutine, with conn.mu held
	three bool                   // RESP3; conn.mu guards it
	over  sync.WaitGroup

	hearing bool // the goroutine for notices runs
	notices noticeQueue
}

// listens reports whether the client is subscribed to anything: with RESP2 it may not
// do much else then.
func (s *subscriber) listens() bool { return s.count()+len(s.names[shards]) > 0 }

func (s *subscriber) count() int { return len(s.names[channels]) + len(s.names[patterns]) }

// total is what the answers to subscribing and unsubscribing tell.
func (s *subscriber) total(k kind) int {
	if k == shards {
		return len(s.names[shards])
	}
	return s.count()
}

func subscribe(k kind) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		if c.sub == nil && !c.listen() {
			return
		}
		for _, arg := range args[1:] {
			name := string(arg)
			// The answer goes out before the first message does.
			c.hold()
			if !c.sub.names[k][name] {
				if err := c.sub.add(k, name); err != nil {
					c.release()
					c.fault(err)
					return
				}
				c.sub.names[k][name] = true
				c.hear(k, name)
				c.s.subscribed(k, name, c.sub)
			}
			c.out.push(3)
			c.out.text(kindWords[k].add)
			c.out.text(name)
			c.out.int(int64(c.sub.total(k)))
			c.show()
			err := c.flushLocked()
			c.release()
			if err != nil {
				c.closing = true
				return
			}
		}
	}
}

func (s *subscriber) add(k kind, name string) error {
	switch k {
	case patterns:
		return s.inbox.AddPattern(name)
	case shards:
		name = shardPrefix + name
	}
	return s.inbox.Add(name)
}

func (s *subscriber) remove(k kind, name string) {
	switch k {
	case patterns:
		s.inbox.RemovePattern(name)
	case shards:
		s.inbox.Remove(shardPrefix + name)
	default:
		s.inbox.Remove(name)
	}
}

// listen makes a client a subscriber, with a goroutine that ends with it.
func (c *conn) listen() bool {
	inbox, err := c.s.cache.Subscription()
	if err != nil {
		c.fault(err)
		return false
	}
	c.sub = &subscriber{inbox: inbox, notices: noticeQueue{some: make(chan struct{}, 1)}}
	for k := range c.sub.names {
		c.sub.names[k] = map[string]bool{}
	}
	sub := c.sub
	sub.three = c.out.three
	sub.over.Go(func() { c.pump(sub) }) // ends when the inbox is closed
	return true
}

// hear starts the goroutine for messages about keys when there may be some.
func (c *conn) hear(k kind, name string) {
	if sub := c.sub; !sub.hearing && hears(k, name) {
		sub.hearing = true
		sub.over.Go(func() { c.pumpNotices(sub) }) // ends with the queue
	}
}

// pump sends messages. A client that is too slow for them is sent away, as in
// Redis: it would not know what it missed.
func (c *conn) pump(sub *subscriber) {
	var out reply
	for {
		m, err := sub.inbox.Next(c.ctx)
		if errors.Is(err, slotmesh.ErrClosed) {
			select {
			case <-c.s.cache.Done(): // it is to subscribe elsewhere, at once
				c.nc.Close()
			default: // the client's own doing
			}
		}
		if err != nil {
			return
		}
		if m.Missed > 0 {
			c.nc.Close()
			return
		}
		if c.sendMessage(sub, &m, &out) != nil {
			c.nc.Close()
			return
		}
		if cap(out.b) > keepBuffer {
			out.b = nil
		}
	}
}

// sendMessage sends a message, which it writes to out, unless the client has
// unsubscribed since it was queued: behind the answer to UNSUBSCRIBE it would be taken
// for the answer to another command.
func (c *conn) sendMessage(sub *subscriber, m *slotmesh.Message, out *reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !sub.wants(m.Pattern, m.Channel) {
		return nil
	}
	out.b, out.three = out.b[:0], sub.three
	out.message(m.Pattern, m.Channel, m.Payload)
	return c.sendLocked(out.b)
}

// wants reports whether a message is still subscribed to. conn.mu is held.
func (s *subscriber) wants(pattern, channel string) bool {
	if pattern != "" {
		return s.names[patterns][pattern]
	}
	if shard, sharded := strings.CutPrefix(channel, shardPrefix); sharded {
		return s.names[shards][shard]
	}
	return s.names[channels][channel]
}

// message writes what subscribers get; the pattern is "" where there is none.
func (r *reply) message(pattern, channel string, payload []byte) {
	shard, sharded := strings.CutPrefix(channel, shardPrefix)
	switch {
	case pattern != "":
		r.push(4)
		r.text(kindWords[patterns].message)
		r.text(pattern)
		r.text(channel)
	case sharded:
		r.push(3)
		r.text(kindWords[shards].message)
		r.text(shard)
	default:
		r.push(3)
		r.text(kindWords[channels].message)
		r.text(channel)
	}
	r.bulk(payload)
}

func unsubscribe(k kind) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		names := texts(args[1:])
		if len(names) == 0 && c.sub != nil {
			for name := range c.sub.names[k] {
				names = append(names, name)
			}
			sort.Strings(names)
		}
		answer := func(write func()) {
			total := 0
			if c.sub != nil {
				total = c.sub.total(k)
			}
			c.out.push(3)
			c.out.text(kindWords[k].remove)
			write()
			c.out.int(int64(total))
		}
		if len(names) == 0 {
			answer(c.out.null)
		}
		for _, name := range names {
			if c.sub != nil && c.sub.names[k][name] {
				c.sub.remove(k, name)
				c.hold() // no message comes after the answer
				delete(c.sub.names[k], name)
				c.release()
				c.s.unsubscribed(k, name, c.sub)
			}
			answer(func() { c.out.text(name) })
		}
	}
}

// unsubscribeAll ends the subscriber, and waits for its goroutine.
func (c *conn) unsubscribeAll() {
	if c.sub == nil {
		return
	}
	for k, names := range c.sub.names {
		for name := range names {
			c.s.unsubscribed(kind(k), name, c.sub)
		}
	}
	c.sub.inbox.Close()
	c.sub.notices.end()
	c.in.begin() // a message may be on its way
	c.sub.over.Wait()
	c.in.end()
	c.sub = nil
}

func (s *server) subscribed(k kind, name string, sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[k][name] == nil {
		s.subs[k][name] = map[*subscriber]bool{}
	}
	s.subs[k][name][sub] = true
}

func (s *server) unsubscribed(k kind, name string, sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.subs[k][name], sub); len(s.subs[k][name]) == 0 {
		delete(s.subs[k], name)
	}
}

func publish(prefix string) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		n, err := c.s.cache.Publish(c.ctx, prefix+string(args[1]), args[2])
		if err != nil && n == 0 {
			c.fault(err)
			return
		}
		c.out.int(int64(n)) // where a node did not answer, without its clients
	}
}

func pubsubChannels(k kind) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		if len(args) > 3 {
			c.out.fail("ERR unknown subcommand or wrong number of arguments for '" + clip(args[1], 128) + "'. Try PUBSUB HELP.")
			return
		}
		var names []string
		c.s.mu.Lock()
		for name := range c.s.subs[k] {
			if len(args) < 3 || slotmesh.MatchGlob(string(args[2]), name) {
				names = append(names, name)
			}
		}
		c.s.mu.Unlock()
		sort.Strings(names)
		c.out.texts(names...)
	}
}

func pubsubCounts(k kind) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		c.out.array(2 * (len(args) - 2))
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		for _, arg := range args[2:] {
			c.out.bulk(arg)
			c.out.int(int64(len(c.s.subs[k][string(arg)])))
		}
	}
}
