package node

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A feed is one watcher of all slots, as a primary sees it: up to which version
// of each slot served here the watcher's news go. As for a Watch the rings are
// where they come from, and nothing else is kept, so that a slow watcher costs
// no memory. A slot in which something is to be told is noted when it is
// acknowledged; the others' places move along. See Follow for the other side.
type feed struct {
	token  uint64
	holder shard.NodeID

	mu      sync.Mutex // guards all below; inside slot.mu
	w       Watch
	at      [shard.Slots / shard.BlockSize]*feedBlock
	noted   []uint16 // slots with news, once each
	left    []uint16 // slots that are no longer served here
	moved   []uint16 // slots whose place moved since it was told, once each
	toldAt  int64    // when moved was told
	number  uint64   // of the last answer
	guest   *guest   // the call in waiting; nil: none
	askedAt int64
}

type feedBlock [shard.BlockSize]feedPlace

type feedPlace struct {
	upto          uint64 // 0: not of this feed
	noted, advise bool   // in noted, in moved
}

const (
	maxFeeds    = 256                     // of a node
	feedIdle    = int64(90 * time.Second) // one that nobody asks is forgotten
	placesEvery = int64(time.Second)      // places without news
	maxAdopt    = 2048                    // slots of one call

	feedOK      = 0
	feedUnknown = 1 // ask anew, with all slots
)

func (f *feed) place(slot uint16) *feedPlace {
	b := f.at[slot/shard.BlockSize]
	if b == nil {
		return nil
	}
	return &b[slot%shard.BlockSize]
}

// feeds are all of a node.
type feeds struct {
	mu  sync.Mutex // guards writes of all; outside feed.mu
	all atomic.Pointer[[]*feed]
}

// any reports whether there are feeds. It is on the path of writes.
func (fs *feeds) any() bool { return fs.all.Load() != nil }

func (fs *feeds) list() []*feed {
	if l := fs.all.Load(); l != nil {
		return *l
	}
	return nil
}

func (fs *feeds) find(token uint64) *feed {
	for _, f := range fs.list() {
		if f.token == token {
			return f
		}
	}
	return nil
}

// changeLocked adds a feed, or takes one away.
func (fs *feeds) changeLocked(add, drop *feed) {
	var l []*feed
	for _, f := range fs.list() {
		if f != drop {
			l = append(l, f)
		}
	}
	if add != nil {
		l = append(l, add)
	}
	if l == nil {
		fs.all.Store(nil)
		return
	}
	fs.all.Store(&l)
}

// feedLocked tells feeds that the writes of a slot are acknowledged from old up
// to mark.
func (n *Node) feedLocked(s *slot, old, mark uint64) {
	for _, f := range n.feeds.list() {
		n.callAgain(f.note(s, old, mark, n.now()))
	}
}

func (f *feed) note(s *slot, old, mark uint64, now int64) (woken []*guest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.place(s.no)
	switch {
	case p == nil || p.upto == 0 || p.noted:
		return nil
	case p.upto == old && !f.wantsAny(s, old, mark):
		p.upto = mark
		if !p.advise {
			p.advise = true
			f.moved = append(f.moved, s.no)
		}
		return nil
	}
	s.watchLocked(now)
	p.noted = true
	f.noted = append(f.noted, s.no)
	return f.takeGuest()
}

func (f *feed) wantsAny(s *slot, old, mark uint64) bool {
	for _, e := range s.ring.after(old) {
		if e.version > mark {
			break
		}
		for i := range e.records {
			if e.records[i].Kind == 0 && strings.HasPrefix(e.records[i].Key, f.w.Prefix) {
				return true
			}
		}
	}
	return mark > old && s.ring.base > old // what was written is not there any more
}

func (f *feed) takeGuest() (gs []*guest) {
	if f.guest != nil {
		gs = append(gs, f.guest)
		f.guest = nil
	}
	return gs
}

// unfeed tells feeds that a slot is no longer served here.
func (n *Node) unfeed(no uint16) {
	for _, f := range n.feeds.list() {
		f.mu.Lock()
		var g []*guest
		if p := f.place(no); p != nil && p.upto != 0 {
			p.upto = 0
			f.left = append(f.left, no)
			g = f.takeGuest()
		}
		f.mu.Unlock()
		n.callAgain(g)
	}
}

// feedQuestion is what a watcher of all slots asks a node. Wire format: fields
// in order, then the slots to adopt.
type feedQuestion struct {
	token    uint64
	answered uint64 // number of the last answer that arrived
	keysOnly bool
	wait     bool
	ops      bool
	end      bool // the feed is not needed any more; releases before this flag wait until it is idle
	prefix   string
	adopt    []feedAdopt
}

// feedAdopt begins a slot: after a place, or with upto 0 where it stands.
type feedAdopt struct {
	slot          uint16
	upto, lineage uint64
}

func (q *feedQuestion) pack() []byte {
	flags := uint64(0)
	if q.keysOnly {
		flags |= 1
	}
	if q.wait {
		flags |= 2
	}
	if q.ops {
		flags |= 4
	}
	if q.end {
		flags |= 8
	}
	b := binary.AppendUvarint(nil, q.token)
	b = binary.AppendUvarint(b, q.answered)
	b = binary.AppendUvarint(b, flags)
	b = packString(b, q.prefix)
	for _, a := range q.adopt {
		b = binary.AppendUvarint(b, uint64(a.slot))
		b = binary.AppendUvarint(b, a.upto)
		b = binary.AppendUvarint(b, a.lineage)
	}
	return b
}

func (q *feedQuestion) unpack(b []byte) bool {
	f := fields{b: b}
	q.token, q.answered = f.num(), f.num()
	flags := f.num()
	q.keysOnly, q.wait, q.ops, q.end = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	q.prefix = f.text(transport.MaxKey)
	for f.more() && len(q.adopt) <= maxAdopt {
		a := feedAdopt{slot: uint16(min(f.num(), shard.Slots)), upto: f.num(), lineage: f.num()}
		if a.slot >= shard.Slots {
			return false
		}
		q.adopt = append(q.adopt, a)
	}
	return !f.bad && q.token != 0 && len(q.adopt) <= maxAdopt
}

// answerFeed answers OpFeed. The guest that waits for news comes here again.
func (n *Node) answerFeed(c *Call, req *transport.Request, r *Result, done func(error)) error {
	var q feedQuestion
	if !q.unpack(c.Value) {
		return ErrInvalid
	}
	answer := func(body []byte) {
		*r = Result{Found: true, Value: body}
		done(nil)
	}
	holder := shard.NodeID(req.CallID.Node)
	if q.end {
		if f := n.feeds.find(q.token); f != nil && f.holder == holder {
			n.endFeed(f)
		}
		*r = Result{}
		done(nil)
		return nil
	}
	f, err := n.feedOf(&q, holder)
	if err != nil {
		return err
	}
	if f == nil {
		answer([]byte{feedUnknown})
		return nil
	}
	var page feedPage
	for _, a := range q.adopt {
		n.adopt(f, a, &page)
	}
	n.readAllNews(f, &page)
	f.mu.Lock()
	if f.number != q.answered { // its repeat was answered meanwhile, without what was read here
		f.mu.Unlock()
		n.endFeed(f)
		answer([]byte{feedUnknown})
		return nil
	}
	now := n.now()
	idle := len(q.adopt) == 0 && page.count == 0 && !page.gap && len(f.left) == 0 && len(f.noted) == 0 && !f.owesPlacesLocked(now)
	if idle && q.wait && f.guest == nil && req.Timeout >= pollMargin {
		defer f.mu.Unlock()
		if !n.checkIn(0) {
			return ErrOverloaded
		}
		f.guest = n.newGuest(c, req, r, done)
		return nil
	}
	body := f.packLocked(&page, now)
	f.mu.Unlock()
	answer(body)
	return nil
}

// readAllNews reads the news of the slots noted, as far as a page has room. The call
// that waited is sent away: its caller has given it up, and asks again.
func (n *Node) readAllNews(f *feed, page *feedPage) {
	f.mu.Lock()
	f.askedAt = n.now()
	old := f.takeGuest()
	noted := f.noted
	f.noted = nil
	f.mu.Unlock()
	if len(old) > 0 {
		n.lobby.count.Add(-1)
		old[0].done(errNotYet)
	}
	for i, no := range noted {
		if !n.readNews(f, no, page) {
			f.mu.Lock()
			f.noted = append(f.noted, noted[i:]...)
			f.mu.Unlock()
			return
		}
	}
}

// owesPlacesLocked reports whether the watcher is to be told again where slots without
// news for it are by now.
func (f *feed) owesPlacesLocked(now int64) bool {
	return len(f.moved) > 0 && now-f.toldAt > placesEvery
}

// packLocked makes the next answer: slots adopted, slots left, places, events.
func (f *feed) packLocked(page *feedPage, now int64) []byte {
	if f.owesPlacesLocked(now) {
		f.toldAt = now
		for _, no := range f.moved {
			if p := f.place(no); p.advise {
				p.advise = false
				page.tell(no, p.upto)
			}
		}
		f.moved = f.moved[:0]
	}
	f.number++
	b := binary.AppendUvarint([]byte{feedOK}, f.number)
	gap := uint64(0)
	if page.gap {
		gap = 1
	}
	b = binary.AppendUvarint(b, gap)
	b = binary.AppendUvarint(b, page.adopts)
	b = append(b, page.adopted...)
	b = binary.AppendUvarint(b, uint64(len(f.left)))
	for _, no := range f.left {
		b = binary.AppendUvarint(b, uint64(no))
	}
	f.left = nil
	b = binary.AppendUvarint(b, page.places)
	b = append(b, page.upto...)
	return append(b, page.events...)
}

// feedPage is what one answer tells.
type feedPage struct {
	adopted []byte // slots begun, and where
	adopts  uint64
	upto    []byte // places of slots
	places  uint64
	events  []byte
	count   int // of events
	gap     bool
}

func (p *feedPage) tell(slot uint16, upto uint64) {
	p.upto = binary.AppendUvarint(binary.AppendUvarint(p.upto, uint64(slot)), upto)
	p.places++
}

// feedOf finds the feed of a question; nil: it is to be asked anew.
func (n *Node) feedOf(q *feedQuestion, holder shard.NodeID) (*feed, error) {
	n.feeds.mu.Lock()
	defer n.feeds.mu.Unlock()
	f := n.feeds.find(q.token)
	if f != nil {
		f.mu.Lock()
		ok := f.number == q.answered && f.holder == holder
		f.mu.Unlock()
		if !ok {
			n.feeds.changeLocked(nil, f)
			return nil, nil
		}
		return f, nil
	}
	switch {
	case q.answered != 0:
		return nil, nil
	case len(n.feeds.list()) >= maxFeeds:
		return nil, ErrOverloaded
	}
	f = &feed{token: q.token, holder: holder, w: Watch{Prefix: q.prefix, KeysOnly: q.keysOnly, Ops: q.ops}, askedAt: n.now()}
	n.feeds.changeLocked(f, nil)
	return f, nil
}

// adopt begins a slot in a feed and adds what the watcher is told of it to a page;
// nothing where it is not served here.
func (n *Node) adopt(f *feed, a feedAdopt, page *feedPage) {
	s := &n.slots[a.slot]
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.serving.Load()
	if sv == nil || !n.licensed(sv, n.env.Now()) {
		return
	}
	acked, lineage := s.acked.Load(), sv.claim.LineageSum()
	upto, gap := acked, uint64(0)
	if a.upto != 0 {
		if a.upto < s.ring.base || a.upto > s.last || a.lineage != lineage {
			gap = 1
		} else {
			upto = a.upto
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.at[a.slot/shard.BlockSize]
	if b == nil {
		b = new(feedBlock)
		f.at[a.slot/shard.BlockSize] = b
	}
	p := &b[a.slot%shard.BlockSize]
	p.upto = upto
	if upto < acked && !p.noted {
		p.noted = true
		f.noted = append(f.noted, a.slot)
	}
	page.adopts++
	for _, v := range [...]uint64{uint64(a.slot), upto, lineage, gap} {
		page.adopted = binary.AppendUvarint(page.adopted, v)
	}
}

// readNews adds the news of a slot to a page; false: the page is full.
func (n *Node) readNews(f *feed, no uint16, page *feedPage) bool {
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.place(no)
	if p.upto == 0 { // left
		p.noted = false
		return true
	}
	acked := s.acked.Load()
	if p.upto < s.ring.base {
		page.gap, p.noted, p.upto = true, false, acked
		page.tell(no, acked)
		return true
	}
	upto := p.upto
	for _, e := range s.ring.after(upto) {
		if e.version > acked {
			break
		}
		if page.count >= maxNews || len(page.events) >= pageBytes {
			if upto > p.upto {
				p.upto = upto
				page.tell(no, upto)
			}
			return false
		}
		page.events = f.w.appendEvents(page.events, &e, &page.count)
		upto = e.version
	}
	p.upto, p.noted, p.advise = max(upto, acked), false, false
	page.tell(no, p.upto)
	return true
}

// tendFeeds answers those who have waited long and forgets feeds that nobody
// asks. House loop only.
func (n *Node) tendFeeds() {
	now := n.now()
	for _, f := range n.feeds.list() {
		f.mu.Lock()
		var g []*guest
		if f.guest != nil && (f.guest.deadline-now < pollMargin*1000 || f.owesPlacesLocked(now)) {
			g = f.takeGuest()
		}
		idle := f.guest == nil && len(g) == 0 && now-f.askedAt > feedIdle
		f.mu.Unlock()
		n.callAgain(g)
		if idle {
			n.endFeed(f)
		}
	}
}

func (n *Node) endFeed(f *feed) {
	n.feeds.mu.Lock()
	n.feeds.changeLocked(nil, f)
	n.feeds.mu.Unlock()
	f.mu.Lock()
	g := f.takeGuest()
	f.mu.Unlock()
	if len(g) > 0 {
		n.lobby.count.Add(-1)
		g[0].done(ErrClosed)
	}
}

// leaveFeeds forgets the feeds of a node that went down; this node's own ID:
// of all.
func (n *Node) leaveFeeds(id shard.NodeID) {
	for _, f := range n.feeds.list() {
		if f.holder == id || id == n.id {
			n.endFeed(f)
		}
	}
}
