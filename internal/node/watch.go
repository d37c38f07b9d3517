package node

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/transport"
)

// Causes of appends, beside those of succession. Values are part of the wire
// format.
const (
	causeExpired uint8 = 16
	causeEvicted uint8 = 17
	causeTimed   uint8 = 18 // the expiry was set or removed
	causeIncr    uint8 = 19
	causeAppend  uint8 = 20
	causeKept    uint8 = 21 // the expiry was left as it was
)

// causeOf is the cause of what a call of a caller's writes; 0: any other.
func causeOf(c *Call) uint8 {
	switch {
	case c.Op == transport.OpExpire:
		return causeTimed
	case c.Op == transport.OpIncr:
		return causeIncr
	case c.Op == transport.OpAppend:
		return causeAppend
	case c.Op == transport.OpSet && c.Flags&transport.FlagKeepTTL != 0:
		return causeKept
	}
	return 0
}

// Watch asks for news of a slot. The ring of recent writes, which travels with
// the copies, is where they come from: nothing is kept for a watcher but its
// place in line. What fell out of the ring is a gap, and said to be one.
type Watch struct {
	After    uint64 // the version up to which the news are known
	Lineage  uint64 // that After is of
	Now      bool   // only say where the news stand
	Key      string // with ByKey: of this key alone
	ByKey    bool
	Tag      string // with ByTag: of keys of this hash tag
	ByTag    bool
	Prefix   string
	KeysOnly bool
	Ops      bool // tell what wrote, as releases do that know of it
}

// WatchEvent is a write as those who watch see it.
type WatchEvent struct {
	What    uint8
	Op      uint8 // of a WatchSet: what wrote; 0: any other write, or not known
	Label   uint8 // that a transaction gave it
	Key     string
	Value   []byte
	Version uint64
	Expiry  int64
	Schema  uint32
}

// What a WatchEvent tells. Values are part of the wire format.
const (
	WatchSet     uint8 = 1
	WatchDeleted uint8 = 2
	WatchExpired uint8 = 3
	WatchEvicted uint8 = 4

	WatchTimed    uint8 = 1 // as Op
	WatchIncr     uint8 = 2
	WatchAppended uint8 = 3
	WatchKept     uint8 = 4

	// An event begins with What, Op above it and the label above that, which releases
	// that know of none leave out.
	watchOpShift    = 3
	watchLabelShift = 8
)

// News is what a Watch gets.
type News struct {
	Upto    uint64 // the next After
	Lineage uint64
	Gap     bool // there may have been more
	Events  []WatchEvent
}

const (
	watchByKey    = 1
	watchByTag    = 2
	watchKeysOnly = 4
	watchNow      = 8
	watchOps      = 16

	watchedRing = 8 << 20 // bytes a watched slot's ring keeps at most while all have room
	watchedFor  = 60      // seconds
	maxNews     = 1024    // events of one answer

	// A poll is answered so long before its caller gives up, news or none, in
	// microseconds.
	pollMargin = 1_500_000
)

// Call returns the call that asks.
func (w *Watch) Call(slot uint16) Call {
	flags := uint64(0)
	for bit, on := range map[uint64]bool{watchByKey: w.ByKey, watchByTag: w.ByTag, watchKeysOnly: w.KeysOnly, watchNow: w.Now, watchOps: w.Ops} {
		if on {
			flags |= bit
		}
	}
	return Call{Op: transport.OpWatch, Slot: slot, Value: w.pack(flags)}
}

func (w *Watch) pack(flags uint64) []byte {
	b := binary.AppendUvarint(nil, flags)
	b = binary.AppendUvarint(b, w.After)
	b = binary.AppendUvarint(b, w.Lineage)
	b = packString(b, w.Key)
	b = packString(b, w.Tag)
	return packString(b, w.Prefix)
}

func (w *Watch) unpack(b []byte) (flags uint64, ok bool) {
	f := fields{b: b}
	flags = f.num()
	w.ByKey, w.ByTag, w.KeysOnly, w.Now = flags&watchByKey != 0, flags&watchByTag != 0, flags&watchKeysOnly != 0, flags&watchNow != 0
	w.Ops = flags&watchOps != 0
	w.After, w.Lineage = f.num(), f.num()
	w.Key, w.Tag, w.Prefix = f.text(transport.MaxKey), f.text(transport.MaxKey), f.text(transport.MaxKey)
	return flags, !f.bad
}

func (w *Watch) wants(key string) bool {
	return strings.HasPrefix(key, w.Prefix) && (!w.ByKey || key == w.Key) && (!w.ByTag || hashtag.Tag(key) == w.Tag)
}

// UnpackNews reads what a Watch's Result.Value holds. Keys and values are the
// caller's own.
func UnpackNews(b []byte) (news News, ok bool) {
	f := fields{b: b}
	news.Gap = f.num() == 1
	news.Upto, news.Lineage = f.num(), f.num()
	for f.more() {
		news.Events = append(news.Events, f.event())
	}
	return news, !f.bad
}

func (f *fields) event() WatchEvent {
	first := f.num()
	what := uint8(first)
	e := WatchEvent{What: what & (1<<watchOpShift - 1), Op: what >> watchOpShift, Label: uint8(first >> watchLabelShift), Key: f.text(transport.MaxKey), Version: f.num(), Expiry: int64(f.num()), Schema: uint32(f.num())}
	e.Value = append([]byte{}, f.bytes(len(f.b))...)
	return e
}

// watch answers OpWatch: with the acknowledged writes after the caller's
// place, or when there are any.
func (n *Node) watch(c *Call, req *transport.Request, r *Result, done func(error)) error {
	var w Watch
	flags, ok := w.unpack(c.Value)
	if !ok {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	sv, err := n.leasedLocked(s, n.env.Now())
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.watchLocked(n.now())
	acked, lineage := s.acked.Load(), sv.claim.LineageSum()
	gap := !w.Now && (w.After < s.ring.base || w.After > s.last || w.Lineage != lineage)
	answer := func(upto uint64, gap byte, events []byte) {
		b := binary.AppendUvarint([]byte{gap}, upto)
		b = binary.AppendUvarint(b, lineage)
		*r = Result{Found: true, Value: append(b, events...)}
		done(nil)
	}
	switch {
	case w.Now:
		answer(acked, 0, nil)
		return nil
	case gap:
		answer(acked, 1, nil)
		return nil
	}
	var events []byte
	upto, count := w.After, 0
	for _, e := range s.ring.after(w.After) {
		if e.version > acked || count >= maxNews || len(events) >= pageBytes {
			break
		}
		events = w.appendEvents(events, &e, &count)
		upto = e.version
	}
	if count < maxNews && len(events) < pageBytes {
		upto = max(upto, acked)
	}
	if count > 0 || req.Timeout < pollMargin {
		answer(upto, 0, events)
		return nil
	}
	g := n.newGuest(c, req, r, done)
	w.After = upto
	g.call.Value = w.pack(flags)
	g.req.Call = g.call
	slot := n.guestsLocked(s)
	if !n.checkIn(len(slot.polls)) {
		return ErrOverloaded
	}
	if s.last > acked {
		s.insertWaiterLocked(s.last, func(error) { n.callAgain([]*guest{g}) })
		return nil
	}
	slot.polls = append(slot.polls, g)
	return nil
}

// watchLocked has the ring kept longer.
func (s *slot) watchLocked(now int64) { s.watched = uint32(now/int64(time.Second)) + watchedFor }

// appendEvents adds what a watcher wants of an append to the body of an answer.
func (w *Watch) appendEvents(events []byte, e *entry, count *int) []byte {
	for i := range e.records {
		rec := &e.records[i]
		if rec.Kind != 0 || rec.Schema&SchemaAbsent != 0 || !w.wants(rec.Key) {
			continue
		}
		*count++
		what := WatchSet
		switch {
		case rec.Tombstone && e.cause == causeExpired:
			what = WatchExpired
		case rec.Tombstone && e.cause == causeEvicted:
			what = WatchEvicted
		case rec.Tombstone:
			what = WatchDeleted
		case !w.Ops:
		case e.cause == causeTimed:
			what |= WatchTimed << watchOpShift
		case e.cause == causeIncr:
			what |= WatchIncr << watchOpShift
		case e.cause == causeAppend:
			what |= WatchAppended << watchOpShift
		case e.cause == causeKept:
			what |= WatchKept << watchOpShift
		}
		events = binary.AppendUvarint(events, uint64(what)|uint64(rec.Label)<<watchLabelShift)
		events = packString(events, rec.Key)
		events = binary.AppendUvarint(events, rec.Version)
		events = binary.AppendUvarint(events, uint64(rec.Expiry))
		events = binary.AppendUvarint(events, uint64(rec.Schema))
		if w.KeysOnly {
			events = packBytes(events, nil)
		} else {
			events = packBytes(events, rec.Value)
		}
	}
	return events
}
