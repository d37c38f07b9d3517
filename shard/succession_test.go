package shard

import (
	"slices"
	"testing"
)

// cast is a few Cores that hear what the script hands on, and nothing else.
type cast struct {
	t     *testing.T
	now   int64
	cores map[NodeID]*Core
	mail  []mail
}

type mail struct {
	from NodeID
	Envelope
}

var nodeA, nodeB, nodeC, nodeD = NewNodeID(1, 0), NewNodeID(2, 0), NewNodeID(3, 0), NewNodeID(4, 0)

func newCast(t *testing.T, ids ...NodeID) *cast {
	c := &cast{t: t, cores: map[NodeID]*Core{}}
	for _, id := range ids {
		c.cores[id] = NewCore(CoreConfig{
			Self: id, Rand: func() uint64 { return id.Counter() * 8 }, Majority: true,
			Resend: 5, Failure: 30, Settle: 40, PartitionWait: 100, OrphanWait: 150,
			CanList: func(*Claim) bool { return true },
		})
	}
	return c
}

// wired is a message as it arrives: no claim in it is the sender's own, nor that of
// another message.
func wired(t *testing.T, m Message) Message {
	ms, err := DecodeMessages(AppendMessages(nil, []Message{m}))
	if err != nil || len(ms) != 1 {
		t.Fatalf("%+v does not pass the wire: %v", m, err)
	}
	return ms[0]
}

// take collects what the Cores want to send.
func (c *cast) take() {
	for _, id := range []NodeID{nodeA, nodeB, nodeC, nodeD} {
		if core := c.cores[id]; core != nil {
			for _, e := range core.Take().Messages {
				c.mail = append(c.mail, mail{id, e})
			}
		}
	}
}

// hand delivers all mail between the named nodes until there is none; what
// others sent or should get waits.
func (c *cast) hand(among ...NodeID) {
	for {
		c.take()
		i := slices.IndexFunc(c.mail, func(m mail) bool { return slices.Contains(among, m.from) && slices.Contains(among, m.To) })
		if i < 0 {
			return
		}
		m := c.mail[i]
		c.mail = slices.Delete(c.mail, i, i+1)
		c.cores[m.To].Receive(m.from, wired(c.t, m.Message), c.now)
	}
}

// lose drops all mail on its way.
func (c *cast) lose() { c.take(); c.mail = nil }

// pass lets time go by for the named nodes.
func (c *cast) pass(d int64, ids ...NodeID) {
	c.now += d
	for _, id := range ids {
		c.cores[id].Tick(c.now)
	}
}

// serve has the backups of id's claim settle, so that it opens.
func (c *cast) serve(id NodeID) {
	v := c.cores[id].View(0)
	for _, b := range v.Known.Backups {
		c.cores[id].Settled(0, v.Known.Epoch, b, c.now)
	}
}

// founded starts with a as the open primary, b its backup, others witnesses.
func founded(t *testing.T, witnesses ...NodeID) *cast {
	all := append([]NodeID{nodeA, nodeB}, witnesses...)
	c := newCast(t, all...)
	c.cores[nodeA].Found(0, []NodeID{nodeB}, witnesses, 0)
	c.hand(all...)
	c.serve(nodeA)
	for _, id := range all {
		c.cores[id].Learn([]*Claim{c.cores[nodeA].View(0).Known}, 0)
	}
	if !c.cores[nodeA].View(0).Open {
		t.Fatalf("founder does not open: %+v", c.cores[nodeA].View(0))
	}
	return c
}

func (c *cast) open(id NodeID, want bool, when string) {
	c.t.Helper()
	if got := c.cores[id].View(0); got.Open != want {
		c.t.Errorf("%s: %v open = %v, want %v (%v, promised %v)", when, id, got.Open, want, got.Known, got.Promised)
	}
}

func TestDropAndPromotionMeetAtTheWitness(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c.now)
	c.hand(nodeA, nodeC) // in force by A and C; B sleeps
	if got := c.cores[nodeA].View(0).Known.Rev; got != 1 {
		t.Fatalf("drop with the witness: rev %d, want 1", got)
	}
	c.lose()
	c.cores[nodeB].Promote(0, c.now)
	c.hand(nodeB, nodeC)
	c.open(nodeB, false, "promotion of a dropped backup")
	if n := c.cores[nodeB].Newest(0); n.Rev != 1 || n.Holds(nodeB) {
		t.Errorf("dropped backup keeps %v as newest, want the drop", n)
	}
}

func TestPromotionOutlawsTheDrop(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].Promote(0, c.now)
	c.hand(nodeB, nodeC) // A sleeps
	c.lose()
	c.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c.now)
	c.hand(nodeA, nodeC)
	if v := c.cores[nodeA].View(0); v.Known.Rev != 0 || v.Changing {
		t.Errorf("known %v changing %v, want the drop refused after the witness promised elsewhere", v.Known, v.Changing)
	}
	c.pass(200, nodeA)
	c.open(nodeA, false, "the old primary, having met a higher epoch")
}

func TestNobodyOpensBeforeForce(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].Promote(0, c.now)
	c.open(nodeB, false, "before anybody answered")
	c.pass(1000, nodeB)
	c.open(nodeB, false, "long after, alone, where a majority is demanded")
}

func TestAcceptanceAfterAHigherPromiseIsVoid(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].Promote(0, c.now)
	c.take()
	c.hand(nodeB, nodeC) // B's claim (2,0) is accepted by C and in force
	c2 := founded(t, nodeC)
	c2.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c2.now)
	c2.take() // accepts are on their way
	late := Message{Kind: MsgAcceptReply, Epoch: 1, Rev: 1, Seat: nodeC, OK: true}
	c2.cores[nodeA].Receive(nodeB, Message{Kind: MsgFence, Epoch: 5, Seat: nodeA}, c2.now)
	c2.cores[nodeA].Receive(nodeC, late, c2.now)
	v := c2.cores[nodeA].View(0)
	if v.Known.Rev != 0 || v.Open || !v.Fenced {
		t.Errorf("late acceptance under %v: known %v open %v, want the claim void", v.Promised, v.Known, v.Open)
	}
	if !slices.Contains(v.Required, nodeB) {
		t.Errorf("required %v, want the union with %v until a claim is in force", v.Required, nodeB)
	}
}

// A primary fences itself anew with a drop of its own outstanding, and hears
// meanwhile, from a member that promises nothing, that it was succeeded. What
// the members of its own drop say is no quorum for going on.
func TestFencerThatLearnsItWasSucceededStops(t *testing.T) {
	c := newCast(t, nodeA, nodeB, nodeC, nodeD)
	c.cores[nodeA].Found(0, []NodeID{nodeB}, []NodeID{nodeC}, 0)
	c.hand(nodeA, nodeB, nodeC)
	c.serve(nodeA)
	first := c.cores[nodeA].View(0).Known
	for _, id := range []NodeID{nodeB, nodeC, nodeD} {
		c.cores[id].Learn([]*Claim{first}, 0)
	}
	c.cores[nodeA].Change(0, nil, []NodeID{nodeC, nodeD}, c.now)
	c.hand(nodeA, nodeD) // D alone accepts the drop
	c.lose()
	c.cores[nodeB].Down(nodeA, false, c.now)
	c.cores[nodeB].Promote(0, c.now)
	c.hand(nodeB, nodeC)
	c.lose()
	second := c.cores[nodeB].View(0).Known
	if second.Primary != nodeB {
		t.Fatalf("B's claim is not in force: %v", second)
	}
	c.cores[nodeC].Lend(nodeB, 1000) // C may not promise
	c.cores[nodeC].Learn([]*Claim{second}, c.now)
	c.cores[nodeA].SeeEpoch(0, 2)
	c.pass(200, nodeA)
	c.hand(nodeA, nodeC, nodeD)
	c.pass(200, nodeA)
	c.hand(nodeA, nodeC, nodeD)
	if k := c.cores[nodeA].View(0).Known; Compare(k, second) != 0 {
		t.Errorf("A knows %v, want %v, which does not list it", k, second)
	}
}

// Where thousands of slots change, replies are half of all that is sent, and nearly
// all of them consents.
func TestConsentsLeaveOutWhatCameWithTheQuestion(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c.now)
	c.take()
	accept := c.mail[0]
	answer := func(m Message) Message {
		t.Helper()
		core := c.cores[accept.To]
		core.Receive(nodeA, wired(t, m), c.now)
		out := core.Take().Messages
		if len(out) != 1 {
			t.Fatalf("%d answers to %+v, want 1", len(out), m)
		}
		return out[0].Message
	}
	if r := answer(accept.Message); !r.OK || r.Claim != nil || r.Known != nil {
		t.Errorf("consent %+v, want it without claims", r)
	}
	behind := accept.Message
	behind.Known = nil
	if r := answer(behind); !r.OK || r.Claim != nil || r.Known == nil {
		t.Errorf("consent to who told nothing in force: %+v, want the claim in force alone", r)
	}
	c.cores[accept.To].Receive(nodeB, Message{Kind: MsgFence, Epoch: 5, Seat: accept.To}, c.now)
	c.cores[accept.To].Take()
	if r := answer(accept.Message); r.OK || r.Claim == nil || r.Known == nil {
		t.Errorf("refusal %+v, want all that is known with it", r)
	}
}

// What is said again is marked, so that it can be left out where it would only wait
// behind what it repeats.
func TestRepetitionsAreMarked(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c.now)
	for _, again := range []bool{false, true} {
		c.take()
		if len(c.mail) != 2 {
			t.Fatalf("%d messages, want one to each member", len(c.mail))
		}
		for _, m := range c.mail {
			if m.Again != again {
				t.Errorf("%+v: again is %v, want %v", m.Message, m.Again, again)
			}
		}
		c.lose()
		c.pass(6, nodeA)
	}
}

func TestEpochIsPromisedToOneProposer(t *testing.T) {
	c := founded(t, nodeC)
	ask := func(from NodeID) bool {
		c.cores[nodeC].Receive(from, Message{Kind: MsgFence, Epoch: 2, Seat: nodeC}, c.now)
		out := c.cores[nodeC].Take().Messages
		return out[len(out)-1].Message.OK
	}
	if !ask(nodeB) || ask(nodeA) || !ask(nodeB) {
		t.Error("epoch 2 must go to the first who asked, as often as it asks, and to nobody else")
	}
}

func TestPromiseToTheOldPrimaryIsWaitedOut(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].Lend(nodeA, 20)
	c.cores[nodeB].Down(nodeA, false, c.now)
	c.cores[nodeB].Promote(0, c.now)
	c.hand(nodeB, nodeC)
	c.serve(nodeB)
	c.open(nodeB, false, "while the lease runs")
	if len(c.cores[nodeB].Lend(nodeA, 0)) == 0 {
		t.Error("the old primary is lent to while it does not know")
	}
	c.pass(21, nodeB)
	c.open(nodeB, true, "after the lease")
	if len(c.cores[nodeB].Lend(nodeA, 0)) == 0 {
		t.Error("the old primary is lent to though it still does not know")
	}
	c.hand(nodeA, nodeB, nodeC)
	if len(c.cores[nodeB].Lend(nodeA, 0)) > 0 {
		t.Error("the old primary knows, and is lent nothing")
	}
}

// A claim that this node accepted may have been in force, its primary reading
// with this node's lease, though it never heard so.
func TestPromiseToAnUnconfirmedPrimaryIsWaitedOut(t *testing.T) {
	c := newCast(t, nodeA, nodeB, nodeC, nodeD)
	all := []NodeID{nodeA, nodeB, nodeC, nodeD}
	c.cores[nodeA].Found(0, []NodeID{nodeB, nodeC}, []NodeID{nodeD}, 0)
	c.hand(all...)
	for _, id := range all {
		c.cores[id].Learn([]*Claim{c.cores[nodeA].View(0).Known}, 0)
	}
	c.cores[nodeB].Promote(0, c.now)
	c.hand(nodeB, nodeC, nodeD)
	c.lose() // C accepted B's claim and does not know it in force
	c.cores[nodeC].Lend(nodeB, 20)
	c.cores[nodeC].Promote(0, c.now)
	c.hand(nodeA, nodeC, nodeD)
	c.pass(10, nodeC)
	c.hand(nodeA, nodeC, nodeD)
	v := c.cores[nodeC].View(0)
	if !v.Primary {
		t.Fatalf("C's claim is not in force: %v", v.Known)
	}
	c.serve(nodeC)
	c.open(nodeC, false, "while B may read with C's lease")
	if len(c.cores[nodeC].Lend(nodeB, 0)) == 0 {
		t.Error("B is lent to while it is being succeeded")
	}
}

func TestInvitedPromotionDoesNotWait(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].Lend(nodeA, 1000)
	if !c.cores[nodeA].HandOver(0, nodeB, c.now) {
		t.Fatal("HandOver refused")
	}
	c.open(nodeA, false, "after fencing itself")
	c.hand(nodeA, nodeB, nodeC)
	c.serve(nodeB)
	c.open(nodeB, true, "the invited, under a lease to the source")
	if got := c.cores[nodeB].View(0).Known.Backups; !slices.Equal(got, []NodeID{nodeA}) {
		t.Errorf("backups %v, want the source %v in sync", got, nodeA)
	}
}

func TestSourceFencesAgainWhenTheTargetStaysSilent(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].HandOver(0, nodeB, c.now)
	c.lose()
	c.cores[nodeB].Down(nodeA, false, c.now)
	c.pass(31, nodeA)
	c.hand(nodeA, nodeC)
	v := c.cores[nodeA].View(0)
	if v.Known.Primary != nodeA || v.Known.Epoch <= 2 {
		t.Errorf("source is left with %v, want its own claim above the invitation's epoch", v.Known)
	}
}

func TestSilentBackupIsDroppedBeforeOpening(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].Down(nodeC, false, c.now)
	c.cores[nodeA].Up(nodeC)
	c.cores[nodeB].Promote(0, c.now) // lists A, which never answers
	c.hand(nodeB, nodeC)
	for range 20 {
		c.pass(5, nodeB)
		c.hand(nodeB, nodeC)
	}
	c.open(nodeB, true, "without the silent backup")
	if k := c.cores[nodeB].View(0).Known; len(k.Backups) != 0 || !k.InGroup(nodeA) {
		t.Errorf("known %v, want A as a witness only", k)
	}
}

// A proposer died with its claim accepted by those it does not list; the one
// it lists is told, and takes it up.
func TestHalfwayClaimIsTakenUpByTheBackupItNames(t *testing.T) {
	c := newCast(t, nodeA, nodeB, nodeC)
	c.cores[nodeA].Found(0, []NodeID{nodeB}, []NodeID{nodeC}, 0)
	c.hand(nodeA, nodeC)
	c.lose()
	for _, id := range []NodeID{nodeB, nodeC} {
		c.cores[id].Down(nodeA, true, c.now)
	}
	for range 20 {
		c.pass(10, nodeB, nodeC)
		c.hand(nodeB, nodeC)
	}
	c.open(nodeB, true, "after the founder died")
}

// A member that knows a later revision than its primary is not at odds with it:
// what refuses is a ballot, which is epoch and primary.
func TestRevisionsRefuseNobody(t *testing.T) {
	c := founded(t, nodeC)
	before := c.cores[nodeC].View(0).Promised
	c.cores[nodeA].Change(0, []NodeID{nodeB}, nil, c.now)
	c.hand(nodeA, nodeB, nodeC)
	c.cores[nodeC].Learn([]*Claim{c.cores[nodeA].View(0).Known}, c.now)
	if v := c.cores[nodeC].View(0); v.Promised != before || v.Known.Rev != 1 {
		t.Errorf("promised %v and knows rev %d, want %v and 1", v.Promised, v.Known.Rev, before)
	}
}

func TestEpochsDoNotWrap(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeB].SeeEpoch(0, MaxEpoch)
	c.cores[nodeB].Promote(0, c.now)
	c.cores[nodeA].SeeEpoch(0, MaxEpoch)
	handed := c.cores[nodeA].HandOver(0, nodeB, c.now)
	c.pass(1000, nodeA, nodeB, nodeC)
	c.hand(nodeA, nodeB, nodeC)
	for _, id := range []NodeID{nodeA, nodeB} {
		if v := c.cores[id].View(0); handed || v.Known.Epoch != 1 || v.Promised.Epoch != 1 {
			t.Errorf("%v knows epoch %d and promised %d after %d was met (handed over: %v), want 1", id, v.Known.Epoch, v.Promised.Epoch, MaxEpoch, handed)
		}
	}
}

func TestRestoredIsWhatWasSaved(t *testing.T) {
	c := founded(t, nodeC)
	c.cores[nodeA].Change(0, nil, []NodeID{nodeB, nodeC}, c.now)
	for _, id := range []NodeID{nodeA, nodeB, nodeC} {
		saved := c.cores[id].Save(0)
		again := NewCore(CoreConfig{Self: nodeD})
		if err := again.Restore(0, saved); err != nil {
			t.Fatalf("Restore of what %v saved: %v", id, err)
		}
		if got := again.Save(0); !slices.Equal(got, saved) {
			t.Errorf("saved %x, restored and saved again %x", saved, got)
		}
		was, is := c.cores[id].at(0), again.at(0)
		if Compare(was.known, is.known) != 0 || Compare(was.accepted, is.accepted) != 0 || was.promised != is.promised {
			t.Errorf("restored %v, %v, %v, want %v, %v, %v", is.known, is.accepted, is.promised, was.known, was.accepted, was.promised)
		}
	}
}
