package node

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
)

// metaDisk is an engine whose meta values outlive nodes, and cannot be written
// while it fails.
type metaDisk struct {
	store.Engine
	meta  map[string][]byte
	fails bool
}

func newMetaDisk() *metaDisk {
	return &metaDisk{Engine: store.NewMemory(store.MemoryOptions{}), meta: map[string][]byte{}}
}

func (d *metaDisk) Durable() bool { return true }

func (d *metaDisk) Meta(prefix string, f func(string, []byte) bool) error {
	for name, v := range d.meta {
		if strings.HasPrefix(name, prefix) && !f(name, v) {
			break
		}
	}
	return nil
}

func (d *metaDisk) SetMeta(values map[string][]byte) error {
	if d.fails {
		return store.ErrNoMemory
	}
	for name, v := range values {
		if d.meta[name] = v; v == nil {
			delete(d.meta, name)
		}
	}
	return nil
}

// started is a node that has read its disk and does nothing by itself.
func (d *metaDisk) started(id shard.NodeID) *Node {
	n := &Node{
		engine: d, id: id, env: env.Env{Now: time.Now}, start: time.Now(), tending: tending{owes: map[uint16]bool{}}, merger: newMerger(),
		log: slog.New(slog.DiscardHandler), members: map[shard.NodeID]gossip.Member{},
	}
	n.cfg.Name = "a"
	n.core = shard.NewCore(shard.CoreConfig{Self: id, Rand: func() uint64 { return 4 }, CanList: func(*shard.Claim) bool { return false }})
	for i := range n.slots {
		n.slots[i].no, n.slots[i].front = uint16(i), &n.fronts[i]
	}
	n.readPast()
	return n
}

// learns takes in a claim as the control loop does.
func (n *Node) learns(cl *shard.Claim) {
	n.core.Learn([]*shard.Claim{cl}, 1)
	out := n.core.Take()
	views := []shard.View{n.core.View(cl.Slot)}
	_ = n.engine.SetMeta(n.durable(&out, views))
	n.applyView(cl.Slot, views[0])
}

// A primary that went on alone may be listed by a claim that does not have its
// lineage. Where it crashes before it is left out it still owes its records.
func TestListedLoserKeepsWhatItOwes(t *testing.T) {
	d := newMetaDisk()
	a, b := shard.NewNodeID(1, 1), shard.NewNodeID(2, 2)
	n := d.started(a)
	_ = d.Apply(5, []store.Record{{Key: "k", Value: []byte("alone"), Version: firstVersion(3) + 1}})
	n.slots[5].standing.Store(&shard.Claim{Slot: 5, Epoch: 3, Primary: a, Lineage: []uint64{1, 9}})
	n.learns(&shard.Claim{Slot: 5, Epoch: 4, Primary: b, Backups: []shard.NodeID{a}, Lineage: []uint64{1}})
	n.forgetOwed()

	n = d.started(shard.NewNodeID(9, 9))
	n.learns(&shard.Claim{Slot: 5, Epoch: 4, Rev: 1, Primary: b, Lineage: []uint64{1}})
	if n.slots[5].duty == nil {
		t.Error("after a restart it owes nothing, want what it acknowledged alone")
	}
}

// A claim of the lineage of before may come after a fork's, by a primary that had not
// heard of that: nothing is owed to it, and a node that it counts on is fit again.
func TestRestoredLineageEndsADuty(t *testing.T) {
	a, b, c := shard.NewNodeID(1, 1), shard.NewNodeID(2, 2), shard.NewNodeID(3, 3)
	for _, next := range []struct {
		claim shard.Claim
		owes  bool
	}{
		{shard.Claim{Backups: []shard.NodeID{a}, Lineage: []uint64{1}}, false},
		{shard.Claim{Lineage: []uint64{1}}, false},
		{shard.Claim{Lineage: []uint64{1, 9}}, true}, // it has taken the lineage over, and asks for the records
	} {
		d := newMetaDisk()
		n := d.started(a)
		s := &n.slots[5]
		_ = d.Apply(5, []store.Record{{Key: "k", Value: []byte("v"), Version: firstVersion(1) + 1}})
		s.standing.Store(&shard.Claim{Slot: 5, Epoch: 1, Primary: b, Backups: []shard.NodeID{a}, Lineage: []uint64{1}})
		n.learns(&shard.Claim{Slot: 5, Epoch: 2, Primary: c, Lineage: []uint64{1, 9}})
		if s.duty == nil {
			t.Fatal("it owes a fork nothing")
		}
		cl := next.claim
		cl.Slot, cl.Epoch, cl.Primary = 5, 3, b
		n.learns(&cl)
		if owes := s.duty != nil; owes != next.owes {
			t.Errorf("after %v it owes: %v, want %v", &cl, owes, next.owes)
		}
		if leftover := s.leftAt.Load() != 0; leftover != (!next.owes && len(cl.Backups) == 0) {
			t.Errorf("after %v its records are left over: %v", &cl, leftover)
		}
	}
}

// A copy accepted the claim that lists it, and all lost power before it heard that this
// is in force. What was written under it is owed to whoever recovers the slot.
func TestCopyOfAnAcceptedClaimIsOwed(t *testing.T) {
	a, b, c, d := shard.NewNodeID(1, 1), shard.NewNodeID(2, 2), shard.NewNodeID(3, 3), newMetaDisk()
	d.started(c)
	_ = d.Apply(5, []store.Record{{Key: "k", Value: []byte("v"), Version: firstVersion(1) + 1}})
	known := &shard.Claim{Slot: 5, Epoch: 1, Primary: a, Backups: []shard.NodeID{b}, Lineage: []uint64{1}}
	listed := &shard.Claim{Slot: 5, Epoch: 1, Rev: 1, Primary: a, Backups: []shard.NodeID{c}, Lineage: []uint64{1}}
	core := shard.NewCore(shard.CoreConfig{Self: c, CanList: func(*shard.Claim) bool { return true }})
	core.Receive(a, shard.Message{Kind: shard.MsgAccept, Slot: 5, Epoch: 1, Rev: 1, Seat: c, Claim: listed, Known: known}, 1)
	d.meta[nameOfSlot(metaSlot, 5)] = core.Save(5)

	n := d.started(shard.NewNodeID(9, 9))
	n.learns(&shard.Claim{Slot: 5, Epoch: 2, Primary: shard.NewNodeID(8, 8), Lineage: []uint64{1, 9}})
	if n.slots[5].duty == nil {
		t.Error("it owes nothing, want what it had acknowledged")
	}
}

// What is owed no more is removed from the disk once that takes it, and is not owed
// again after a start.
func TestOwedIsForgotten(t *testing.T) {
	d := newMetaDisk()
	cl := &shard.Claim{Slot: 5, Epoch: 3, Primary: shard.NewNodeID(1, 1), Lineage: []uint64{1, 9}}
	d.meta[nameOfSlot(metaOwed, 5)] = cl.Append(nil)
	n := d.started(shard.NewNodeID(1, 1))
	if n.slots[5].duty == nil {
		t.Fatal("a start forgot what its disk says it owes")
	}
	n.slots[5].mu.Lock()
	n.dischargeLocked(&n.slots[5])
	n.slots[5].mu.Unlock()
	d.fails = true
	n.forgetOwed()
	d.fails = false
	n.forgetOwed()
	if n = d.started(shard.NewNodeID(9, 9)); n.slots[5].duty != nil {
		t.Error("it is owed again after the next start")
	}
}

// The winner's word that it has all comes late, after another fork was lost to it.
func TestLateWordDischargesNothing(t *testing.T) {
	a, b := shard.NewNodeID(1, 1), shard.NewNodeID(2, 2)
	n := newMetaDisk().started(a)
	s := &n.slots[5]
	n.peers = map[shard.NodeID]*peer{b: {id: b}}
	s.view.Known = &shard.Claim{Slot: 5, Epoch: 8, Primary: b, Lineage: []uint64{1}}
	s.mu.Lock()
	n.takeDutyLocked(s, &shard.Claim{Slot: 5, Epoch: 7, Primary: a, Lineage: []uint64{1, 9}}, 0)
	s.mu.Unlock()
	if n.onOfferWord(b, 5, 6, offerDone); s.duty == nil {
		t.Error("a word of epoch 6 discharges what epoch 7 owes")
	}
	if n.onOfferWord(b, 5, 8, offerDone); s.duty != nil {
		t.Error("a word of epoch 8 discharges nothing")
	}
}

func TestDamagedDebtIsIgnored(t *testing.T) {
	d := newMetaDisk()
	for _, name := range []string{metaOwed, metaOwed + "\xff\xff", nameOfSlot(metaOwed, 5)} {
		d.meta[name] = []byte{1}
	}
	n := d.started(shard.NewNodeID(1, 1))
	n.forgetOwed()
	if n.owed.Load() != 0 {
		t.Errorf("%d slots owe something, want none", n.owed.Load())
	}
}

// A digest that waits to be sent again while the first is answered does not make
// two jobs of one copy.
func TestOneJobForACopy(t *testing.T) {
	n := &Node{env: env.Env{Now: time.Now}, start: time.Now().Add(-time.Hour), jobsWake: make(chan struct{}, 1), resend: time.Millisecond}
	to := shard.NewNodeID(1, 1)
	g := &learning{link: &link{peer: &peer{id: to}, session: 1, started: true}, session: 1, stage: stageCopying}
	s := &n.slots[0]
	s.learner = g
	n.asks(0, g)
	g.touched = n.now() - int64(time.Second)
	s.mu.Lock()
	n.superviseLocked(s, nil, n.now())
	s.mu.Unlock()
	if len(n.jobs) != 1 || !n.jobs[0].digest {
		t.Fatalf("without an answer jobs are %+v, want the digest again", n.jobs)
	}
	n.onCopyWord(to, 0, 1, copyNeed, &fields{}) // to the first
	n.asks(0, g)                                // the digest leaves again
	n.onCopyWord(to, 0, 1, copyNeed, &fields{})
	n.onCopyWord(to, 0, 1, copyNeed, &fields{})
	records := 0
	for _, j := range n.jobs {
		if !j.digest {
			records++
		}
	}
	if records != 1 {
		t.Errorf("%d jobs send the records, want one", records)
	}
}
