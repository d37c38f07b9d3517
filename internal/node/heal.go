package node

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// The winner's words to a loser.
const (
	offerSend uint64 = 1 // the epoch is above yours: send your records
	offerDone uint64 = 2 // all of them are held by the winner and its backups
	offerAll  uint64 = 3 // your digest differs: send every record
)

// deposedLocked decides what becomes of the records of a slot whose newest
// claim no longer lists this node: of the same lineage they are leftovers; of
// another one they may hold acknowledged writes the winner lacks.
func (n *Node) deposedLocked(s *slot, winner *shard.Claim) {
	standing := s.standing.Load()
	if n.lacks(winner, standing) {
		n.takeDutyLocked(s, standing, n.merger.loserSince(s.no, standing.Lineage, winner.Lineage))
	} else {
		s.leftAt.Store(n.now())
	}
	s.standing.Store(nil)
	n.leaveStreamLocked(s)
}

// deposes reports whether a claim that does not list this node takes from it what it
// stood for: a higher one does, and one of another lineage what it held before its
// last start, since this node serves nothing under that again. A fork that nobody
// else had heard of when its holder crashed has the higher claim, and loses.
func (n *Node) deposes(cl, standing *shard.Claim) bool {
	return shard.Compare(cl, standing) > 0 || !standing.Holds(n.id) && n.lacks(cl, standing)
}

// lacks reports whether a winner may lack acknowledged writes that are here.
func (n *Node) lacks(winner, standing *shard.Claim) bool {
	return !n.cfg.Off.Offers && !shard.SameLineage(standing, winner) && !n.outdated(standing, winner) && n.engine.MaxVersion(standing.Slot) > 0
}

// duty is what the loser of a fork owes the winner.
type duty struct {
	claim    *shard.Claim // whose records are to be offered
	since    uint64       // records up to here are as old as the fork; see merger
	toBegin  *copyBegin   // the copy that is to begin once it is done; nil if none
	offering uint64       // session of the offer under way; 0 if none
	summed   uint64       // session of the latest offer
	sums     int          // how often its digest was sent
}

// restored reports whether a claim goes on with the lineage of what is owed. Its
// primary had not heard of the winner's claim when it raised its epoch, and has
// all that was acknowledged: a node that it counts on would never be rid of its
// duty, and accept nothing until it is.
func (d *duty) restored(cl *shard.Claim) bool {
	return cl != nil && cl.Epoch > d.claim.Epoch && shard.SameLineage(cl, d.claim)
}

// owes is the claim whose records are to be offered; nil if there is none.
func (s *slot) owes() *shard.Claim {
	if s.duty == nil {
		return nil
	}
	return s.duty.claim
}

// takeDutyLocked gives a slot the duty to offer the records of a claim.
func (n *Node) takeDutyLocked(s *slot, owed *shard.Claim, since uint64) {
	if s.duty == nil {
		s.duty = new(duty)
		n.owed.Add(1)
		n.duties = append(n.duties, s.no)
	}
	s.duty.claim, s.duty.since = owed, since
}

// dischargeLocked ends a duty, and lets the copy begin that waited for it.
func (n *Node) dischargeLocked(s *slot) {
	d := s.duty
	if d == nil {
		return
	}
	if d.toBegin != nil {
		n.post(event{kind: evBegin, begin: *d.toBegin})
	}
	s.duty = nil
	n.owed.Add(-1)
	n.stats.heals.Add(1)
	s.noteLocked()
}

// pressDuties asks the winners of forks to take what this node has to offer.
// Control loop only.
func (n *Node) pressDuties(now int64) {
	if now-n.dutyAt < int64(n.resend) {
		return
	}
	n.dutyAt = now
	n.forgetOwed()
	duties := n.duties
	n.duties = nil
	for _, no := range duties {
		s := &n.slots[no]
		s.mu.Lock()
		owed, known, since := s.owes(), s.view.Known, uint64(0)
		if owed != nil {
			since = s.duty.since
		}
		s.mu.Unlock()
		if owed == nil {
			continue
		}
		n.duties = append(n.duties, no)
		if known != nil && known.Primary != n.id {
			b := binary.AppendUvarint([]byte{ctlOffer}, uint64(no))
			b = owed.Append(b)
			n.sendControl(known.Primary, binary.AppendUvarint(b, since))
		}
	}
}

// dropLeftovers drops records that no claim has asked this node to hold for a
// while, and nobody is owed. Control loop only.
func (n *Node) dropLeftovers(now int64) {
	if now-n.leftoversAt < int64(max(n.cfg.RepairDelay, n.resend)) || n.jammed() {
		return
	}
	n.leftoversAt = now
	for i := range n.slots {
		s := &n.slots[i]
		if s.leftAt.Load() == 0 {
			continue
		}
		s.mu.Lock()
		if s.leftAt.Load() > 0 && now-s.leftAt.Load() > 2*int64(n.cfg.RepairDelay) && s.standing.Load() == nil && s.duty == nil && s.stream.session == 0 && s.view.Known != nil {
			_ = n.engine.Drop(s.no)
			n.merger.forget(s.no)
			n.ringBytes.Add(-int64(s.ring.reset(firstVersion(s.view.Known.Epoch+1) - 1))) // it knows nothing of so far
			s.leftAt.Store(0)
			s.noteLocked()
		}
		s.mu.Unlock()
	}
}

// healHold is how long after an offer a slot stays where it is, where values
// are merged: the other copies of the loser's side offer theirs within it.
const healHold = 2 * time.Second

// decideOffer lets a loser send its records once this node's epoch is above
// every one of theirs.
func (n *Node) decideOffer(e *event, now int64) {
	mine := n.core.View(e.slot).Known
	if mine == nil {
		return
	}
	n.merger.share(offerKey{from: e.id, slot: e.slot}, min(e.epoch, n.merger.since(e.slot, mine.Lineage, e.claims[0].Lineage)))
	if n.cfg.Merge != nil {
		n.slots[e.slot].stayTill = now + int64(healHold) // another primary would not know what went into what
	}
	if n.core.Merge(e.slot, e.claims[0], now) {
		n.sendControl(e.id, body(ctlOfferOK, uint64(e.slot), n.core.View(e.slot).Known.Epoch, offerSend))
	}
}

// onOfferWord takes in the winner's word.
func (n *Node) onOfferWord(from shard.NodeID, no uint16, session, what uint64) {
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.duty
	if d == nil || s.view.Known == nil || s.view.Known.Primary != from {
		return
	}
	if what == offerDone {
		if session <= d.claim.Epoch {
			return // of an earlier fork: a cut held it up
		}
		n.dischargeLocked(s)
		s.leftAt.Store(n.now())
		n.sendControl(from, body(ctlGathered, uint64(no)))
		return
	}
	if d.offering == session || n.stalls(n.peer(from), n.now()) {
		return // under way, or said again when it may take in some
	}
	// The digest first: mostly, after a start of all, the winner has the same. One
	// that says nothing to that may know no such chunk, and gets the records.
	if d.summed != session {
		d.summed, d.sums = session, 0
	}
	digest := what != offerAll && d.sums < maxSums
	d.offering = session
	d.sums++
	n.queueCopy(copyJob{slot: no, session: session, offer: s.view.Known, digest: digest})
}

const maxSums = 4

// sendOffer sends the winner the slot's digest, or every record.
func (n *Node) sendOffer(j copyJob) {
	s := &n.slots[j.slot]
	s.mu.Lock()
	owed := s.duty != nil
	s.mu.Unlock()
	p := n.peer(j.offer.Primary)
	if t := p.live(); t != nil && owed && !n.stalls(p, n.now()) {
		c := transport.Chunk{Slot: j.slot, Session: j.session, Kind: chunkOffer, Epoch: j.offer.Epoch}
		if !j.digest {
			n.sendRecords(t, &c, wholeSlot, true, func() bool { return !n.closing.Load() })
		} else if d, err := n.engine.Digest(j.slot, 0, math.MaxUint64); err == nil {
			c.Kind, c.Sum, c.Count = chunkOfferDigest, d.Sum, uint64(d.Records)
			_ = n.sendChunk(t, &c)
		}
	}
	s.mu.Lock()
	if s.duty != nil {
		s.duty.offering = 0 // asked again until the winner has confirmed
	}
	s.mu.Unlock()
}

// onOffer writes a loser's records anew where they are newer than this
// node's, by the version each was first written under.
func (n *Node) onOffer(p *transport.Peer, c *transport.Chunk) {
	s := &n.slots[c.Slot]
	shared := n.merger.sharedWith(offerKey{from: shard.NodeID(p.ID()), slot: c.Slot})
	for i := range c.Records {
		if !n.rewrite(s, store.Record(c.Records[i]), c.Session, shared) {
			return // not the winner any more: it is offered again
		}
	}
	key := offerKey{shard.NodeID(p.ID()), c.Slot, c.Session}
	n.offersMu.Lock()
	if c.Seq == 0 {
		n.offers[key] = 0
	}
	got, ok := n.offers[key]
	if !ok || got != c.Seq {
		delete(n.offers, key)
		n.offersMu.Unlock()
		return
	}
	n.offers[key]++
	if c.Last {
		delete(n.offers, key)
	}
	n.offersMu.Unlock()
	if c.Last {
		n.confirmOffer(s, shard.NodeID(p.ID()), c.Session)
	}
}

// onOfferDigest takes in what a loser's records sum up to: if this node has the
// same there is nothing to send, else all of them are.
func (n *Node) onOfferDigest(p *transport.Peer, c *transport.Chunk) {
	s, id := &n.slots[c.Slot], shard.NodeID(p.ID())
	d, err := n.engine.Digest(c.Slot, 0, math.MaxUint64)
	if err == nil && d.Sum == c.Sum && uint64(d.Records) == c.Count {
		n.confirmOffer(s, id, c.Session)
		return
	}
	n.sendControl(id, body(ctlOfferOK, uint64(c.Slot), c.Session, offerAll))
}

// confirmOffer tells a loser that its records are held here and by the backups,
// once they are.
func (n *Node) confirmOffer(s *slot, id shard.NodeID, session uint64) {
	confirm := func(err error) {
		if err == nil {
			n.sendControl(id, body(ctlOfferOK, uint64(s.no), session, offerDone))
		}
	}
	s.mu.Lock()
	if s.serving.Load() != nil && s.last > s.acked.Load() {
		s.insertWaiterLocked(s.last, confirm)
		s.mu.Unlock()
		return
	}
	open := s.serving.Load() != nil
	s.mu.Unlock()
	if open {
		confirm(nil)
	}
}

type offerKey struct {
	from    shard.NodeID
	slot    uint16
	session uint64
}

// rewrite stores a foreign record as a write of this primary's own, keeping
// its origin, where it is newer than the present one or the merge function says
// so. ok is false where this node is not the slot's open primary.
func (n *Node) rewrite(s *slot, r store.Record, epoch, shared uint64) (ok bool) {
	var ready []waiter
	defer func() { finish(ready, nil) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	for tries := 0; ; tries++ {
		if s.serving.Load() == nil || s.view.Known.Epoch < epoch {
			return false
		}
		cur, err := n.engine.Get(nil, s.no, r.Kind, r.Key, r.Field, 0)
		if err == nil && cur.State == store.NotResident && n.cfg.Merge != nil {
			cur, err = n.engine.Fetch(nil, s.no, r.Kind, r.Key, r.Field, 0)
		}
		if err != nil {
			return false
		}
		theirs, mine := originOf(r.Version, r.Origin), originOf(cur.Version, cur.Origin)
		if tries == 0 && n.mergeable(&r, &cur, shared) {
			if n.merger.has(s.no, r.Key, theirs) {
				return true
			}
		} else if tries == 0 || !n.mergeable(&r, &cur, shared) {
			// What both sides had and this one has no more was removed since.
			if mine >= theirs || cur.Version == 0 && theirs <= shared {
				return true
			}
			ready, ok = n.storeForeignLocked(s, r, theirs)
			return ok
		}
		// The function is called without the lock: it counts if the record is
		// still the same afterwards.
		newer := Result{Value: cur.Value, Version: mine, Expiry: cur.Expiry, Schema: cur.Schema}
		older := Result{Value: r.Value, Version: theirs, Expiry: r.Expiry, Schema: r.Schema}
		if theirs > mine {
			newer, older = older, newer
		}
		s.mu.Unlock()
		both, combined := n.combine(r.Key, newer, older)
		s.mu.Lock()
		if !combined {
			both = newer
		}
		now, err := n.engine.Get(nil, s.no, r.Kind, r.Key, r.Field, 0)
		if err != nil || s.serving.Load() == nil || s.view.Known.Epoch < epoch {
			return false
		}
		if now.Version != cur.Version && tries < maxCombineTries {
			continue
		}
		if now.Version != cur.Version { // written all the time: what its callers wrote last is newest
			return true
		}
		if ok = mine >= theirs && bytes.Equal(both.Value, cur.Value) && both.Expiry == cur.Expiry; !ok {
			r.Value, r.Expiry, r.Schema = both.Value, both.Expiry, both.Schema
			ready, ok = n.storeForeignLocked(s, r, max(theirs, mine))
		}
		if ok {
			n.merger.keep(s.no, r.Key, theirs)
		}
		return ok
	}
}

// maxCombineTries is how often the merge function is asked anew where callers
// write the key meanwhile.
const maxCombineTries = 100

func (n *Node) storeForeignLocked(s *slot, r store.Record, origin uint64) (ready []waiter, ok bool) {
	r.Version, r.Origin = s.last+1, origin
	if r.Kind == kindLock {
		r.Value = n.heldAnew(r.Value)
	}
	if err := n.engine.Apply(s.no, []store.Record{r}); err != nil {
		return nil, false
	}
	s.last = r.Version
	s.foreignLocked(s.view.Known.Epoch)
	n.appendLocked(s, entry{version: r.Version, records: []store.Record{own(r)}})
	n.wroteLocked(s, &r, r.Version, false)
	return n.advanceLocked(s), true
}
