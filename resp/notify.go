package resp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
)

// classes of events, by their letters in notify-keyspace-events.
type classes uint16

const (
	notifyGeneric classes = 1 << iota // g: del, expire
	notifyString                      // $: set
	notifyExpired                     // x
	notifyEvicted                     // e
	notifyList                        // l, and below: of what there is not here
	notifySet
	notifyHash
	notifyZset
	notifyStream
	notifyModule
	notifyNew
	notifyMiss
	notifySpace // K
	notifyEvent // E

	notifyAll = notifyGeneric | notifyString | notifyExpired | notifyEvicted | notifyList | notifySet | notifyHash | notifyZset | notifyStream | notifyModule
)

// classLetters are in the order in which CONFIG GET tells of them.
var classLetters = []struct {
	letter byte
	class  classes
}{
	{'g', notifyGeneric}, {'$', notifyString}, {'l', notifyList}, {'s', notifySet}, {'h', notifyHash}, {'z', notifyZset},
	{'x', notifyExpired}, {'e', notifyEvicted}, {'t', notifyStream}, {'d', notifyModule}, {'n', notifyNew},
	{'K', notifySpace}, {'E', notifyEvent}, {'m', notifyMiss},
}

func parseClasses(text string) (all classes, ok bool) {
next:
	for i := range len(text) {
		if text[i] == 'A' {
			all |= notifyAll
			continue
		}
		for _, l := range classLetters {
			if l.letter == text[i] {
				all |= l.class
				continue next
			}
		}
		return 0, false
	}
	return all, true
}

func (all classes) String() string {
	var b strings.Builder
	hidden := classes(0)
	if all&notifyAll == notifyAll {
		b.WriteByte('A')
		hidden = notifyAll | notifyNew // as Redis has it
	}
	for _, l := range classLetters {
		if all&^hidden&l.class != 0 {
			b.WriteByte(l.letter)
		}
	}
	return b.String()
}

// watched reports whether there is anything to tell.
func (all classes) watched() bool {
	return all&(notifySpace|notifyEvent) != 0 && all&(notifyGeneric|notifyString|notifyExpired|notifyEvicted) != 0
}

const (
	spacePrefix = "__keyspace@0__:"
	eventPrefix = "__keyevent@0__:"
	// beginTime bounds how long CONFIG SET waits for the events to begin.
	beginTime = 10 * time.Second
	// What waits for a client that is slower than the events.
	maxNotices     = 4096
	maxNoticeBytes = 8 << 20
)

// notifier tells the clients of this node what happens to keys, on whatever
// node: one watch of all slots for all of them, which runs while CONFIG SET has
// it so.
type notifier struct {
	classes atomic.Uint32 // set while mu is held

	mu   sync.Mutex // guards below; held while the watch begins or ends
	end  context.CancelFunc
	over chan struct{} // closed when the watch has ended; nil: there was none
}

// running reports whether the watch goes on. mu is held.
func (n *notifier) running() bool {
	if n.over == nil {
		return false
	}
	select {
	case <-n.over:
		return false
	default:
		return true
	}
}

// notify sets what clients are told. When it returns, they are told of every
// write made from then on.
func (s *server) notify(all classes) error {
	n := &s.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	switch running := n.running(); {
	case all.watched() && !running:
		ctx, end := context.WithCancel(s.ctx)
		n.end, n.over = end, make(chan struct{})
		live, over := make(chan struct{}), n.over
		s.wg.Go(func() { // ends with ctx
			defer close(over)
			s.follow(ctx, live)
		})
		late := time.NewTimer(beginTime)
		defer late.Stop()
		select {
		case <-live:
		case <-over:
			end()
			return slotmesh.ErrClosed
		case <-late.C:
			end()
			<-over
			return fmt.Errorf("no events of all slots after %v", beginTime)
		}
	case !all.watched() && running:
		n.end()
		<-n.over
	}
	n.classes.Store(uint32(all))
	return nil
}

// follow is the watch. What was missed, where a node has no longer got its last
// writes, stays missed, as messages do.
func (s *server) follow(ctx context.Context, live chan struct{}) {
	begun := false
	for e, err := range s.cache.Watch(ctx, slotmesh.WatchPrefix(""), slotmesh.WatchKeysOnly()) {
		switch {
		case err != nil:
			if ctx.Err() == nil && !errors.Is(err, slotmesh.ErrClosed) {
				s.logger.Error("no more keyspace notifications", "err", err)
			}
			return
		case e.Type == slotmesh.EventLive:
			if !begun {
				close(live)
			}
			begun = true
		case e.Type == slotmesh.EventSet:
			s.tellWrite(&e)
		case e.Type == slotmesh.EventDelete:
			if e.Label == labelRename {
				s.tell(notifyGeneric, "rename_from", e.Key)
			} else {
				s.tell(notifyGeneric, "del", e.Key)
			}
		case e.Type == slotmesh.EventExpire:
			s.tell(notifyExpired, "expired", e.Key)
		case e.Type == slotmesh.EventEvict:
			s.tell(notifyEvicted, "evicted", e.Key)
		}
	}
}

// Labels of writes by commands that are transactions: see slotmesh.Tx.SetLabel. Other
// nodes know these numbers.
const (
	labelIncr      uint8 = 224
	labelIncrFloat uint8 = 225
	labelAppend    uint8 = 226
	labelSetRange  uint8 = 227
	labelTimed     uint8 = 228
	labelRename    uint8 = 229 // of both keys
	labelCopy      uint8 = 230
	labelRestore   uint8 = 231
	labelKept      uint8 = 232 // SET with KEEPTTL
)

// tellWrite names a write as Redis does.
func (s *server) tellWrite(e *slotmesh.Event) {
	switch {
	case e.Op == "incr", e.Label == labelIncr:
		s.tell(notifyString, "incrby", e.Key)
	case e.Op == "append", e.Label == labelAppend:
		s.tell(notifyString, "append", e.Key)
	case e.Label == labelIncrFloat:
		s.tell(notifyString, "incrbyfloat", e.Key)
	case e.Label == labelSetRange:
		s.tell(notifyString, "setrange", e.Key)
	case e.Label == labelRename:
		s.tell(notifyGeneric, "rename_to", e.Key)
	case e.Label == labelCopy:
		s.tell(notifyGeneric, "copy_to", e.Key)
	case e.Label == labelRestore:
		s.tell(notifyGeneric, "restore", e.Key)
	case e.Op == "keepttl", e.Label == labelKept:
		s.tell(notifyString, "set", e.Key)
	case e.Op != "expire" && e.Label != labelTimed:
		s.tell(notifyString, "set", e.Key)
		if !e.Expires.IsZero() {
			s.tell(notifyGeneric, "expire", e.Key)
		}
	case e.Expires.IsZero():
		s.tell(notifyGeneric, "persist", e.Key)
	default:
		s.tell(notifyGeneric, "expire", e.Key)
	}
}

func (s *server) tell(class classes, event, key string) {
	all := classes(s.notices.classes.Load())
	if all&class == 0 {
		return
	}
	if all&notifySpace != 0 {
		s.deliver(spacePrefix+key, event)
	}
	if all&notifyEvent != 0 {
		s.deliver(eventPrefix+event, key)
	}
}

// notice is a message about a key on its way to a client.
type notice struct{ pattern, channel, payload string }

// deliver gives a message to the clients of this node that listen to it.
func (s *server) deliver(channel, payload string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs[channels][channel] {
		sub.notify(notice{"", channel, payload})
	}
	for pattern, subs := range s.subs[patterns] {
		if slotmesh.MatchGlob(pattern, channel) {
			for sub := range subs {
				sub.notify(notice{pattern, channel, payload})
			}
		}
	}
}

// noticeQueue is the queue of messages about keys for one client.
type noticeQueue struct {
	mu    sync.Mutex // guards below
	list  []notice
	bytes int
	full  bool // some were lost: the client is sent away
	ended bool
	some  chan struct{} // of room 1: something has changed
}

func (n notice) size() int { return len(n.pattern) + len(n.channel) + len(n.payload) + 64 }

// notify does not wait.
func (s *subscriber) notify(n notice) {
	q := &s.notices
	q.mu.Lock()
	if len(q.list) >= maxNotices || q.bytes+n.size() > maxNoticeBytes {
		q.full = true
	}
	if !q.full {
		q.list, q.bytes = append(q.list, n), q.bytes+n.size()
	}
	q.mu.Unlock()
	q.wake()
}

func (q *noticeQueue) wake() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

func (q *noticeQueue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.wake()
}

// take waits for messages; false: there will be no more.
func (q *noticeQueue) take() (list []notice, full, ok bool) {
	for range q.some {
		q.mu.Lock()
		list, full, ended := q.list, q.full, q.ended
		q.list, q.bytes = nil, 0
		q.mu.Unlock()
		if ended {
			return nil, false, false
		}
		if len(list) > 0 || full {
			return list, full, true
		}
	}
	return nil, false, false
}

// pumpNotices is pump for messages about keys.
func (c *conn) pumpNotices(sub *subscriber) {
	var out reply
	for {
		list, full, ok := sub.notices.take()
		if !ok {
			return
		}
		if full || c.sendNotices(sub, list, &out) != nil {
			c.nc.Close()
			return
		}
		if cap(out.b) > keepBuffer {
			out.b = nil
		}
	}
}

// sendNotices is sendMessage for those of a list, which it writes to out.
func (c *conn) sendNotices(sub *subscriber, list []notice, out *reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out.b, out.three = out.b[:0], sub.three
	for _, n := range list {
		if sub.wants(n.pattern, n.channel) {
			out.message(n.pattern, n.channel, []byte(n.payload))
		}
	}
	if len(out.b) == 0 {
		return nil
	}
	return c.sendLocked(out.b)
}

// hears reports whether a subscription may be to what notifications are sent to.
func hears(k kind, name string) bool {
	return k == patterns || k == channels && strings.HasPrefix(name, "__key")
}
