package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// What a ring forgets first are records: the calls are known for longer.
func TestRingForgetsRecordsBeforeCalls(t *testing.T) {
	var r ring
	r.reset(10)
	for v := uint64(11); v <= 20; v++ {
		e := entry{version: v, call: transport.CallID{Number: v}, records: []store.Record{{Value: make([]byte, 1000), Version: v}}}
		e.size = entrySize(&e)
		r.add(e)
	}
	r.trim(18, 4*1200)
	if r.base <= 10 || r.base > 18 || r.fates != 10 {
		t.Errorf("base %d, fates %d after a trim, want a base among the acknowledged, all calls known above 10", r.base, r.fates)
	}
	for v := uint64(11); v <= 20; v++ {
		e := r.find(transport.CallID{Number: v})
		if e == nil || e.version != v {
			t.Fatalf("call %d is not found", v)
		}
		if whole := e.records != nil; whole != (v > r.base) {
			t.Errorf("append %d has its records: %v, base is %d", v, whole, r.base)
		}
	}
	r.trim(18, 0)
	if r.base != 18 || r.fates != 18 || r.find(transport.CallID{Number: 18}) != nil || r.find(transport.CallID{Number: 19}) == nil {
		t.Errorf("base %d, fates %d after a trim to nothing, want all but what is not acknowledged forgotten", r.base, r.fates)
	}
	if size := entrySize(&r.entries[0]) + entrySize(&r.entries[1]); r.bytes != size {
		t.Errorf("ring counts %d bytes, want %d", r.bytes, size)
	}
}

// Small records of the newest appends stay too, though their calls alone take half
// as much.
func TestRingKeepsTheNewestRecords(t *testing.T) {
	var r ring
	r.reset(10)
	const n, limit = 1000, 100_000
	for v := uint64(11); v < 11+n; v++ {
		e := entry{version: v, records: []store.Record{{Key: "key", Version: v}}}
		e.size = entrySize(&e)
		r.add(e)
	}
	if r.trim(10+n, limit); r.bytes > limit {
		t.Errorf("%d bytes after a trim to %d", r.bytes, limit)
	}
	size := 0
	for _, e := range r.after(r.base) {
		if e.records == nil {
			t.Fatalf("append %d has no records, base is %d", e.version, r.base)
		}
		size += e.size
	}
	if size < limit/3 || r.fates >= r.base {
		t.Errorf("%d bytes of whole appends after a trim to %d, want about half; calls are known above %d, base is %d", size, limit, r.fates, r.base)
	}
}

// Where all rings together are too large, a slot with many writes keeps more of them
// than one with few, and all together keep the limit.
func TestCrampedRingsAreSharedByNeed(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	version := firstVersion(1)
	write := func(no uint16, size int) *slot {
		version++
		s := &n.slots[no]
		s.view.Known = &shard.Claim{Slot: no, Epoch: 1}
		s.acked.Store(version - 1)
		n.appendLocked(s, entry{version: version, records: []store.Record{{Key: "key", Version: version, Value: make([]byte, size)}}})
		return s
	}
	for n.ringBytes.Load() < ringLimit-10_000 {
		for no := range uint16(200) {
			write(1000+no, 2000)
		}
	}
	least := slotRing
	for i := range 100_000 {
		kept := write(5, 10).ring.bytes
		if write(1000+uint16(i/10%200), 2000); n.ringBytes.Load() > ringLimit+10_000 {
			t.Fatalf("rings take %d bytes, want at most %d", n.ringBytes.Load(), ringLimit)
		}
		if i > 10_000 {
			least = min(least, kept)
		}
	}
	if least < slotRing/32 {
		t.Errorf("the ring of the slot with most writes had %d bytes left", least)
	}
}

// What another side of a fork ran stays unknown when calls of before are forgotten.
func TestTrimKeepsWhatIsUnknown(t *testing.T) {
	s := &slot{}
	r := &s.ring
	r.reset(firstVersion(1))
	for i := range uint64(10) {
		e := entry{version: firstVersion(1) + i + 1, call: transport.CallID{Number: i + 1}, records: []store.Record{{Value: make([]byte, 1000)}}}
		e.size = entrySize(&e)
		r.add(e)
	}
	s.foreignLocked(3)
	if r.trim(firstVersion(3), 400); r.fates != firstVersion(3) {
		t.Errorf("fates are known from %x, want %x", r.fates, firstVersion(3))
	}
}

// What a copy is sent once more does not answer its own calls: this node does.
func TestWhatIsSentAgainAnswersNothing(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	s := &n.slots[5]
	s.view.Known = &shard.Claim{Slot: 5, Epoch: 1}
	l, other := &link{peer: &peer{}}, &link{}
	s.waiters = []waiter{{version: 1, told: l}, {version: 2, told: other}}
	if !n.resendLocked(s, l, firstVersion(1)) || s.waiters[0].told != nil || s.waiters[1].told != other {
		t.Errorf("waiters are %+v, want the first told by none, the second by its copy", s.waiters)
	}
}

// A copy without room refuses each append that was on its way: the stream is taken up
// once, when the control loop gets to it.
func TestGapsOfABrokenStreamSendNothingAgain(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	s, p := &n.slots[5], &transport.Peer{}
	l := &link{peer: &peer{id: shard.NodeID(p.ID())}, started: true}
	s.view.Known, s.view.Primary, s.links = &shard.Claim{Slot: 5, Epoch: 1}, true, links{l}
	gap := transport.AppendAck{Slot: 5, Epoch: 1, Version: firstVersion(1), Gap: true, Short: true}
	for range 3 {
		n.AppendAck(p, &gap)
		if l.started {
			t.Fatal("the stream goes on")
		}
		gap.Short = false
	}
	l.started = true
	n.AppendAck(p, &gap)
	if !l.started {
		t.Error("a gap in a stream that is under way stops it")
	}
}
