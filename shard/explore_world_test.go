package shard

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Times of the model, in its ticks.
const (
	xLease  = 20
	xResend = 6
	xSettle = 40
)

// rules switches single rules off, to see that the explorer notices.
type rules struct {
	off rulesOff

	noForce      bool // a claim is in force once its proposer accepted it
	noLeases     bool // reads need no leases
	readsUngated bool // reads do not wait for the record's acknowledgement
	noSettling   bool // a promoted node opens on its own records
	notFenced    bool // copies take appends of any epoch
	noWait       bool // nobody waits for a learner before it is listed
	leftovers    bool // a copy is filled over what was there
	noOffers     bool // a loser's records are not written anew
	byVersion    bool // they are compared by version

	votes   bool // not a rule: half of the restarted nodes have their votes on disk
	folds   bool // not a rule: lineages of six numbers are folded
	hearsay bool // likewise: links fail between some, and others tell whom they hear
}

// world is one walk: nodes, a network, clients, and what went wrong.
type world struct {
	rng      *rand.Rand
	now      int64
	events   int
	nodes    []*xnode // every start
	hosts    []*xnode // the present start of each host
	byID     map[NodeID]*xnode
	cut      [5][5]bool
	queue    flights
	order    int
	last     map[[2]NodeID]int64 // streams are in order
	hist     [xKeys][]op
	values   int
	sessions int
	starts   uint64

	backups  int
	majority bool
	proofs   bool
	failure  int  // suspected after; shorter than a lease in some walks
	slow     int  // a message in so many is late
	aimed    bool // faults and calls mostly meet primaries
	lockstep bool // all nodes step at once
	delay    int  // of all messages; 0: each its own
	healing  bool
	forked   bool
	lineage  []uint64 // of the first claim in force
	rules    rules
	inForce  map[string]*Claim
	fault    string
	stuck    bool
	trace    *strings.Builder
	stats    struct{ handOvers, acks, duties, rewrites int }
	owed     []xowed
	over     map[int][]int // what each value replaced
}

type flight struct {
	at    int64
	order int
	from  *xnode
	to    *xnode
	f     func()
}

type flights []flight

func (q flights) Len() int { return len(q) }
func (q flights) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q flights) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *flights) Push(x any)   { *q = append(*q, x.(flight)) }
func (q *flights) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// tick counts events of the history.
func (w *world) tick() int { w.events++; return w.events }

func (w *world) failf(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
	w.tracef("FAULT "+format, args...)
}

func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%5d ", w.now)
		fmt.Fprintf(w.trace, format, args...)
		w.trace.WriteByte('\n')
	}
}

// start starts a node on a host, knowing nothing.
func (w *world) start(host int) *xnode {
	w.starts++
	n := &xnode{w: w, id: NewNodeID(w.starts, 0), host: host, alive: true, since: map[NodeID]int64{}, falsly: map[NodeID]int64{}}
	if old := w.hosts[host]; old != nil && w.rules.votes && w.chance(2) {
		n.seats = append(slices.Clone(old.seats), old.id)
	}
	n.core = NewCore(CoreConfig{
		Self: n.id, Seats: n.seats, Rand: w.rng.Uint64, Majority: w.majority,
		Resend: xResend, Failure: time.Duration(w.failure), Settle: xSettle, PartitionWait: 100, OrphanWait: 150,
		Hears: n.hearsID, Back: w.isBack, CanList: n.canList, Stray: n.stray, OffForce: w.rules.noForce, off: w.rules.off,
	})
	if w.rules.folds {
		n.core.cfg.foldAbove = 6
	}
	if len(n.seats) > 0 {
		if err := n.core.Restore(0, w.hosts[host].core.Save(0)); err != nil {
			w.failf("votes of %v: %v", n.id, err)
		}
		n.lastIn = n.core.View(0).Known
	}
	w.nodes = append(w.nodes, n)
	w.hosts[host] = n
	w.byID[n.id] = n
	w.tracef("start %v on host %d", n.id, host)
	return n
}

// send puts a message on its way. Messages of a stream stay in order; others
// overtake each other and may come twice.
func (w *world) send(from, to *xnode, stream bool, f func()) {
	delay := int64(1 + w.rng.IntN(4))
	if w.delay > 0 {
		delay = int64(w.delay)
	}
	if !w.healing && w.slow > 0 && w.chance(w.slow) {
		delay += int64(w.rng.IntN(60))
	}
	at := w.now + delay
	if stream {
		pair := [2]NodeID{from.id, to.id}
		at = max(at, w.last[pair])
		w.last[pair] = at
	} else if !w.healing && !w.lockstep && w.chance(40) {
		w.order++
		heap.Push(&w.queue, flight{at + int64(w.rng.IntN(30)), w.order, from, to, f})
	}
	w.order++
	heap.Push(&w.queue, flight{at, w.order, from, to, f})
}

// control sends a message of a Core, in its wire form.
func (w *world) control(from *xnode, e Envelope) {
	to := w.byID[e.To]
	if heir := w.hosts[to.host]; slices.Contains(heir.seats, to.id) {
		to = heir
	}
	if w.trace != nil {
		m := e.Message
		w.tracef("%v to %v: kind %d epoch %d rev %d ok %v noseat %v busy %v promised %d/%v claim %v known %v", from.id, e.To, m.Kind, m.Epoch, m.Rev, m.OK, m.NoSeat, m.Busy, m.Promised.Epoch, m.Promised.To, m.Claim, m.Known)
	}
	b := AppendMessages(nil, []Message{e.Message})
	w.send(from, to, false, func() {
		ms, err := DecodeMessages(b)
		if err != nil {
			w.failf("message does not decode: %v", err)
			return
		}
		to.core.Receive(from.id, ms[0], w.now)
	})
}

func (w *world) deliver() {
	for len(w.queue) > 0 && w.queue[0].at <= w.now {
		m := heap.Pop(&w.queue).(flight)
		if !m.to.alive || w.cut[m.from.host][m.to.host] {
			continue
		}
		if m.to.paused {
			m.to.inbox = append(m.to.inbox, m.f)
			continue
		}
		m.f()
		m.to.flush()
	}
}

// force checks a claim that comes in force against those that did before:
// one of an epoch and lineage.
func (w *world) force(n *xnode, cl *Claim) {
	w.tracef("%v IN FORCE %v base %v lineage %x", n.id, cl, cl.Base, cl.Lineage)
	if err := cl.Validate(); err != nil {
		w.failf("%v in force: %v", cl, err)
	}
	if w.lineage == nil {
		w.lineage = cl.Lineage
	}
	if !slices.Equal(w.lineage, cl.Lineage) {
		w.forked = true
	}
	key := fmt.Sprint(cl.Epoch, cl.Lineage)
	if old := w.inForce[key]; old != nil && (old.Primary != cl.Primary || old.Rev >= cl.Rev) {
		w.failf("%v in force after %v", cl, old)
	}
	w.inForce[key] = cl
}

// isBack reports whether another start of a node's host lives.
func (w *world) isBack(id NodeID) bool {
	heir := w.hosts[w.byID[id].host]
	return heir.id != id && heir.alive
}

// forward checks that the claims known in force only move forward on a node.
func (w *world) forward(n *xnode, cl *Claim) {
	if Compare(cl, n.lastIn) < 0 {
		w.failf("%v went back from %v to %v", n.id, n.lastIn, cl)
	}
	n.lastIn = cl
}

// candidate chooses a node to be added as a backup.
func (w *world) candidate(n *xnode, known *Claim) NodeID {
	at := w.rng.IntN(len(w.hosts))
	for i := range w.hosts {
		x := w.hosts[(at+i)%len(w.hosts)]
		if x.alive && !known.Holds(x.id) && !n.core.IsDown(x.id) {
			return x.id
		}
	}
	return NodeID{}
}

func (w *world) crash(host int) {
	n := w.hosts[host]
	w.tracef("crash %v", n.id)
	n.alive = false
	w.forgive()
}

func (w *world) pause(n *xnode) {
	w.tracef("pause %v", n.id)
	n.paused = true
}

func (w *world) resume(n *xnode) {
	w.tracef("resume %v", n.id)
	n.paused = false
	clear(n.since) // a loop that was late starts its detector anew
	inbox := n.inbox
	n.inbox = nil
	for _, f := range inbox {
		if n.alive {
			f()
			n.flush()
		}
	}
}

// mayVote reports whether a node that does not run has, or may yet have, a vote.
func (w *world) mayVote(x *xnode) bool {
	heir := w.hosts[x.host]
	return w.rules.votes && (heir == x || slices.Contains(heir.seats, x.id))
}

// alive lists the nodes that run.
func (w *world) alive() []*xnode {
	return slices.DeleteFunc(slices.Clone(w.hosts), func(n *xnode) bool { return !n.alive })
}

func newWorld(seed uint64, r rules, trace bool) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), rules: r,
		byID: map[NodeID]*xnode{}, last: map[[2]NodeID]int64{}, inForce: map[string]*Claim{}, over: map[int][]int{},
	}
	if trace {
		w.trace = &strings.Builder{}
	}
	return w
}
