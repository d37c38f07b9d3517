package node

import (
	"bytes"
	"context"
	"errors"
	"math"
	"sync"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Kinds of chunks. Values are part of the wire format.
const (
	chunkDigest uint8 = 1 // the slot's digest: keep what you have if it equals
	chunkData   uint8 = 2
	chunkOffer  uint8 = 3 // a fork's loser offers records
	chunkRanges uint8 = 4 // digests of ranges, for a learner that asked for them

	chunkOfferDigest uint8 = 5 // what the records of a fork's loser sum up to
)

// A learner's words.
const (
	copyNeed uint64 = 1 // the digest differs: send all, or digests of ranges where needRanges follows
	copyDone uint64 = 2 // the generation is complete and committed
	copyWant uint64 = 3 // send of the list of this number the ranges whose bits follow
)

// needRanges follows copyNeed where the learner has much of the slot. A primary
// that does not know it sends all.
const needRanges uint64 = 1

const chunkBytes = 256 << 10

// learning is a primary's side of a copy being made.
type learning struct {
	link    *link
	session uint64
	stage   uint8
	empty   bool   // there was nothing to copy
	waited  bool   // acknowledgements wait for it
	from    uint64 // listed once it has acknowledged this
	touched int64  // when it last got on
	queued  bool   // its copy waits for its turn to be sent
	asked   bool   // it was sent digests and has not answered yet
	again   int    // how often it was sent the first of them once more
	needed  bool   // that was answered: records are sent, or further digests

	// Of the job under way alone; there is one at a time.
	seq  uint64     // of the next chunk
	walk *rangeWalk // nil: no digests of ranges were sent
}

const (
	stageBegun   uint8 = iota // it has been told
	stageCopying              // its copy is being sent
	stageCopied               // it has the snapshot
	stageReady                // and everything since: a claim lists it soon
)

// A learner that has just been reached again may be unable to answer for a moment:
// a copy begins with a digest that is sent again before all begins anew.
const (
	digestAgain = 4 // times the resend interval without an answer
	maxAgain    = 3
)

// unanswered reports whether the digest that a copy begins with may be sent again.
func (g *learning) unanswered() bool {
	return g.stage == stageCopying && g.asked && !g.queued && !g.needed && g.again < maxAgain
}

// startCopyLocked makes a peer the slot's learner.
func (n *Node) startCopyLocked(s *slot, p *peer) {
	session := n.env.Uint64()>>2 | 1
	l := &link{peer: p, session: session, started: true}
	s.linkLocked(l)
	n.stats.copies.Add(1)
	st := n.engine.SlotStats(s.no)
	s.learner = &learning{link: l, session: session, touched: n.now(), empty: st.Records+st.Tombstones == 0}
	// What is not acknowledged yet comes with the stream, not with the snapshot alone: a
	// promotion looks for it in the ring, and it may be nowhere but there.
	epoch, acked := s.view.Known.Epoch, s.acked.Load()
	a := transport.Append{Slot: s.no, Epoch: epoch, Session: session, Version: max(acked, s.ring.base, firstVersion(epoch)), Mark: acked}
	if s.learner.empty {
		a.Cause = causeEmpty
	}
	// The learner has to know first what its own copy is worth.
	if t := p.live(); t == nil || t.SendClaims(shard.AppendClaims(nil, []*shard.Claim{s.view.Known})) != nil {
		l.started = false
		return
	}
	n.sendAppend(l, &a)
}

// stopCopyLocked gives a copy up. Writes that waited for the learner alone are
// acknowledged when the slot advances, which is for those who unlock it: what waits
// for them may take its lock.
func (n *Node) stopCopyLocked(s *slot) {
	if s.learner != nil {
		s.links = s.links.without(s.learner.link)
		s.learner = nil
		n.stats.copiesStopped.Add(1)
		n.agenda.note(s.no)
	}
}

// learnerAckedLocked: the learner follows the stream.
func (n *Node) learnerAckedLocked(s *slot, g *learning) {
	if g.stage != stageCopying { // live writes do not get a lost chunk on
		g.touched = n.now()
	}
	switch {
	case g.stage == stageBegun:
		n.sendFatesLocked(s, g)
		if g.link.acked < s.last {
			n.goOnLocked(s, g.link) // what came before the copy was begun
		}
		if g.empty {
			n.copiedLocked(s, g)
			return
		}
		g.stage, g.queued = stageCopying, true
		n.queueCopy(copyJob{slot: s.no, session: g.session, digest: true})
	case g.stage == stageCopied && g.link.acked >= g.from:
		g.stage = stageReady
		n.agenda.note(s.no)
		n.poke()
	}
}

// sendFatesLocked tells a learner the calls of before its copy that are still
// known, so that it can answer their repeats too.
func (n *Node) sendFatesLocked(s *slot, g *learning) {
	a := transport.Append{Slot: s.no, Epoch: s.view.Known.Epoch, Session: g.session, Prev: 1, Cause: causeFate}
	for i := range s.ring.entries {
		e := &s.ring.entries[i]
		if e.version > g.link.acked {
			break
		}
		if e.call.Number != 0 {
			a.Version, a.Call, a.Result = e.version, e.call, e.result
			n.sendAppend(g.link, &a)
		}
	}
	a.Version, a.Call, a.Result, a.Mark = g.link.acked, transport.CallID{}, Result{}, s.ring.fates
	if g.link.started {
		n.sendAppend(g.link, &a)
	}
}

// copiedLocked: the learner has the snapshot. From here on writes wait for it,
// so that it stays caught up.
func (n *Node) copiedLocked(s *slot, g *learning) {
	g.stage, g.waited, g.from = stageCopied, true, s.last
	n.learnerAckedLocked(s, g)
}

type copyJob struct {
	slot    uint16
	session uint64
	digest  bool         // the slot's digest alone
	ranges  bool         // digests of ranges are asked for
	wanted  []byte       // bits of the latest list's ranges that are to be sent
	offer   *shard.Claim // the winner's claim, where records are offered
}

func (n *Node) queueCopy(j copyJob) {
	n.jobsMu.Lock()
	n.jobs = append(n.jobs, j)
	n.jobsMu.Unlock()
	select {
	case n.jobsWake <- struct{}{}:
	default:
	}
}

// copyLoop sends copies, one slot at a time; it ends when n.stop closes.
func (n *Node) copyLoop() {
	for {
		n.jobsMu.Lock()
		var j copyJob
		ok := len(n.jobs) > 0
		if ok {
			j = n.jobs[0]
			n.jobs = n.jobs[1:]
		}
		more := len(n.jobs) > 0
		n.jobsMu.Unlock()
		if more {
			select {
			case n.jobsWake <- struct{}{}:
			default:
			}
		}
		switch {
		case ok && j.offer != nil:
			n.sendOffer(j)
		case ok:
			n.sendCopy(j)
		default:
			select {
			case <-n.jobsWake:
			case <-n.stop:
				return
			}
		}
		if n.closing.Load() {
			return
		}
	}
}

// sendCopy sends a learner the slot's digest, digests of its ranges, or records.
func (n *Node) sendCopy(j copyJob) {
	s := &n.slots[j.slot]
	s.mu.Lock()
	g := s.learner
	if g == nil || g.session != j.session || s.serving.Load() == nil {
		s.mu.Unlock()
		return
	}
	p, epoch := g.link.peer, s.view.Known.Epoch
	g.queued, g.touched = false, n.now()
	s.mu.Unlock()
	t := p.live()
	if t == nil || n.stalls(p, n.now()) {
		return
	}
	goOn := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.learner != g {
			return false
		}
		g.touched = n.now()
		return true
	}
	c := transport.Chunk{Slot: j.slot, Session: j.session, Kind: chunkData, Epoch: epoch, Seq: g.seq, Hi: math.MaxUint64}
	if j.digest {
		n.sendDigest(t, &c, g)
		return
	}
	if j.ranges {
		g.walk = newWalk(n.engine.SlotStats(j.slot).Records)
	}
	if g.walk == nil {
		n.sendRecords(t, &c, wholeSlot, true, goOn)
		return
	}
	if !j.ranges {
		if !n.sendRecords(t, &c, g.walk.list.spans(j.wanted), g.walk.over(), goOn) || g.walk.over() {
			return
		}
	}
	n.sendRanges(t, &c, g, goOn)
}

// sendDigest sends the digest of a whole slot.
func (n *Node) sendDigest(t *transport.Peer, c *transport.Chunk, g *learning) {
	d, err := n.engine.Digest(c.Slot, 0, math.MaxUint64)
	if err != nil || !n.asks(c.Slot, g) {
		return
	}
	c.Kind, c.Sum, c.Count = chunkDigest, d.Sum, uint64(d.Records)
	_ = n.sendChunk(t, c)
}

// sendRanges sends the next list of digests of ranges.
func (n *Node) sendRanges(t *transport.Peer, c *transport.Chunk, g *learning, goOn func() bool) {
	if err := g.walk.advance(n.engine, c.Slot); err != nil {
		n.log.Error("cannot sum up a slot", "slot", c.Slot, "err", err)
		return
	}
	l := &g.walk.list
	c.Kind, c.Lo, c.Hi, c.Count, c.Records = chunkRanges, l.lo, l.hi, uint64(len(l.digests)), nil
	c.Body, c.Last = l.pack(nil), g.walk.over()
	if !n.awaitPace(len(c.Body), false, goOn) {
		return
	}
	g.seq = c.Seq + 1
	if n.asks(c.Slot, g) {
		_ = n.sendChunk(t, c)
	}
}

// A peer that takes in nothing for chunkStall has more of a fault than little processor
// time: for stallRest no copies are begun there, and nothing is offered, since the copies
// of others go by the same few goroutines.
const (
	chunkStall = 6 * copyStall
	stallRest  = 2 * chunkStall
)

// sendChunk hands a chunk to a peer, unless that takes in nothing for too long.
func (n *Node) sendChunk(t *transport.Peer, c *transport.Chunk) error {
	ctx, cancel := context.WithTimeout(n.ctx, chunkStall)
	defer cancel()
	err := t.SendChunk(ctx, c)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		n.peer(shard.NodeID(t.ID())).stalledAt.Store(n.now())
	}
	return err
}

// stalls reports whether a peer has taken in no chunk lately that it was sent.
func (n *Node) stalls(p *peer, now int64) bool {
	at := p.stalledAt.Load()
	return at > 0 && now-at < int64(stallRest)
}

// asks notes that the learner has to answer what is sent next, and reports
// whether it still is one.
func (n *Node) asks(no uint16, g *learning) bool {
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	g.asked = true
	return s.learner == g
}

// chunkBuffer holds the records of a chunk until it is encoded.
type chunkBuffer struct {
	recs   []transport.Record
	values []byte
}

var chunkBuffers = sync.Pool{New: func() any { return new(chunkBuffer) }}

// add copies the value, which is valid no longer than the call that gave it.
func (b *chunkBuffer) add(r store.Record) {
	start := len(b.values)
	b.values = transport.AppendPieces(b.values, r.Value)
	if r.Value != nil {
		r.Value = b.values[start:len(b.values):len(b.values)]
	}
	b.recs = append(b.recs, transport.Record(r))
}

func (b *chunkBuffer) reset() {
	clear(b.recs)
	b.recs, b.values = b.recs[:0], b.values[:0]
}

// release gives the buffer back unless a large value made it grow.
func (b *chunkBuffer) release() {
	if b.reset(); cap(b.values) <= 2*chunkBytes {
		chunkBuffers.Put(b)
	}
}

// sendRecords sends the records of some spans of a slot, which are in order, in
// chunks, the last one marked if the copy ends with them. It reports whether it
// could.
func (n *Node) sendRecords(t *transport.Peer, c *transport.Chunk, spans []span, last bool, goOn func() bool) bool {
	var at store.Cursor
	sent := 0
	st := n.engine.SlotStats(c.Slot)
	most := int(outgrown*float64(st.Records)) + 16
	far := uint64(math.MaxUint64)
	if st.Records > skipRecords {
		far = far / uint64(st.Records) * skipRecords
	}
	b := chunkBuffers.Get().(*chunkBuffer)
	defer func() {
		c.Records = nil
		b.release()
	}()
	for done := len(spans) == 0; ; {
		b.reset()
		size := 0
		for !done && size < chunkBytes && len(b.recs) < 4096 {
			if lo := spans[0].lo; lo > at.Hash {
				at = placeBefore(lo)
			}
			next, end, err := n.engine.Range(c.Slot, at, func(r store.Record) bool {
				hash := store.Hash(r.Kind, r.Key, r.Field)
				for len(spans) > 0 && hash > spans[0].hi {
					spans = spans[1:]
				}
				if len(spans) == 0 || hash < spans[0].lo {
					return len(spans) > 0 && spans[0].lo-hash < far
				}
				b.add(r)
				size += len(r.Key) + len(r.Field) + len(r.Value) + 64
				return size < chunkBytes && len(b.recs) < 4096
			})
			if err != nil {
				return false
			}
			at, done = next, end || len(spans) == 0
		}
		c.Records, c.Last = b.recs, done && last
		if size == 0 && !c.Last {
			return true
		}
		sent += len(c.Records)
		if !goOn() || !n.awaitPace(size, sent > most, goOn) {
			return false
		}
		n.stats.copied.Add(uint64(size))
		if n.sendChunk(t, c) != nil {
			return false
		}
		c.Seq++
		if done {
			return true
		}
	}
}

// onCopyWord takes in what a learner says of its copy.
func (n *Node) onCopyWord(from shard.NodeID, no uint16, session, what uint64, f *fields) {
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.learner
	if g == nil || g.session != session || g.link.peer.id != from || g.stage != stageCopying {
		return
	}
	g.touched = n.now()
	if what == copyDone {
		n.copiedLocked(s, g)
		return
	}
	if !g.asked {
		return // said twice
	}
	j := copyJob{slot: no, session: session}
	switch what {
	case copyNeed:
		if g.needed {
			return
		}
		g.needed = true
		j.ranges = f.more() && f.num() == needRanges
	case copyWant:
		if seq := f.num(); g.walk == nil || f.bad || seq+1 != g.seq || len(f.b) > maxRanges/8 {
			return
		}
		j.wanted = bytes.Clone(f.b)
	default:
		return
	}
	g.asked, g.queued = false, true
	n.queueCopy(j)
}
