package node

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// A write may wait for a learner alone, and a read for that write. When the learner
// is given up both end, and the read takes the slot's lock for what its near cache
// is promised.
func TestReadEndsWithTheCopyItWaitsFor(t *testing.T) {
	n, s := openSlot(t)
	l := &link{peer: n.peer(shard.NewNodeID(2, 2)), session: 7, started: true, acked: s.last}
	s.linkLocked(l)
	s.learner = &learning{link: l, session: 7, stage: stageCopied, waited: true}
	s.last++
	if err := n.engine.Apply(5, []store.Record{{Key: "k", Value: []byte("v"), Version: s.last}}); err != nil {
		t.Fatal(err)
	}
	n.answerRead(new(transport.Peer), &transport.Request{Call: Call{Op: transport.OpGet, Slot: 5, Key: "k", Flags: transport.FlagNear}})
	if len(s.waiters) != 1 {
		t.Fatalf("%d waiters, want the read", len(s.waiters))
	}
	n.improve(s, nil, int64(2*copyStall)) // nothing was heard of the learner since 0
	if s.learner != nil || len(s.waiters) != 0 || s.acked.Load() != s.last {
		t.Errorf("learner %v, %d waiters, acknowledged %d of %d", s.learner, len(s.waiters), s.acked.Load(), s.last)
	}
}

// A learner that waits for its turn to get a large append is not waited for by others,
// so the ring may forget that append first.
func TestParkedLearnerBehindTheRingStartsAnew(t *testing.T) {
	n, s := openSlot(t)
	v := s.last + 1
	l := &link{peer: n.peer(shard.NodeID{}), session: 7, started: true, parked: true, acked: s.last, awaited: v}
	s.linkLocked(l)
	s.learner = &learning{link: l, session: 7, stage: stageCopying}
	s.last, s.ring.base = v+1, v+1
	n.AppendAck(new(transport.Peer), &transport.AppendAck{Slot: 5, Epoch: 1, Session: 7, Version: v})
	if l.acked != v || l.started {
		t.Errorf("acknowledged %d of %d, started %v: nothing is sent to it, and nobody looks", l.acked, v, l.started)
	}
}

// A peer whose disk hangs takes in no chunk. Those who send copies are few, and are for
// the copies of others until it may take in some again.
func TestNoCopiesBeginOnAPeerThatStalls(t *testing.T) {
	n, s := openSlot(t)
	n.outlook.settled, n.copies = true, newWindow(maxCopies)
	n.env.Uint64 = rand.Uint64
	p := n.peer(shard.NewNodeID(2, 2))
	p.t.Store(new(transport.Peer))
	p.up.Store(true)
	begins := func(now time.Duration) bool {
		p.leaseMono.Store(int64(now))
		_, lacks := n.fillLocked(s, n.id, []shard.NodeID{p.id}, int64(now))
		return lacks && s.learner != nil
	}
	p.stalledAt.Store(int64(chunkStall))
	if begins(chunkStall + time.Second) {
		t.Error("a copy begins on a peer that has just stalled")
	}
	if !begins(chunkStall + stallRest) {
		t.Error("no copy begins later")
	}
}

// Nor is it offered what a fork left, by the same few goroutines.
func TestNothingIsOfferedToAPeerThatStalls(t *testing.T) {
	n, _ := openSlot(t)
	s, p := &n.slots[6], n.peer(shard.NewNodeID(2, 2))
	s.duty = &duty{claim: &shard.Claim{Slot: 6, Epoch: 2}}
	s.view.Known = &shard.Claim{Slot: 6, Epoch: 3, Primary: p.id}
	p.stalledAt.Store(max(n.now(), 1))
	n.onOfferWord(p.id, 6, 3, offerSend)
	if s.duty.offering != 0 || len(n.jobs) != 0 {
		t.Error("records are offered to a peer that has just stalled")
	}
	p.stalledAt.Store(0)
	n.onOfferWord(p.id, 6, 3, offerSend)
	if s.duty.offering == 0 || len(n.jobs) != 1 || !n.jobs[0].digest {
		t.Error("its digest is not offered later")
	}
}
