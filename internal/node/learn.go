package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// copyBegin is a primary's word that this node is to be its learner. The
// control loop takes it up, after the claims that came before.
type copyBegin struct {
	from                          shard.NodeID
	slot                          uint16
	epoch, session, version, mark uint64
	empty                         bool
	waited                        bool // for a duty of this node's
}

func (n *Node) beginCopies(begins []copyBegin) {
	for i := range begins {
		b := &begins[i]
		s := &n.slots[b.slot]
		s.mu.Lock()
		if pr := s.view.Promised; b.epoch < pr.Epoch || b.epoch == pr.Epoch && pr.To != b.from {
			n.refuseLocked(s, b.from, b.epoch, b.session)
		} else {
			n.beginCopyLocked(s, b)
			if s.stream.primary == b.from && s.stream.session == b.session {
				n.ackLocked(s)
			}
		}
		s.mu.Unlock()
	}
}

// beginCopyLocked opens an empty generation on the learner.
func (n *Node) beginCopyLocked(s *slot, a *copyBegin) {
	if s.stream.session == a.session || s.view.Primary {
		return
	}
	if a.waited && s.stream.primary == a.from && s.stream.epoch == a.epoch {
		return // the primary had given it up, and began again
	}
	if n.jammed() {
		return // it begins again
	}
	if s.duty != nil {
		later := *a // the old copy is owed to the winner of a fork first
		later.waited = true
		s.duty.toBegin = &later
		return
	}
	n.leaveStreamLocked(s)
	n.merger.forget(s.no)
	s.standing.Store(nil)
	gen, err := n.beginGeneration(s.no, a.empty)
	if err != nil {
		n.log.Error("learner cannot begin", "slot", s.no, "err", err)
		return
	}
	n.ringBytes.Add(-int64(s.ring.reset(a.version)))
	s.forgotten = 0
	s.stream = stream{primary: a.from, epoch: a.epoch, session: a.session, pos: a.version, base: a.version, gen: gen, filling: !a.empty}
	if !a.empty {
		n.filling.Add(1)
	}
	s.last = a.version
	s.acked.Store(a.mark)
	s.noteLocked()
}

// beginGeneration opens the generation that a copy is to fill; where the
// primary has nothing, it drops what is here.
func (n *Node) beginGeneration(no uint16, empty bool) (store.Generation, error) {
	if n.cfg.Off.Leftovers {
		if empty {
			return 0, nil
		}
		return n.keepLeftovers(no)
	}
	if !empty {
		return n.engine.Begin(no)
	}
	if st := n.engine.SlotStats(no); st.Records+st.Tombstones == 0 {
		return 0, nil
	}
	return 0, n.engine.Drop(no)
}

// keepLeftovers is what is not to be done: see RulesOff.
func (n *Node) keepLeftovers(no uint16) (store.Generation, error) {
	gen, err := n.engine.Begin(no)
	if err != nil {
		return 0, err
	}
	var old []store.Record
	_, _, err = n.engine.Range(no, store.Cursor{}, func(r store.Record) bool {
		old = append(old, own(r))
		return true
	})
	return gen, errors.Join(err, n.engine.ApplyTo(no, gen, old))
}

// Chunk takes in a part of a copy or of an offer. (transport.Handler)
func (n *Node) Chunk(p *transport.Peer, c *transport.Chunk) {
	if int(c.Slot) >= shard.Slots || !n.awaitDisk() {
		return
	}
	switch c.Kind {
	case chunkOffer:
		n.onOffer(p, c)
		return
	case chunkOfferDigest:
		n.onOfferDigest(p, c)
		return
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.stream
	if st.session != c.Session || !st.filling || st.primary != shard.NodeID(p.ID()) {
		return // of another session
	}
	whole := false
	switch c.Kind {
	case chunkDigest:
		if n.keepsLocked(st, c) {
			n.followLocked(p, s, c)
			return
		}
		whole = n.takeDigestLocked(p, s, c)
	case chunkRanges:
		whole = n.takeRangesLocked(p, s, c)
	case chunkData:
		whole = n.takeRecordsLocked(s, c)
	}
	if whole {
		n.commitCopyLocked(p, s, c)
	}
}

// takeDigestLocked keeps what is here where its digest is that of the primary's copy,
// and asks for the rest otherwise. It reports whether the copy is complete, as do
// the two below.
func (n *Node) takeDigestLocked(p *transport.Peer, s *slot, c *transport.Chunk) (whole bool) {
	if c.Count == 0 {
		return true
	}
	same, err := n.engine.Confirm(c.Slot, s.stream.gen, c.Lo, c.Hi, store.Digest{Sum: c.Sum, Records: int(c.Count)})
	if err == nil && same {
		return true
	}
	b := body(ctlCopy, uint64(c.Slot), c.Session, copyNeed)
	// Where it has little, the digests of ranges are not worth it.
	if d, err := n.engine.Digest(c.Slot, 0, math.MaxUint64); err == nil && uint64(d.Records) > c.Count/4 {
		b = binary.AppendUvarint(b, needRanges)
	}
	_ = p.SendControl(b)
	return false
}

// takeRangesLocked keeps the ranges whose digests are the same here, and asks for the
// others.
func (n *Node) takeRangesLocked(p *transport.Peer, s *slot, c *transport.Chunk) (whole bool) {
	if !s.stream.countIn(c) {
		return false
	}
	l, ok := unpackRanges(span{c.Lo, c.Hi}, c.Count, c.Body)
	if !ok {
		n.log.Warn("peer sent malformed digests", "peer", p.ID(), "slot", c.Slot)
		return false
	}
	wanted, err := l.confirm(n.engine, c.Slot, s.stream.gen)
	if err != nil {
		n.notStored("learner cannot confirm", c.Slot, err)
		return false
	}
	if wanted == nil && c.Last {
		return true
	}
	_ = p.SendControl(append(body(ctlCopy, uint64(c.Slot), c.Session, copyWant, c.Seq), wanted...))
	return false
}

// takeRecordsLocked stores a chunk of records.
func (n *Node) takeRecordsLocked(s *slot, c *transport.Chunk) (whole bool) {
	st := &s.stream
	if !st.countIn(c) {
		return false
	}
	recs := make([]store.Record, len(c.Records))
	seen := st.epoch
	for i := range c.Records {
		recs[i] = store.Record(c.Records[i])
		seen = max(seen, recs[i].Version>>seqBits)
	}
	if seen > st.epoch { // no later claim may give versions below it
		n.post(event{kind: evSee, slot: c.Slot, epoch: seen})
	}
	if err := n.engine.ApplyTo(c.Slot, st.gen, recs); err != nil {
		n.notStored("learner cannot store", c.Slot, err)
		return false
	}
	return c.Last
}

// countIn counts a chunk; false: one before it is missing, and the primary begins
// again in time.
func (st *stream) countIn(c *transport.Chunk) bool {
	if c.Seq != st.count {
		return false
	}
	st.count++
	return true
}

// commitCopyLocked makes the generation that was filled the slot's own.
func (n *Node) commitCopyLocked(p *transport.Peer, s *slot, c *transport.Chunk) {
	st := &s.stream
	if err := n.engine.Commit(c.Slot, st.gen); err != nil {
		n.log.Error("learner cannot commit", "slot", c.Slot, "err", err)
		return
	}
	n.followLocked(p, s, c)
}

// followLocked ends a copy that is complete: from here on the slot follows the stream.
func (n *Node) followLocked(p *transport.Peer, s *slot, c *transport.Chunk) {
	s.stream.filling = false
	s.leftAt.Store(0)
	n.filling.Add(-1)
	s.standLocked(n.id)
	s.noteLocked()
	_ = p.SendControl(body(ctlCopy, uint64(c.Slot), c.Session, copyDone))
}

// keepsLocked reports whether what this node has of a slot is the whole copy, as it mostly
// is after a restart; then it is not made anew, nor written to disk once more.
func (n *Node) keepsLocked(st *stream, c *transport.Chunk) bool {
	if c.Lo != 0 || c.Hi != math.MaxUint64 || st.pos != st.base {
		return false // what came with the stream is in the generation alone
	}
	d, err := n.engine.Digest(c.Slot, 0, math.MaxUint64)
	return err == nil && d == store.Digest{Sum: c.Sum, Records: int(c.Count)} && n.engine.Abort(c.Slot, st.gen) == nil
}

// takeFateLocked: see sendFatesLocked.
func (n *Node) takeFateLocked(s *slot, a *transport.Append) {
	if a.Call.Number == 0 {
		// What came meanwhile may have pushed calls out.
		s.ring.fates = min(s.ring.fates, max(a.Mark, s.forgotten))
		return
	}
	e := entry{version: a.Version, call: a.Call, result: a.Result, size: bareEntry + len(a.Result.Value)}
	e.result.Value = bytes.Clone(a.Result.Value)
	before := s.ring.bytes
	s.ring.add(e)
	n.ringBytes.Add(int64(s.ring.bytes - before))
}
