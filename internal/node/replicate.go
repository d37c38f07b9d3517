package node

import (
	"bytes"
	"errors"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

const ringLimit = 32 << 20 // bytes of all rings of a node together, unacknowledged writes aside
const slotRing = 256 << 10 // bytes one slot's ring keeps at most while all have room
const crampedRing = 2 << 10

// appendLocked puts an entry into the ring and sends it to every copy.
func (n *Node) appendLocked(s *slot, e entry) { n.appendToLocked(s, e, nil, 0) }

// appendToLocked is appendLocked of a call to which the append is the answer at the
// copy told; see tellsLocked.
func (n *Node) appendToLocked(s *slot, e entry, told *link, answers uint64) {
	e.size = entrySize(&e)
	prev := s.ringTopLocked()
	s.ring.add(e)
	n.ringBytes.Add(int64(e.size))
	n.trimLocked(s)
	if len(s.links) == 0 {
		return
	}
	var one [1]transport.Record // most appends have no more
	a := n.appendOf(s, &e, prev, one[:0])
	for _, l := range s.links {
		if l.started && !l.parked {
			a.Session, a.Answers = l.session, 0
			if l == told {
				a.Answers = answers
			}
			n.sendInTurn(l, &a)
		}
	}
}

// tellsLocked returns the caller's own copy where no other is waited for: once the
// append is there, all that are to have the write have it, and the caller needs no
// further message to know. nil: this node answers.
func (n *Node) tellsLocked(s *slot, req *transport.Request, r *Result) *link {
	if req.Flags&transport.FlagCopy == 0 || n.cfg.SyncWrites || n.ackAtOnce(&req.Call) || s.learner != nil ||
		s.guests != nil && s.guests.near != nil || len(r.Value) > maxKept {
		return nil
	}
	caller := shard.NodeID(req.CallID.Node)
	if all := s.view.Required; len(all) != 1 || all[0] != caller {
		return nil
	}
	if l := s.links.to(caller); l != nil && l.started && !l.parked {
		return l
	}
	return nil
}

// errAnswered ends a call whose caller knows the answer by an append.
var errAnswered = errors.New("answered by an append")

// untellLocked has this node answer calls itself: what the copy gets may not be what was
// to answer them. One that is answered twice ignores the second.
func (s *slot) untellLocked(l *link) {
	for i := range s.waiters {
		if s.waiters[i].told == l {
			s.waiters[i].told = nil
		}
	}
}

// sendInTurn is sendAppend that keeps large appends in their place; what is
// parked is sent from the ring, see AppendAck.
func (n *Node) sendInTurn(l *link, a *transport.Append) {
	if a.Large() {
		l.parked = true
		if l.awaited = a.Prev; l.acked < a.Prev {
			return
		}
		l.awaited = a.Version
	}
	n.sendAppend(l, a)
}

func (n *Node) trimLocked(s *slot) {
	limit := slotRing
	if s.watched > 0 && n.now() < int64(s.watched)*int64(time.Second) {
		limit = watchedRing
	}
	keep := limit / 2
	if n.ringBytes.Load() > ringLimit {
		// By half of what it has: were it all but taken, the slot with the most
		// writes, whose trims are the most, would keep the least of them.
		limit, keep = crampedRing, max(min(limit, s.ring.bytes), crampedRing)/2
	}
	if s.ring.bytes > limit {
		freed, forgotten := s.ring.trim(s.acked.Load(), keep)
		n.ringBytes.Add(-int64(freed))
		s.forgotten = max(s.forgotten, forgotten)
	}
}

// bareEntry is about what an append takes without its records.
const bareEntry = 160

func entrySize(e *entry) int {
	size := bareEntry + len(e.result.Value)
	for i := range e.records {
		size += len(e.records[i].Key) + len(e.records[i].Field) + len(e.records[i].Value) + 96
	}
	return size
}

// ringTopLocked is the version of the last append under the slot's present
// stream, which the next one names as its predecessor.
func (s *slot) ringTopLocked() uint64 {
	return max(s.ring.top, s.ring.base, firstVersion(s.view.Known.Epoch))
}

// appendOf makes the message of an entry; its records are appended to recs.
func (n *Node) appendOf(s *slot, e *entry, prev uint64, recs []transport.Record) transport.Append {
	for i := range e.records {
		recs = append(recs, transport.Record(e.records[i]))
	}
	return transport.Append{
		Slot: s.no, Epoch: s.view.Known.Epoch, Prev: prev, Version: e.version, Mark: s.acked.Load(),
		Cause: e.cause, Call: e.call, Result: e.result, Records: recs,
	}
}

// sendAppend hands an append to a copy's stream. One that does not leave is
// sent again from the ring when the stream comes back or the copy reports a gap.
func (n *Node) sendAppend(l *link, a *transport.Append) {
	t := l.peer.live()
	if t == nil || t.SendAppend(a) != nil {
		l.started = false
		n.agenda.note(a.Slot)
	}
}

// advanceLocked raises the acknowledged mark to what all required copies have
// and returns the waiters that are done.
func (n *Node) advanceLocked(s *slot) []waiter {
	if s.serving.Load() == nil {
		return nil
	}
	mark := s.last
	if n.cfg.SyncWrites && s.durable < mark && (n.lostDisk.Load() == nil || len(s.view.Known.Backups) == 0) {
		mark = max(s.durable, firstVersion(s.view.Known.Epoch))
	}
	for _, id := range s.view.Required {
		l := s.links.to(id)
		if l == nil {
			return nil
		}
		mark = min(mark, l.acked)
	}
	if g := s.learner; g != nil && g.waited {
		mark = min(mark, g.link.acked)
	}
	mark = s.revocationsLocked(mark)
	if s.acked.Load() < s.last && s.pendingSince.Load() == 0 {
		s.pendingSince.Store(tick(n.now()))
	}
	if mark <= s.acked.Load() {
		return nil
	}
	old := s.acked.Load()
	s.acked.Store(mark)
	s.heard(mark)
	if n.feeds.any() {
		n.feedLocked(s, old, mark)
	}
	ready := s.takeAckedLocked()
	if mark == s.last {
		s.pendingSince.Store(0)
		if s.hold != nil { // drained
			n.agenda.note(s.no)
			n.poke()
		}
	} else {
		s.pendingSince.Store(tick(n.now()))
	}
	n.trimLocked(s)
	return ready
}

// takeAckedLocked removes the waiters of what is acknowledged.
func (s *slot) takeAckedLocked() []waiter {
	acked, i := s.acked.Load(), 0
	for i < len(s.waiters) && s.waiters[i].version <= acked {
		i++
	}
	ready := s.waiters[:i:i]
	if s.waiters = s.waiters[i:]; len(s.waiters) == 0 {
		s.waiters = nil
	}
	return ready
}

// heard raises the mark that calls carry.
func (f *front) heard(mark uint64) {
	for {
		old := f.mark.Load()
		if mark <= old || f.mark.CompareAndSwap(old, mark) {
			return
		}
	}
}

// resendLocked begins or resumes the stream to a copy that is behind, from
// what it has; it reports whether the ring reaches back that far.
func (n *Node) resendLocked(s *slot, l *link, from uint64) bool {
	if s.ring.base > from || from < firstVersion(s.view.Known.Epoch) {
		return false
	}
	l.started, l.parked = true, false
	s.untellLocked(l)
	prev := from
	for i := range s.ring.entries {
		e := &s.ring.entries[i]
		if e.version <= from {
			continue
		}
		a := n.appendOf(s, e, prev, nil)
		a.Session = l.session
		n.sendInTurn(l, &a)
		if !l.started || l.parked {
			return true // the stream is down or full: its next gap or start repeats
		}
		prev = e.version
	}
	return true
}

// goOnLocked sends a copy what comes after what it has. What the ring has forgotten is
// for restartLocked to judge: nothing else would find that out while the copy is parked.
func (n *Node) goOnLocked(s *slot, l *link) {
	if !n.resendLocked(s, l, l.acked) {
		l.started = false
		n.agenda.note(s.no)
	}
}

// restartLocked takes up the streams that broke off: the queue was full, the
// connection ended, or the copy had no room.
func (n *Node) restartLocked(s *slot) {
	for _, l := range s.links {
		if l.started || l.peer.live() == nil {
			continue
		}
		if first := firstVersion(s.view.Known.Epoch); l.acked < first {
			if l.session == 0 { // no learner: it never heard of the stream
				n.greetLocked(s, l, 0)
				n.resendLocked(s, l, first)
			}
			continue
		}
		if !n.resendLocked(s, l, l.acked) {
			if s.learner != nil && s.learner.link == l {
				n.stopCopyLocked(s)
			} else {
				n.lose(s.no, l.peer.id)
			}
		}
	}
}

// AppendAck takes in how far a copy has got. (transport.Handler)
func (n *Node) AppendAck(p *transport.Peer, a *transport.AppendAck) {
	if a.Session == nearSession {
		n.onRevoked(shard.NodeID(p.ID()), a.Slot, a.Version)
		return
	}
	s := &n.slots[a.Slot%shard.Slots]
	s.mu.Lock()
	l := s.links.to(shard.NodeID(p.ID()))
	if l == nil || !s.view.Primary || s.view.Known.Epoch != a.Epoch || l.session != a.Session {
		s.mu.Unlock()
		return
	}
	var ready []waiter
	switch {
	case a.Refused:
		// It has promised a higher epoch, or this one to another node: whichever, it
		// follows none but a higher one.
		l.started = false
		n.agenda.note(s.no)
		n.post(event{kind: evSee, slot: s.no, epoch: max(a.Version, a.Epoch+1)})
	case a.Gap && a.Short:
		l.started = false // see restartLocked
		n.agenda.note(s.no)
	case a.Gap && !l.started:
		// It says so of all that was on its way when the stream broke off, which begins
		// again from what it has.
	case a.Gap:
		if !n.resendLocked(s, l, a.Version) {
			l.started = false
			n.lose(s.no, l.peer.id)
		}
	default:
		// A stream's beginning is acknowledged before the slot opens.
		if a.Version > l.acked && a.Version <= max(s.last, firstVersion(a.Epoch)) {
			l.acked = a.Version
			if l.started && l.parked && l.acked >= l.awaited {
				n.goOnLocked(s, l)
			}
			ready = n.advanceLocked(s)
		}
		if s.settle != nil && s.settle.begun {
			n.settled(s, l.peer.id)
		}
		if g := s.learner; g != nil && g.link == l {
			n.learnerAckedLocked(s, g)
		}
	}
	if a.Short {
		n.relief.Store(64)
		n.wakeEvict()
	}
	s.mu.Unlock()
	for _, w := range ready {
		if w.told == l {
			w.done(errAnswered)
		} else {
			w.done(nil)
		}
	}
}

// Append stores what a primary sends to this copy. (transport.Handler)
func (n *Node) Append(p *transport.Peer, a *transport.Append) {
	if a.Session == nearSession {
		n.onRevoke(p, a)
		return
	}
	s := &n.slots[a.Slot%shard.Slots]
	from := shard.NodeID(p.ID())
	takes := len(a.Records) == 0 && a.Cause != causeFloor || n.diskTakes()
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Session == reportSession {
		n.reportedLocked(s, from, a)
		return
	}
	if a.Version>>seqBits > a.Epoch {
		return // no primary gives such versions; following it would leave none for those after
	}
	ack := transport.AppendAck{Slot: s.no, Epoch: a.Epoch, Session: a.Session}
	if pr := s.view.Promised; (a.Epoch < pr.Epoch || a.Epoch == pr.Epoch && pr.To != from) && !n.cfg.Off.Fence {
		n.refuseLocked(s, from, a.Epoch, a.Session)
		return
	}
	st := &s.stream
	switch {
	case a.Prev == 0 && a.Session != 0:
		n.post(event{kind: evBegin, begin: copyBegin{
			from: from, slot: s.no, epoch: a.Epoch, session: a.Session, version: a.Version, mark: a.Mark, empty: a.Cause == causeEmpty,
		}})
		return
	case a.Prev == 0:
		n.beginStreamLocked(s, from, a)
	case a.Prev == inheritPrev:
		if !n.takeInLocked(s, a) && n.lostDisk.Load() != nil {
			n.forgo(from, s.no)
		}
		return
	case st.primary != from || st.epoch != a.Epoch || st.session != a.Session:
		return // a stream this copy is no part of
	case a.Cause == causeFate:
		n.takeFateLocked(s, a)
		return
	case st.missed && a.Prev > st.pos:
		return
	case a.Prev > st.pos:
		ack.Gap, ack.Version = true, st.pos
		_ = p.SendAck(&ack)
		return
	case a.Cause == causeFloor, a.Cause == causeMark:
		if a.Cause == causeFloor && !st.filling && takes { // or the next floor removes what this one would
			_ = n.engine.Purge(s.no, a.Mark)
		}
		s.ackedUpTo(a.Mark)
		return
	case a.Version > st.pos && !takes:
		st.missed = true
		n.missed.Store(true)
		return
	case a.Version > st.pos:
		if !n.storeLocked(p, s, a, &ack) {
			return
		}
	default:
		a.Answers = 0 // it did when it came first
	}
	if s.stream.primary != from || s.stream.epoch != a.Epoch {
		return
	}
	n.ackLocked(s)
	if a.Answers != 0 {
		p.Answer(a)
	}
}

// storeLocked stores an append that follows what this copy has, and reports whether it
// is to be acknowledged. ack tells the primary where memory is short.
func (n *Node) storeLocked(p *transport.Peer, s *slot, a *transport.Append, ack *transport.AppendAck) bool {
	st := &s.stream
	recs := recordsOf(a)
	var err error
	if st.filling {
		err = n.engine.ApplyTo(s.no, st.gen, recs)
	} else {
		err = n.engine.Apply(s.no, recs)
	}
	if errors.Is(err, store.ErrNoMemory) {
		n.wakeEvict()
		ack.Gap, ack.Short, ack.Version = true, true, st.pos
		_ = p.SendAck(ack)
		return false // sent again when there is room
	}
	if err != nil {
		if n.notStored("backup cannot store", s.no, err); n.lostDisk.Load() != nil {
			n.forgo(st.primary, s.no)
		}
		return false // not acknowledged: the primary drops this copy
	}
	st.pos = a.Version
	s.last = a.Version
	e := entry{version: a.Version, cause: a.Cause, call: a.Call, result: a.Result}
	e.result.Value = bytes.Clone(a.Result.Value)
	for i, r := range recs { // the engine has its own copy
		if recs[i] = own(r); r.Origin != 0 {
			s.foreignLocked(a.Epoch)
		}
	}
	e.records = recs
	e.size = entrySize(&e)
	s.ring.add(e)
	n.ringBytes.Add(int64(e.size))
	s.ackedUpTo(a.Mark)
	n.trimLocked(s)
	return true
}

// ackedUpTo raises the acknowledged mark of a copy.
func (s *slot) ackedUpTo(mark uint64) {
	if mark > s.acked.Load() {
		s.acked.Store(mark)
		s.heard(mark)
	}
}

// refuseLocked tells a primary of the higher epoch that this node has promised.
func (n *Node) refuseLocked(s *slot, from shard.NodeID, epoch, session uint64) {
	if t := n.peer(from).live(); t != nil {
		_ = t.SendAck(&transport.AppendAck{Slot: s.no, Epoch: epoch, Session: session, Version: s.view.Promised.Epoch, Refused: true})
	}
}

// ackLocked acknowledges to the slot's primary what this copy holds.
func (n *Node) ackLocked(s *slot) {
	st := &s.stream
	t := n.peer(st.primary).live()
	if t == nil {
		return
	}
	pos := st.pos
	if n.cfg.SyncWrites && !st.filling && s.durable < pos {
		pos = max(s.durable, st.base)
	}
	_ = t.SendAck(&transport.AppendAck{Slot: s.no, Epoch: st.epoch, Session: st.session, Version: pos, Short: n.engine.Short(0)})
}

func recordsOf(a *transport.Append) []store.Record {
	recs := make([]store.Record, len(a.Records))
	for i := range a.Records {
		recs[i] = store.Record(a.Records[i])
	}
	return recs
}

// lose asks the control loop to drop a copy from a slot's claim.
func (n *Node) lose(slot uint16, id shard.NodeID) { n.post(event{kind: evLose, slot: slot, id: id}) }
