package resp

import (
	"sort"
	"strings"
	"sync"
	"sync/atomic"

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

// subscribers counts the clients of a server by what they listen to.
type subscribers [kinds]map[string]int

func newSubscribers() (s subscribers) {
	for k := range s {
		s[k] = map[string]int{}
	}
	return s
}

// subscriber is a client that listens, or has listened, to something.
type subscriber struct {
	inbox *slotmesh.Subscription
	names [kinds]map[string]bool
	over  sync.WaitGroup
	three atomic.Bool // RESP3
}

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
			c.mu.Lock()
			if !c.sub.names[k][name] {
				if err := c.sub.add(k, name); err != nil {
					c.mu.Unlock()
					c.fault(err)
					return
				}
				c.sub.names[k][name] = true
				c.s.subscribed(k, name, 1)
			}
			c.out.push(3)
			c.out.text(kindWords[k].add)
			c.out.text(name)
			c.out.int(int64(c.sub.total(k)))
			err := c.flushLocked()
			c.mu.Unlock()
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
	c.sub = &subscriber{inbox: inbox}
	for k := range c.sub.names {
		c.sub.names[k] = map[string]bool{}
	}
	sub := c.sub
	sub.three.Store(c.out.three)
	sub.over.Go(func() { c.pump(sub) }) // ends when the inbox is closed
	return true
}

// pump sends messages. A client that is too slow for them is sent away, as in
// Redis: it would not know what it missed.
func (c *conn) pump(sub *subscriber) {
	var out reply
	for {
		m, err := sub.inbox.Next(c.ctx)
		if err != nil {
			return
		}
		if m.Missed > 0 {
			c.nc.Close()
			return
		}
		shard, sharded := strings.CutPrefix(m.Channel, shardPrefix)
		out.b, out.three = out.b[:0], sub.three.Load()
		switch {
		case m.Pattern != "":
			out.push(4)
			out.text(kindWords[patterns].message)
			out.text(m.Pattern)
			out.text(m.Channel)
		case sharded:
			out.push(3)
			out.text(kindWords[shards].message)
			out.text(shard)
		default:
			out.push(3)
			out.text(kindWords[channels].message)
			out.text(m.Channel)
		}
		out.bulk(m.Payload)
		c.mu.Lock()
		err = c.sendLocked(out.b)
		c.mu.Unlock()
		if err != nil {
			c.nc.Close()
			return
		}
		if cap(out.b) > keepBuffer {
			out.b = nil
		}
	}
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
				delete(c.sub.names[k], name)
				c.s.subscribed(k, name, -1)
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
			c.s.subscribed(kind(k), name, -1)
		}
	}
	c.sub.inbox.Close()
	c.sub.over.Wait()
	c.sub = nil
}

func (s *server) subscribed(k kind, name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[k][name] += n; s.subs[k][name] == 0 {
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
			c.out.fail("ERR Unknown subcommand or wrong number of arguments for '" + string(args[1]) + "'. Try PUBSUB HELP.")
			return
		}
		var names []string
		c.s.mu.Lock()
		for name := range c.s.subs[k] {
			if len(args) < 3 || match(args[2], name) {
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
			c.out.int(int64(c.s.subs[k][string(arg)]))
		}
	}
}

// match matches a name with stars and question marks alone, which is what
// channels are listed by.
func match(pattern []byte, name string) bool {
	p, star, retry, at := 0, -1, 0, 0
	for at < len(name) || p < len(pattern) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, at
			p++
		case p < len(pattern) && at < len(name) && (pattern[p] == '?' || pattern[p] == name[at]):
			p, at = p+1, at+1
		case star >= 0 && retry < len(name):
			retry++
			p, at = star+1, retry
		default:
			return false
		}
	}
	return true
}
