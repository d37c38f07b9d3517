package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
)

// EventType says what an Event tells.
type EventType uint8

const (
	// EventSet is a write: Set, Incr, Expire, a transaction and so on.
	EventSet EventType = 1
	// EventDelete is a removal by a caller.
	EventDelete EventType = 2
	// EventExpire is a removal because the key's time was up. It comes when the
	// primary removes the key, within about a second of that time.
	EventExpire EventType = 3
	// EventEvict is a removal for want of memory.
	EventEvict EventType = 4
	// EventResync says that events may be missing before this one: what is known
	// of the keys has to be read anew. With WatchSnapshot a new snapshot follows.
	EventResync EventType = 5
	// EventLive says that from here on events follow as they happen: it is the
	// first of a watch, or the one behind a snapshot.
	EventLive EventType = 6
)

var eventNames = [...]string{EventSet: "set", EventDelete: "delete", EventExpire: "expire", EventEvict: "evict", EventResync: "resync", EventLive: "live"}

func (t EventType) String() string {
	if int(t) < len(eventNames) && eventNames[t] != "" {
		return eventNames[t]
	}
	return fmt.Sprintf("event %d", t)
}

// Event is what happened to a key.
type Event struct {
	Type EventType
	Key  string
	// Value is the value written, the receiver's own; nil unless the type is
	// EventSet, and with WatchKeysOnly.
	Value   []byte
	Version uint64
	Expires time.Time // of what was written; the zero time means never
	// Op is what an EventSet was written by: "expire", by Expire and Persist alike,
	// which left the value as it was, "incr", "append", or "keepttl", by a Set with
	// KeepTTL. "" means any other write, a transaction among them, and comes with a
	// snapshot and from nodes of releases before this field.
	Op string
	// Label is what Tx.SetLabel said of an EventSet or EventDelete; 0 with a snapshot and
	// from nodes of releases before this field.
	Label uint8
}

// WatchOption says what Watch yields.
type WatchOption func(*watchOptions)

type watchOptions struct {
	w        node.Watch
	slot     uint16
	given    int
	prefixed bool
	all      bool // slots
	snapshot bool
	fromNow  bool
	faults   faults
}

// WatchKey yields the events of one key.
func WatchKey(key string) WatchOption {
	return func(o *watchOptions) {
		o.w.Key, o.w.ByKey, o.slot = key, true, hashtag.Slot(key)
		o.given++
		o.faults.unless(len(key) <= maxKey, "WatchKey: %d bytes, want at most %d", len(key), maxKey)
	}
}

// WatchTag yields the events of all keys of a hash tag, given with or without
// its braces.
func WatchTag(tag string) WatchOption {
	return func(o *watchOptions) {
		o.w.Tag, o.w.ByTag, o.slot = hashtag.Tag(tag), true, hashtag.Slot(tag)
		o.given++
		o.faults.unless(len(tag) <= maxKey, "WatchTag: %d bytes, want at most %d", len(tag), maxKey)
	}
}

// WatchPrefix yields the events of keys that begin with prefix, in whatever slot
// they are; "" stands for all keys. A prefix that holds a whole hash tag, as in
// "{tenant-7}user:", or one beside a WatchTag, watches that slot alone and is
// much cheaper. A prefix with a '{' that the keys would have to close is at
// fault.
func WatchPrefix(prefix string) WatchOption {
	return func(o *watchOptions) {
		o.w.Prefix, o.prefixed = prefix, true
		o.faults.unless(len(prefix) <= maxKey, "WatchPrefix: %d bytes, want at most %d", len(prefix), maxKey)
	}
}

// WatchSnapshot begins with an EventSet for every key that is there, in no
// order, and then EventLive. An EventResync is followed by a new snapshot.
func WatchSnapshot() WatchOption { return func(o *watchOptions) { o.snapshot = true } }

// FromNow says what is the case without it: events from now on and no snapshot.
// Beside WatchSnapshot it is at fault.
func FromNow() WatchOption { return func(o *watchOptions) { o.fromNow = true } }

// WatchKeysOnly leaves out the values.
func WatchKeysOnly() WatchOption { return func(o *watchOptions) { o.w.KeysOnly = true } }

func watchOptionsOf(opts []WatchOption) (watchOptions, error) {
	o := watchOptions{w: node.Watch{Ops: true}}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	switch tag := hashtag.Tag(o.w.Prefix + "x"); {
	case o.given > 0 || !o.prefixed:
	case tag != o.w.Prefix+"x":
		WatchTag(tag)(&o)
		o.slot = hashtag.Slot(o.w.Prefix + "x")
	default:
		o.all = true
		o.given++
		o.faults.unless(!strings.Contains(o.w.Prefix, "{"), "WatchPrefix(%.40q) opens a hash tag and does not close it", o.w.Prefix)
	}
	o.faults.unless(!o.fromNow || !o.snapshot, "Watch takes one of FromNow and WatchSnapshot")
	o.faults.unless(o.given == 1, "Watch needs one of WatchKey, WatchTag and WatchPrefix")
	return o, errors.Join(o.faults...)
}

const (
	pollTime    = 20 * time.Second
	firstPoll   = pollTime / 8
	watchPauses = 8 // of failed polls, after which the pause is no longer doubled
)

// Watch yields what happens to a key, or to the keys of a tag or a prefix, from
// the moment its loop begins, which the first event, EventLive, marks. Events of one key
// come in the order of the writes, each once, and only when a write is
// acknowledged. It goes on through moves and failovers of the slot: news are
// kept with every copy. Where some may be missing, since the loop was slower
// than the writes or a fork was merged, an EventResync says so.
//
// Nothing runs between two turns of the loop: a slow loop costs nobody memory. When it
// ends nothing is left but a question at the primary, for as long as the watch lived, at
// least two and at most twenty seconds. About 256 KiB of a slot's last writes are kept,
// 8 MiB of one that is watched, all slots of a node together 32 MiB. The watch of a
// prefix over all slots goes on in the others after a gap in one. It runs while its
// loop does with one call in waiting at each primary, of which each holds at most one
// answer of about 64 KiB ready.
//
// An error is yielded with the zero Event and ends the watch: ErrInvalid,
// ErrClosed, ErrSuperseded, ctx's error. While the slot cannot be reached Watch
// waits; ctx bounds it.
//
// Cost: a round trip for each batch of events, and one every twenty seconds, in the
// beginning more often. A watch wakes up at the primary for every write of its slot;
// that of a prefix for those that match, and costs 200 KiB of memory on every node,
// which serves at most 256 of them: one more waits until another has ended.
func (c *Cache) Watch(ctx context.Context, opts ...WatchOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		o, err := watchOptionsOf(opts)
		if err == nil {
			w := watcher{c: c, ctx: ctx, o: &o, began: time.Now(), yield: func(e Event) bool { return yield(e, nil) }}
			err = w.run()
		}
		if err != nil {
			yield(Event{}, err)
		}
	}
}

// watcher is a Watch under way.
type watcher struct {
	c     *Cache
	ctx   context.Context
	o     *watchOptions
	yield func(Event) bool // false: the loop was left
	began time.Time
	// seen holds the versions of keys that a snapshot showed though they were
	// written after it began: their events are not to be told again.
	seen map[string]uint64
}

// errLeft ends a watch whose loop was left.
var errLeft = errors.New("left")

func (w *watcher) run() error {
	follow := w.follow
	if w.o.all {
		follow = w.followAll
	}
	err := follow()
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

func (w *watcher) tell(e Event) error {
	if !w.yield(e) {
		return errLeft
	}
	return nil
}

func (w *watcher) follow() error {
	for first := true; ; first = false {
		begin := w.o.w
		begin.Now = true
		news, err := w.poll(&begin)
		if err != nil {
			return err
		}
		if !first {
			if err := w.tell(Event{Type: EventResync}); err != nil {
				return err
			}
		}
		if err := w.snapshot(int(w.o.slot), func(uint16) uint64 { return news.Upto }); err != nil {
			return err
		}
		if first || w.o.snapshot {
			if err := w.tell(Event{Type: EventLive}); err != nil {
				return err
			}
		}
		for place := w.o.w; ; {
			place.After, place.Lineage = news.Upto, news.Lineage
			if news, err = w.poll(&place); err != nil {
				return err
			}
			if news.Gap {
				break
			}
			for i := range news.Events {
				if err := w.event(&news.Events[i]); err != nil {
					return err
				}
			}
		}
	}
}

// poll asks until there is an answer. The primary keeps a poll until its time is up,
// also where the watch has ended: so it takes no longer than the watch has lived, and
// a program with many brief ones leaves little behind.
func (w *watcher) poll(q *node.Watch) (node.News, error) {
	call := q.Call(w.o.slot)
	wait := min(max(time.Since(w.began), firstPoll), pollTime)
	for failed := 0; ; {
		// Not with w.ctx's deadline: a poll that is near its own is answered at
		// once, news or none.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), wait)
		stop := context.AfterFunc(w.ctx, cancel)
		r, err := w.c.n.Do(ctx, &call)
		stop()
		cancel()
		switch {
		case err == nil:
			news, ok := node.UnpackNews(r.Value)
			if !ok {
				return news, fmt.Errorf("watch slot %d: %w: malformed news", w.o.slot, ErrIncompatible)
			}
			return news, nil
		case w.ctx.Err() != nil:
			return node.News{}, w.ctx.Err()
		case errors.Is(err, ErrClosed), errors.Is(err, ErrSuperseded), errors.Is(err, ErrInvalid), errors.Is(err, ErrTooLarge):
			return node.News{}, err
		}
		failed = min(failed+1, watchPauses)
		if err := jitter(w.ctx, failed); err != nil {
			return node.News{}, err
		}
	}
}

// followAll is follow over all slots. At a gap in one the others go on where they
// are.
func (w *watcher) followAll() error {
	fo := w.c.n.Follow(w.ctx, w.o.w.Prefix, w.o.w.KeysOnly)
	defer fo.Close()
	for !fo.Begun() {
		if _, err := fo.Next(); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		if !first {
			if err := w.tell(Event{Type: EventResync}); err != nil {
				return err
			}
		}
		if err := w.snapshot(-1, fo.Upto); err != nil {
			return err
		}
		if first || w.o.snapshot {
			if err := w.tell(Event{Type: EventLive}); err != nil {
				return err
			}
		}
		for gap := false; !gap; {
			news, err := fo.Next()
			if err != nil {
				return err
			}
			for i := range news.Events {
				if err := w.event(&news.Events[i]); err != nil {
					return err
				}
			}
			gap = news.Gap
		}
	}
}

// snapshot tells of what is there, in one slot or, with -1, in all; began says up
// to where the news of a slot were told before.
func (w *watcher) snapshot(slot int, began func(slot uint16) uint64) error {
	clear(w.seen)
	if !w.o.snapshot {
		return nil
	}
	so := scanOptions{slot: slot, q: node.Scan{Limit: defaultPage, Prefix: w.o.w.Prefix, Tag: w.o.w.Tag, ByTag: w.o.w.ByTag, KeysOnly: w.o.w.KeysOnly}}
	if w.o.w.ByKey {
		so.q.Tag, so.q.ByTag = hashtag.Tag(w.o.w.Key), true
	}
	var at Cursor
	for failed := 0; ; failed++ {
		var left error
		err := w.c.scan(w.ctx, &so, &at, func(it *node.ScanItem) bool {
			if w.o.w.ByKey && it.Key != w.o.w.Key {
				return true
			}
			if it.Version > began(hashtag.Slot(it.Key)) {
				if w.seen == nil {
					w.seen = map[string]uint64{}
				}
				w.seen[it.Key] = it.Version
			}
			left = w.tell(w.set(it.Key, it.Value, it.Version, it.Expiry))
			return left == nil
		})
		switch {
		case left != nil:
			return left
		case err == nil:
			return nil
		case w.ctx.Err() != nil:
			return w.ctx.Err()
		case errors.Is(err, ErrClosed), errors.Is(err, ErrSuperseded):
			return err
		}
		if err := jitter(w.ctx, min(failed+1, watchPauses)); err != nil {
			return err
		}
	}
}

// writeNames are the names of what node.WatchEvent.Op says; "" for others.
var writeNames = map[uint8]string{node.WatchTimed: "expire", node.WatchIncr: "incr", node.WatchAppended: "append", node.WatchKept: "keepttl"}

func (w *watcher) set(key string, value []byte, version uint64, expiry int64) Event {
	e := Event{Type: EventSet, Key: key, Value: value, Version: version}
	if w.o.w.KeysOnly {
		e.Value = nil
	}
	if expiry != 0 {
		e.Expires = time.UnixMilli(expiry)
	}
	return e
}

func (w *watcher) event(e *node.WatchEvent) error {
	if e.Version <= w.seen[e.Key] {
		return nil
	}
	switch e.What {
	case node.WatchSet:
		set := w.set(e.Key, e.Value, e.Version, e.Expiry)
		set.Op, set.Label = writeNames[e.Op], e.Label
		return w.tell(set)
	case node.WatchDeleted:
		return w.tell(Event{Type: EventDelete, Key: e.Key, Version: e.Version, Label: e.Label})
	case node.WatchExpired:
		return w.tell(Event{Type: EventExpire, Key: e.Key, Version: e.Version})
	case node.WatchEvicted:
		return w.tell(Event{Type: EventEvict, Key: e.Key, Version: e.Version})
	}
	return nil // of a later release
}
