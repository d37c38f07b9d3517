package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// A script is a play of a few Cores about slot 0. Nothing is delivered, and no
// time goes by, but by a command. Nodes are letters; node IDs order like them.
//
//	cast nodes=(a,b,c) [majority]       Cores that know nothing
//	found node=a backups=(b) witnesses=(c)
//	deliver among=(a,b,c)               their mail to each other, until there is none
//	deliver from=(a) to=(b)             and in one direction only
//	lose                                what is on its way
//	settle node=a [backups=(b)]         backups hold the union of the records
//	learn nodes=(b,c) from=a            claims in force travel by other roads too
//	change node=a [backups=(b)] [witnesses=(c)]
//	promote node=b
//	handover node=a to=b
//	merge node=a with=b                 b's claim lost to a's, and b offers
//	down nodes=(b,c) of=a [gone]        a counts as dead; gone: that is proved
//	up nodes=(b,c) of=a
//	cut nodes=(b,c) of=a                they do not hear a, and others do
//	uncut nodes=(b,c) of=a
//	lease nodes=(b) of=a until=20       promised to a
//	see node=a epoch=5                  an append was refused for it
//	orphan node=d
//	recover node=e lineage-of=a         a's copy is on e's disk
//	restart node=a as=e [votes]         a's disk, in a process of another ID
//	pass ticks=10 nodes=(a,b)           time goes by, and they tick
//	show nodes=(a,b)
//
// Printed are the messages delivered, and the nodes that changed:
//
//	a: open (1,0,a,{b},{c}) promised 1 to a, requires b, lineage L1
//
// with open, settling or fenced for a primary, and "accepted" before a claim
// that is not known in force.
type play struct {
	t        *testing.T
	now      int64
	majority bool
	ids      []NodeID
	cores    map[NodeID]*Core
	heirs    map[NodeID]NodeID // of a node restarted: who has its votes
	mail     []mail
	shown    map[NodeID]string
	saved    map[NodeID]string
	lineages []uint64
	random   uint64
}

// Each way in which simpler rules lost acknowledged writes, served stale reads or
// got stuck has a test. Of those that concern claims:
//
//	a drop and a promotion that do not meet                   race.txt, orphan.txt
//	serving before anybody else knows                         crash.txt, TestNobodyOpensBeforeForce
//	an acceptance after a higher promise                      union.txt, TestAcceptanceAfterAHigherPromiseIsVoid
//	succeeding a claim that never was known in force          unconfirmed.txt
//	records above the mark that only some copies have         founding.txt, crash.txt (settle), the explorer's noSettling
//	a loser that holds what the winner lacks                  fork.txt, bornapart.txt (lineage), the explorer's noOffers
//	a winner whose epoch is not above both sides'             fork.txt, bornapart.txt (merge)
//	equal epochs on two sides                                 bornapart.txt, testdata/merge/order.txt
//	a set of copies that is about to change                   union.txt, the explorer's union and unionVoid
//	a learner with leftovers                                  the explorer's leftovers
//	an old disk that starts first                             restart.txt, coldstart.txt
//	answers that rest on what is not saved                    play.take, in every script
//	leases of a primary without backups                       alone.txt, lent.txt
//	a primary named by somebody else, a target that is silent transfer.txt, TestInvitedPromotionDoesNotWait,
//	                                                          TestSourceFencesAgainWhenTheTargetStaysSilent
//	a promise that a fast promotion breaks                    crash.txt, TestPromiseToTheOldPrimaryIsWaitedOut,
//	                                                          TestPromiseToAnUnconfirmedPrimaryIsWaitedOut
//	two nodes and a silent peer, two nodes and proof          fork.txt, gone.txt
//	proof that counts as a vote                               gone.txt
//	refusing one's own primary for a newer revision           TestRevisionsRefuseNobody
//	epochs that run out                                       TestEpochsDoNotWrap
//	two founders                                              bornapart.txt
//	a backup that dies before it holds the union              TestSilentBackupIsDroppedBeforeOpening
//	refusals without a reason, duels                          duel.txt, the explorer's backOff
//	a proposer that dies half-way                             TestHalfwayClaimIsTakenUpByTheBackupItNames
//	a claim without a living holder                           orphan.txt
//
// What concerns records, call IDs and expiry is the data path's: the explorer's
// model of it, and the simulated clusters.
func TestSuccessionScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/succession", func(t *testing.T, path string) {
		p := &play{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return p.run(d)
		})
	})
}

func letter(id NodeID) string {
	if id.IsZero() {
		return "nobody"
	}
	return string(rune('a' + id.Counter() - 1))
}

func letters(ids []NodeID) string {
	var s []string
	for _, id := range ids {
		s = append(s, letter(id))
	}
	return strings.Join(s, ",")
}

// nodes returns the nodes that an argument names; all where it is absent.
func (p *play) nodes(d *datadriven.TestData, key string) []NodeID {
	if !d.HasArg(key) {
		return slices.DeleteFunc(slices.Clone(p.ids), func(id NodeID) bool { return p.cores[id] == nil })
	}
	return p.list(d, key)
}

// list returns the nodes that an argument names; none where it is absent.
func (p *play) list(d *datadriven.TestData, key string) (ids []NodeID) {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			for _, v := range arg.Vals {
				if v != "" {
					ids = append(ids, NewNodeID(uint64(v[0]-'a'+1), 0))
				}
			}
		}
	}
	return ids
}

func (p *play) node(d *datadriven.TestData, key string) NodeID {
	ids := p.list(d, key)
	if len(ids) != 1 {
		d.Fatalf(p.t, "%s names %d nodes", key, len(ids))
	}
	return ids[0]
}

func (p *play) join(id NodeID, seats []NodeID) *Core {
	var c *Core
	c = NewCore(CoreConfig{
		Hears: func(id NodeID) bool { return !c.lacks(id) },
		Self:  id, Seats: seats, Rand: func() uint64 { p.random += 4; return p.random }, Majority: p.majority,
		Resend: 5, Failure: 30, Settle: 40, PartitionWait: 100, OrphanWait: 150,
		CanList: func(*Claim) bool { return true },
	})
	if !slices.Contains(p.ids, id) {
		p.ids = append(p.ids, id)
	}
	p.cores[id] = c
	return c
}

func (p *play) run(d *datadriven.TestData) string {
	var out strings.Builder
	done := func(ok bool) {
		if !ok {
			out.WriteString("refused\n")
		}
	}
	var c *Core
	if d.HasArg("node") {
		c = p.cores[p.node(d, "node")]
	}
	switch d.Cmd {
	case "cast":
		*p = play{t: p.t, majority: d.HasArg("majority")}
		p.cores, p.heirs = map[NodeID]*Core{}, map[NodeID]NodeID{}
		p.shown, p.saved = map[NodeID]string{}, map[NodeID]string{}
		for _, id := range p.list(d, "nodes") {
			p.join(id, nil)
		}
	case "found":
		done(c.Found(0, p.list(d, "backups"), p.list(d, "witnesses"), p.now))
	case "deliver":
		if d.HasArg("from") {
			p.deliver(&out, p.list(d, "from"), p.list(d, "to"))
			break
		}
		among := p.nodes(d, "among")
		p.deliver(&out, among, among)
	case "lose":
		p.take()
		p.mail = nil
	case "settle":
		v := c.View(0)
		backups := p.list(d, "backups")
		if backups == nil {
			backups = v.Known.Backups
		}
		for _, b := range backups {
			c.Settled(0, v.Known.Epoch, b, p.now)
		}
	case "learn":
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Learn([]*Claim{p.cores[p.node(d, "from")].View(0).Known}, p.now)
		}
	case "change":
		done(c.Change(0, p.list(d, "backups"), p.list(d, "witnesses"), p.now))
	case "promote":
		done(c.Promote(0, p.now))
	case "handover":
		done(c.HandOver(0, p.node(d, "to"), p.now))
	case "merge":
		if c.Merge(0, p.cores[p.node(d, "with")].View(0).Known, p.now) {
			out.WriteString("may write what is offered\n")
		}
	case "down":
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Down(p.node(d, "of"), d.HasArg("gone"), p.now)
		}
	case "up":
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Up(p.node(d, "of"))
		}
	case "cut":
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Cut(p.node(d, "of"), p.now)
		}
	case "uncut":
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Uncut(p.node(d, "of"))
		}
	case "lease":
		until := 0
		d.ScanArgs(p.t, "until", &until)
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Lend(p.node(d, "of"), int64(until))
		}
	case "see":
		epoch := 0
		d.ScanArgs(p.t, "epoch", &epoch)
		c.SeeEpoch(0, uint64(epoch))
	case "orphan":
		if !c.Orphaned(0, p.now) {
			out.WriteString("not an orphan, or not for long enough\n")
			break
		}
		c.Orphan(0, p.now)
	case "recover":
		lineage := p.cores[p.node(d, "lineage-of")].View(0).Known.Lineage
		done(c.Recover(0, lineage, p.list(d, "witnesses"), p.now))
	case "restart":
		p.restart(d)
	case "pass":
		ticks := 0
		d.ScanArgs(p.t, "ticks", &ticks)
		p.now += int64(ticks)
		for _, id := range p.nodes(d, "nodes") {
			p.cores[id].Tick(p.now)
		}
	case "show":
		for _, id := range p.nodes(d, "nodes") {
			delete(p.shown, id)
		}
	default:
		d.Fatalf(p.t, "unknown command")
	}
	p.take()
	p.news(&out)
	return out.String()
}

// restart starts a node anew from its disk: the claims it knew are there, and
// with votes what it promised and accepted counts as well.
func (p *play) restart(d *datadriven.TestData) {
	old, id := p.node(d, "node"), p.node(d, "as")
	disk := p.cores[old].Save(0)
	delete(p.cores, old)
	if !d.HasArg("votes") {
		saved := NewCore(CoreConfig{})
		if err := saved.Restore(0, disk); err != nil {
			d.Fatalf(p.t, "%v", err)
		}
		p.join(id, nil).SeeEpoch(0, saved.Highest(0))
		return
	}
	p.heirs[old] = id
	if err := p.join(id, []NodeID{old}).Restore(0, disk); err != nil {
		d.Fatalf(p.t, "%v", err)
	}
	p.saved[id] = p.durable(id)
}

// take collects what Cores want to send. What a node says rests on what it has
// saved before.
func (p *play) take() {
	for _, id := range p.ids {
		c := p.cores[id]
		if c == nil {
			continue
		}
		o := c.Take()
		if len(o.Persist) > 0 {
			p.saved[id] = p.durable(id)
		}
		if len(o.Messages)+len(o.InForce) > 0 && p.saved[id] != p.durable(id) {
			p.t.Errorf("%s speaks with %s, and has saved %s", letter(id), p.durable(id), p.saved[id])
		}
		for _, e := range o.Messages {
			p.mail = append(p.mail, mail{id, e})
		}
	}
}

func (p *play) durable(id NodeID) string {
	s := p.cores[id].slot(0)
	return fmt.Sprint(s.promised, s.known, s.accepted)
}

func (p *play) deliver(out *strings.Builder, senders, receivers []NodeID) {
	for n := 0; ; n++ {
		p.take()
		to := func(m mail) NodeID {
			if heir, ok := p.heirs[m.To]; ok {
				return heir
			}
			return m.To
		}
		i := slices.IndexFunc(p.mail, func(m mail) bool {
			return slices.Contains(senders, m.from) && slices.Contains(receivers, to(m)) && p.cores[to(m)] != nil
		})
		if i < 0 {
			return
		}
		m := p.mail[i]
		p.mail = slices.Delete(p.mail, i, i+1)
		fmt.Fprintf(out, "%s to %s: %s\n", letter(m.from), letter(m.To), p.said(m.Message))
		p.cores[to(m)].Receive(m.from, wired(p.t, m.Message), p.now)
		if n == 200 {
			p.t.Fatalf("they do not stop talking:\n%s", out)
		}
	}
}

func (p *play) said(m Message) string {
	switch {
	case m.Kind == MsgFence:
		return fmt.Sprintf("promise me %d", m.Epoch)
	case m.Kind == MsgAccept:
		return "accept " + p.claim(m.Claim)
	case m.Kind == MsgInvite:
		return fmt.Sprintf("take over with %d", m.Epoch)
	case m.Kind == MsgInForce:
		return p.claim(m.Known) + " is in force"
	case m.Kind == MsgInForceReply:
		return "I know"
	case m.NoSeat:
		return "no vote"
	case m.OK && m.Kind == MsgFenceReply && m.Claim != nil:
		return "promised; I accepted " + p.claim(m.Claim)
	case m.OK && m.Kind == MsgFenceReply:
		return "promised"
	case m.OK:
		return "accepted"
	case m.Busy:
		return "not now"
	case m.Epoch == 0:
		return "this lists you: " + p.claim(m.Claim)
	}
	return fmt.Sprintf("no, %d is promised to %s", m.Promised.Epoch, letter(m.Promised.To))
}

func (p *play) claim(c *Claim) string {
	if c == nil {
		return "nothing"
	}
	return fmt.Sprintf("(%d,%d,%s,{%s},{%s})", c.Epoch, c.Rev, letter(c.Primary), letters(c.Backups), letters(c.Witnesses))
}

// news prints the nodes that changed since they were printed last.
func (p *play) news(out *strings.Builder) {
	for _, id := range p.ids {
		if p.cores[id] == nil {
			continue
		}
		if s := p.state(id); s != p.shown[id] {
			p.shown[id] = s
			fmt.Fprintf(out, "%s: %s\n", letter(id), s)
		}
	}
}

func (p *play) state(id NodeID) string {
	c := p.cores[id]
	v, newest := c.View(0), c.Newest(0)
	var s []string
	what := "knows " + p.claim(v.Known)
	switch {
	case v.Open:
		what = "open " + p.claim(v.Known)
	case v.Fenced:
		what = "fenced " + p.claim(v.Known)
	case v.Settling:
		what = "settling " + p.claim(v.Known)
	}
	if Compare(newest, v.Known) > 0 {
		what += " accepted " + p.claim(newest)
	}
	s = append(s, fmt.Sprintf("%s promised %d to %s", what, v.Promised.Epoch, letter(v.Promised.To)))
	if v.Primary && len(v.Required) > 0 {
		s = append(s, "requires "+letters(v.Required))
	}
	if !v.Handover.IsZero() {
		s = append(s, "asks "+letter(v.Handover))
	}
	if v.Changing {
		s = append(s, "changing")
	}
	if v.Known != nil {
		s = append(s, "lineage "+p.lineage(v.Known))
	}
	return strings.Join(s, ", ")
}

// lineage names numbers L1, L2 and so on as they turn up.
func (p *play) lineage(c *Claim) string {
	var s []string
	for _, n := range c.Lineage {
		i := slices.Index(p.lineages, n)
		if i < 0 {
			i = len(p.lineages)
			p.lineages = append(p.lineages, n)
		}
		s = append(s, fmt.Sprintf("L%d", i+1))
	}
	return strings.Join(s, "+")
}
