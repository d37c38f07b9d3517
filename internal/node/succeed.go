package node

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Markers in appends that are no ordinary link of a stream.
const (
	reportSession = math.MaxUint64 // to a new primary: a record above the acknowledged mark
	inheritPrev   = math.MaxUint64 // from a new primary: a record of the union
	causeFloor    = 1              // Append.Cause: purge tombstones up to Mark
	causeEmpty    = 2              // with the beginning of a copy: there is nothing to copy
	causeMark     = 4              // all up to Mark is acknowledged
	causeFate     = 3              // a call of before the copy; the last one has none, but the mark above which that were all
)

// settlement is a new primary's exchange of unacknowledged records with the
// backups its claim lists.
type settlement struct {
	epoch   uint64
	asked   int64
	reports map[shard.NodeID]*report
	begun   bool // the union went out
}

// report is what a backup has told so far. Its end may come before its records: large
// ones go by another connection.
type report struct {
	versions map[uint64]bool // of the appends that came and are stored
	lacks    bool            // one could not be, since it last ended: it is asked for again
	ended    bool
	of       int64 // appends, once it has ended
}

// reported reports whether all that a backup has to tell is here.
func (t *settlement) reported(id shard.NodeID) bool {
	r := t.reports[id]
	return r != nil && r.ended && int64(len(r.versions)) >= r.of
}

// applyView brings the data path of a slot in line with what the claims say.
// Only the control loop calls it.
func (n *Node) applyView(no uint16, v shard.View) {
	s := &n.slots[no]
	s.mu.Lock()
	old := s.view
	s.view = v
	if h := old.Handover; !h.IsZero() && v.Known != nil && v.Known.Primary == h {
		n.stats.handoversDone.Add(1)
	}
	switch {
	case v.Known == nil:
	case v.Known.Holds(n.id):
		if was := s.standing.Load(); v.Open && was != nil && was.Primary != n.id {
			n.succeedClock(s.stream.primary)
		}
		n.merger.note(n.id, old.Known, v.Known, s.acked.Load())
		s.leftAt.Store(0)
		s.standLocked(n.id)
	case s.standing.Load() != nil && n.deposes(v.Known, s.standing.Load()):
		n.deposedLocked(s, v.Known)
	}
	if v.Known != nil && v.Known.Primary != n.id && !n.past.old[v.Known.Primary] {
		s.gather = nil
	}
	if d := s.duty; d != nil && (v.Open || d.restored(v.Known)) {
		n.dischargeLocked(s) // this node serves what it owes, or its lineage goes on after all
		if !v.Known.Holds(n.id) {
			s.leftAt.Store(n.now())
		}
	}
	var ready, failed []waiter
	var sent []*guest
	if v.Open {
		n.serveLocked(s, old)
		ready = s.takeAckedLocked() // it may have been open before, under a lower epoch
	} else {
		if s.serving.Load() != nil {
			s.darkSince.Store(n.now())
		}
		s.shut()
		if n.feeds.any() && old.Open {
			n.unfeed(no)
		}
		failed = s.takeWaitersLocked()
		sent = n.takeGuestsLocked(s)
		if s.learner != nil {
			n.stopCopyLocked(s)
		}
		s.hold = nil
	}
	if v.Settling {
		n.settleLocked(s)
	} else {
		s.settle = nil
	}
	if !v.Primary {
		s.links = nil
	}
	s.noteLocked()
	ready = append(ready, n.advanceLocked(s)...)
	s.wakeLocked()
	s.mu.Unlock()
	finish(ready, nil)
	finish(failed, errRepeat)
	n.callAgain(sent)
}

// serveLocked opens the slot for calls, or changes the set of an open one.
func (n *Node) serveLocked(s *slot, old shard.View) {
	cl := s.view.Known
	if !old.Open || old.Known.Epoch != cl.Epoch {
		// Everything inherited is held by every copy the claim lists.
		s.last = max(s.last, firstVersion(cl.Epoch))
		s.acked.Store(s.revocationsLocked(s.last))
		s.heard(s.acked.Load())
		if s.acked.Load() == s.last {
			s.pendingSince.Store(0)
		}
		s.hold = nil
		n.opened++
		if t := s.settle; t == nil || t.epoch != cl.Epoch || !t.begun {
			// By invitation: nobody had anything to report.
			s.links = nil
			for _, id := range cl.Backups {
				l := &link{peer: n.peer(id)}
				s.linkLocked(l)
				n.greetLocked(s, l, 0)
			}
		}
	}
	keep := s.view.Required
	for _, l := range s.links {
		if !slices.Contains(keep, l.peer.id) && (s.learner == nil || s.learner.link.peer.id != l.peer.id) {
			s.links = s.links.without(l)
		}
	}
	if g := s.learner; g != nil && cl.Holds(g.link.peer.id) {
		s.learner = nil // it is listed: an ordinary backup from now on
		n.stats.copiesDone.Add(1)
	}
	l := &licence{}
	for _, id := range s.view.Required {
		l.lenders = append(l.lenders, n.peer(id))
	}
	if len(cl.Backups) == 0 && len(cl.Witnesses) > 0 {
		for _, id := range cl.Witnesses {
			l.voters = append(l.voters, n.peer(id))
		}
		// So many that those left are no quorum without this node.
		l.needed = max(0, len(l.voters)+1-shard.Quorum(1+len(l.voters)))
	}
	if n.cfg.Off.Leases {
		*l = licence{}
	}
	if s.gather != nil && s.gather.epoch == 0 {
		s.gather.epoch = cl.Epoch
	}
	sv := &serving{cl, n.shareLicence(l), uint32(n.now()/int64(time.Second)) + 1, s.gather != nil}
	if was := s.serving.Load(); was != nil && was.claim.Epoch == cl.Epoch {
		sv.since = was.since
	}
	s.serve(sv)
}

// settleLocked asks the listed backups for their records above the
// acknowledged mark, and sends the union once all have told.
func (n *Node) settleLocked(s *slot) {
	epoch := s.view.Known.Epoch
	if s.settle == nil || s.settle.epoch != epoch {
		s.settle = &settlement{epoch: epoch, reports: map[shard.NodeID]*report{}}
		s.links = nil
		n.settling = append(n.settling, s.no)
	}
	for id := range s.settle.reports {
		if !s.view.Known.Holds(id) {
			delete(s.settle.reports, id)
		}
	}
	n.unionLocked(s)
}

// reportedLocked takes in what a backup reports; an empty report says how much it was.
func (n *Node) reportedLocked(s *slot, from shard.NodeID, a *transport.Append) {
	t := s.settle
	if t == nil || t.epoch != a.Epoch || !s.view.Known.Holds(from) {
		return
	}
	r := t.reports[from]
	if r == nil {
		r = &report{versions: map[uint64]bool{}}
		t.reports[from] = r
	}
	switch {
	case len(a.Records) == 0: // without all of it, it would go on from less than that copy has
		r.ended, r.of, r.lacks = !r.lacks, a.Result.Int, false
	case n.takeInLocked(s, a):
		r.versions[a.Version] = true
	default:
		r.lacks = true
	}
	if !t.begun {
		n.unionLocked(s)
	}
}

// takeInLocked adds a record of before this epoch to the copy and its ring.
func (n *Node) takeInLocked(s *slot, a *transport.Append) bool {
	if n.jammed() {
		return false // it is sent again
	}
	recs := recordsOf(a)
	if err := n.engine.Apply(s.no, recs); err != nil {
		n.notStored("copy cannot store", s.no, err)
		return false
	}
	e := entry{version: a.Version, cause: a.Cause, call: a.Call, result: a.Result}
	e.result.Value = bytes.Clone(a.Result.Value)
	for _, r := range recs {
		e.records = append(e.records, own(r))
		if r.Origin != 0 {
			s.foreignLocked(a.Version >> seqBits)
		}
	}
	e.size = entrySize(&e)
	before := s.ring.bytes
	s.ring.add(e)
	n.ringBytes.Add(int64(s.ring.bytes - before))
	return true
}

// unionLocked sends the union to every listed backup and begins its stream.
func (n *Node) unionLocked(s *slot) {
	t := s.settle
	if t.begun {
		// A backup whose stream broke off is begun again.
		for _, l := range s.links {
			if !l.started {
				n.beginLocked(s, l)
			}
		}
		return
	}
	for _, id := range s.view.Known.Backups {
		if !t.reported(id) {
			return
		}
	}
	t.begun = true
	for _, id := range s.view.Known.Backups {
		l := &link{peer: n.peer(id)}
		s.linkLocked(l)
		n.beginLocked(s, l)
	}
}

func (n *Node) beginLocked(s *slot, l *link) {
	l.started = true
	union := s.ring.after(s.acked.Load())
	for i := range union {
		a := n.appendOf(s, &union[i], inheritPrev, nil)
		n.sendAppend(l, &a)
	}
	n.greetLocked(s, l, len(union))
}

// greetLocked begins the stream of this primary's epoch to a backup that holds
// all of before it, once it has the union, of so many appends.
func (n *Node) greetLocked(s *slot, l *link, union int) {
	l.started = true
	a := transport.Append{Slot: s.no, Epoch: s.view.Known.Epoch, Version: firstVersion(s.view.Known.Epoch), Mark: s.acked.Load()}
	a.Result.Int = int64(union)
	n.sendAppend(l, &a)
}

// beginStreamLocked follows a new primary from the beginning of its epoch.
func (n *Node) beginStreamLocked(s *slot, from shard.NodeID, a *transport.Append) {
	if s.stream.primary == from && s.stream.epoch == a.Epoch && s.stream.session == 0 {
		return // begun already; the acknowledgement was lost
	}
	if int64(len(s.ring.after(a.Mark))) < a.Result.Int {
		return // some of it is still to come, or could not be stored: this is said again
	}
	n.leaveStreamLocked(s)
	s.stream = stream{primary: from, epoch: a.Epoch, pos: a.Version, base: a.Version}
	s.last = max(s.last, a.Version)
	s.standLocked(n.id)
	s.noteLocked()
}

// leaveStreamLocked ends what the copy followed; an unfinished generation goes.
func (n *Node) leaveStreamLocked(s *slot) {
	if s.stream.filling {
		_ = n.engine.Abort(s.no, s.stream.gen)
		n.filling.Add(-1)
	}
	s.stream = stream{}
}

// report answers a new primary's question. It goes over the data stream, so
// that it stands before whatever this node sends there later.
func (n *Node) report(from shard.NodeID, no uint16, epoch uint64) {
	t := n.peer(from).live()
	if t == nil {
		return
	}
	s := &n.slots[no]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.Promised != (shard.Ballot{Epoch: epoch, To: from}) || s.stream.filling || s.view.Known != nil && s.strays(s.view.Known) {
		return
	}
	end := transport.Append{Slot: no, Epoch: epoch, Session: reportSession, Prev: 1, Version: 1}
	for _, e := range s.ring.after(s.acked.Load()) {
		if len(e.records) == 0 {
			continue // the call alone, of before the copy; and a report without records is the end
		}
		a := transport.Append{
			Slot: no, Epoch: epoch, Session: reportSession, Prev: 1, Version: e.version, Cause: e.cause, Call: e.call, Result: e.result,
			Records: make([]transport.Record, len(e.records)),
		}
		for i, r := range e.records {
			a.Records[i] = transport.Record(r)
		}
		if t.SendAppend(&a) != nil {
			return
		}
		end.Result.Int++
	}
	_ = t.SendAppend(&end)
}

// settled tells the control loop that a backup holds the union.
func (n *Node) settled(s *slot, id shard.NodeID) {
	n.post(event{kind: evSettled, slot: s.no, id: id, epoch: s.settle.epoch})
}

// pressSettlements repeats questions not answered. Control loop only.
func (n *Node) pressSettlements(now int64) {
	slots := n.settling
	n.settling = nil
	ask := map[shard.NodeID][]uint16{}
	epochs := map[uint16]uint64{}
	for _, no := range slots {
		s := &n.slots[no]
		s.mu.Lock()
		if t := s.settle; t != nil {
			n.settling = append(n.settling, no)
			if t.asked == 0 || now-t.asked > int64(n.resend) {
				t.asked = now
				for _, id := range s.view.Known.Backups {
					if !t.reported(id) {
						ask[id] = append(ask[id], no)
						epochs[no] = t.epoch
					} else if l := s.links.to(id); l != nil && t.begun && l.acked == 0 {
						n.beginLocked(s, l)
					}
				}
			}
		}
		s.mu.Unlock()
	}
	for id, slots := range ask {
		n.sendControl(id, settleBody(slots, epochs))
	}
}
