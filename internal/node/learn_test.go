package node

import (
	"math"
	"strconv"
	"testing"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// A copy that cannot begin, since the node has records of a lost fork to hand over
// first, begins when it has: or the primary waits for it until it gives up.
func TestCopyBeginsWhenTheDutyIsDone(t *testing.T) {
	primary := shard.NewNodeID(2, 1)
	n := &Node{id: shard.NewNodeID(1, 1)}
	begins := make([]copyBegin, 2) // used again, as the control loop does
	for i := range begins {
		no := uint16(i)
		s := &n.slots[no]
		s.no, s.front, s.duty = no, &n.fronts[no], &duty{claim: &shard.Claim{Slot: no}}
		begins[i] = copyBegin{from: primary, slot: no, epoch: 3, session: uint64(100 + i)}
	}
	n.beginCopies(begins)
	clear(begins)
	if len(n.events) > 0 {
		t.Fatal("a copy begins before its time")
	}
	for i := range begins {
		s := &n.slots[i]
		n.dischargeLocked(s)
		n.dischargeLocked(s)
		if len(n.events) != i+1 {
			t.Fatalf("%d copies begin, want %d", len(n.events), i+1)
		}
		if e := n.events[i]; e.kind != evBegin || e.begin.from != primary || e.begin.slot != uint16(i) || e.begin.session != uint64(100+i) {
			t.Errorf("what begins is %+v", e.begin)
		}
	}
}

// One that the primary gave up meanwhile does not take the place of the next, which
// came while it was about to begin: the primary would wait for an answer to that.
func TestCopyThatWaitedGivesWay(t *testing.T) {
	primary := shard.NewNodeID(2, 1)
	n := &Node{id: shard.NewNodeID(1, 1), peers: map[shard.NodeID]*peer{}, env: env.System(), engine: store.NewMemory(store.MemoryOptions{Limit: 1 << 20}), merger: newMerger()}
	s := &n.slots[5]
	s.no, s.front, s.duty = 5, &n.fronts[5], &duty{claim: &shard.Claim{Slot: 5}}
	begin := copyBegin{from: primary, slot: 5, epoch: 3, session: 100}
	n.beginCopies([]copyBegin{begin})
	n.dischargeLocked(s)
	waited := n.events[0].begin
	begin.session = 101
	n.beginCopies([]copyBegin{begin, waited})
	if s.stream.session != 101 {
		t.Errorf("copy %d is under way, want 101", s.stream.session)
	}
	s.stream.epoch = 2 // as of another claim
	n.beginCopies([]copyBegin{waited})
	if s.stream.session != 100 {
		t.Errorf("copy %d is under way, want 100", s.stream.session)
	}
}

// confirming counts the copies made of records that were there.
type confirming struct {
	store.Engine
	confirms int
}

func (e *confirming) Confirm(slot uint16, gen store.Generation, lo, hi uint64, want store.Digest) (bool, error) {
	e.confirms++
	return e.Engine.Confirm(slot, gen, lo, hi, want)
}

// A learner that has what its primary has makes no copy of that, unless something came
// with the stream meanwhile; and follows the stream then.
func TestLearnerKeepsWhatItHas(t *testing.T) {
	for _, live := range []int{0, 1} {
		n := newMetaDisk().started(shard.NewNodeID(1, 1))
		e := &confirming{Engine: n.engine}
		n.engine, n.peers = e, map[shard.NodeID]*peer{}
		n.granting, n.lobby = newGranting(), newLobby()
		p := new(transport.Peer)
		s, base := &n.slots[5], firstVersion(3)+100
		s.view.Promised = shard.Ballot{Epoch: 3, To: shard.NodeID(p.ID())}
		if err := e.Apply(5, []store.Record{{Key: "old", Value: []byte("v"), Version: base - 1}}); err != nil {
			t.Fatal(err)
		}
		d, err := e.Digest(5, 0, math.MaxUint64)
		if err != nil {
			t.Fatal(err)
		}
		n.beginCopyLocked(s, &copyBegin{from: shard.NodeID(p.ID()), slot: 5, epoch: 3, session: 9, version: base, mark: base})
		pos := base
		follow := func() {
			pos++
			n.Append(p, &transport.Append{Slot: 5, Epoch: 3, Session: 9, Prev: pos - 1, Version: pos, Mark: pos - 1,
				Records: []transport.Record{{Key: strconv.FormatUint(pos, 10), Version: pos}}})
		}
		for range live {
			follow()
		}
		n.Chunk(p, &transport.Chunk{Slot: 5, Session: 9, Kind: chunkDigest, Hi: math.MaxUint64, Sum: d.Sum, Count: uint64(d.Records)})
		follow()
		if e.confirms != live {
			t.Errorf("%d writes came meanwhile, and %d copies were made", live, e.confirms)
		}
		if s.stream.filling || s.stream.pos != pos {
			t.Errorf("%d writes came meanwhile: filling %v, at %d of %d", live, s.stream.filling, s.stream.pos, pos)
		}
		if got := e.SlotStats(5).Records; got != 2+live {
			t.Errorf("%d writes came meanwhile: %d records, want %d", live, got, 2+live)
		}
	}
}

// Live writes reach a learner before the calls of before the copy. What of either its
// ring had no room for it does not claim to know, though its primary's ring does: a
// repeat would run again.
func TestLearnerKnowsWhatItForgot(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	n.peers = map[shard.NodeID]*peer{}
	n.granting, n.lobby = newGranting(), newLobby()
	n.ringBytes.Store(ringLimit + 1) // rings are small
	p := new(transport.Peer)
	s, base := &n.slots[5], firstVersion(3)+100
	s.view.Promised = shard.Ballot{Epoch: 3, To: shard.NodeID(p.ID())}
	n.beginCopyLocked(s, &copyBegin{from: shard.NodeID(p.ID()), slot: 5, epoch: 3, session: 9, version: base, mark: base, empty: true})
	live := func(number uint64) {
		n.Append(p, &transport.Append{Slot: 5, Epoch: 3, Session: 9, Prev: base + number - 1, Version: base + number, Mark: base + number - 1,
			Call: transport.CallID{Number: number}, Records: []transport.Record{{Key: "k", Value: make([]byte, 100), Version: base + number}}})
	}
	fate := func(number, version, mark uint64) {
		n.Append(p, &transport.Append{Slot: 5, Epoch: 3, Session: 9, Prev: 1, Version: version, Cause: causeFate, Mark: mark, Call: transport.CallID{Number: number}})
	}
	live(1)
	for i := range uint64(40) {
		fate(1000+i, firstVersion(3)+i+1, 0)
	}
	live(2)
	fate(0, base, firstVersion(3))
	if s.ring.find(transport.CallID{Number: 1000}) != nil {
		t.Fatal("the ring has room for all")
	}
	if s.ring.find(transport.CallID{Number: 1039}) == nil || s.ring.fates >= firstVersion(3)+40 {
		t.Errorf("knows all above %#x, and the last call of before is in the ring", s.ring.fates)
	}
	for i := range uint64(40) {
		if version := firstVersion(3) + i + 1; version > s.ring.fates && s.ring.find(transport.CallID{Number: 1000 + i}) == nil {
			t.Fatalf("claims to know all above %#x, and has forgotten %#x", s.ring.fates, version)
		}
	}
	for i := range uint64(40) {
		live(3 + i)
	}
	if s.ring.find(transport.CallID{Number: 1}) != nil || s.ring.fates <= base {
		t.Errorf("claims to know all above %#x after %#x was forgotten", s.ring.fates, base+1)
	}
}

// What a primary that takes over hears from the others may be taken over from another
// side of a fork, whose calls nobody here knows.
func TestWhatIsTakenInMayBeForeign(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	s := &n.slots[5]
	n.takeInLocked(s, &transport.Append{Slot: 5, Version: firstVersion(4) + 1, Records: []transport.Record{{Key: "k", Version: firstVersion(4) + 1, Origin: firstVersion(2) + 7}}})
	if s.ring.fates != firstVersion(4) {
		t.Errorf("claims to know all above %#x", s.ring.fates)
	}
}
