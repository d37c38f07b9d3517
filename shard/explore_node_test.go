package shard

import "slices"

const xKeys = 2

// rec is a record of the model: one value of one key.
type rec struct {
	ver, origin uint64
	val         int
}

type recs [xKeys]rec

func (r *recs) merge(o recs) {
	for k := range o {
		if o[k].ver > r[k].ver {
			r[k] = o[k]
		}
	}
}

// entry is an append: the seq-th write of an epoch.
type xentry struct {
	key int
	rec rec
}

// xcall is a call that waits for a record to be acknowledged.
type xcall struct {
	key, op int // place in the world's history
	seq     int // acknowledged up to here, it can be answered
}

// xpeer is a primary's side of the stream to a copy.
type xpeer struct {
	begun       bool // the stream's beginning was sent
	sent, acked int
	sentAt      int64
	heardAt     int64
}

// xlearner is a primary's side of a copy being made.
type xlearner struct {
	id      NodeID
	session int
	got     [xKeys]bool
	ended   bool // the learner has confirmed the whole snapshot
	wait    bool // writes and reads wait for it
	from    int  // since this seq
	since   int64
	sentAt  int64
}

// xnode is one start of a node: a Core, and the data path in small.
type xnode struct {
	w      *world
	id     NodeID
	host   int
	core   *Core
	seats  []NodeID // of earlier starts, whose votes it has
	alive  bool
	paused bool
	inbox  []func()
	since  map[NodeID]int64 // failure detector: unreachable since
	falsly map[NodeID]int64 // falsely suspected until

	data    recs
	filling bool // the copy is a learner's, and not complete
	session int
	learned Ballot // whose complete copy this is, not yet listed
	pos     int    // of the stream followed
	stream  Ballot // of the stream followed

	// As primary, under one epoch:
	epoch    uint64
	log      []xentry
	mark     int
	peers    map[NodeID]*xpeer
	leases   map[NodeID]int64
	waiting  []xcall
	reports  map[NodeID]recs
	pushed   bool
	learner  *xlearner
	handTo   NodeID
	handAt   int64
	beatAt   int64
	changeAt int64
	confirms []xconfirm
	// Of a fork: what is in sync under which claim, and what is to be offered.
	standing  *Claim
	duties    []xduty
	offeredAt int64
	lastIn    *Claim // newest claim in force seen, which only moves forward
}

func (n *xnode) ballot() Ballot { return Ballot{n.epoch, n.id} }

// below reports whether a ballot is one that this node has to refuse.
func (n *xnode) below(b Ballot) bool {
	p := n.core.View(0).Promised
	return p.Epoch > b.Epoch || p.Epoch == b.Epoch && p.To != b.To
}

// canList is what the data path tells its Core.
func (n *xnode) canList(cl *Claim) bool {
	if n.learned == (Ballot{cl.Epoch, cl.Primary}) {
		return true
	}
	if n.filling || n.strays(cl) {
		return false
	}
	newest, known := n.core.Newest(0), n.core.View(0).Known
	if newest == nil {
		return true
	}
	return newest.Holds(n.id) && contains(cl.Lineage, newest.Lineage) ||
		known.Holds(n.id) && contains(cl.Lineage, known.Lineage)
}

// strays reports whether what this node holds is in sync in a lineage that cl
// does not include, as after a fork that it has lost.
func (n *xnode) strays(cl *Claim) bool {
	return n.standing != nil && !contains(cl.Lineage, n.standing.Lineage)
}

// stray tells the Core what this node strays into.
func (n *xnode) stray(cl *Claim) []uint64 {
	if n.strays(cl) {
		return n.standing.Lineage
	}
	return nil
}

// step is what a node's own loop does.
func (n *xnode) step() {
	n.detect()
	n.core.Tick(n.w.now)
	n.flush()
	n.pump()
	n.flush()
}

// flush does what the Core has left to do, in order.
func (n *xnode) flush() {
	for {
		o := n.core.Take()
		if len(o.Touched)+len(o.Messages)+len(o.InForce)+len(o.Persist) == 0 {
			return
		}
		n.sync()
		for _, e := range o.Messages {
			n.w.control(n, e)
		}
		for _, cl := range o.InForce {
			n.w.force(n, cl)
			for _, to := range n.w.nodes {
				if to != n && to.alive {
					n.w.send(n, to, false, func() { to.core.Learn([]*Claim{cl}, n.w.now) })
				}
			}
		}
	}
}

// sync brings the data path in line with the Core's view.
func (n *xnode) sync() {
	v := n.core.View(0)
	n.w.forward(n, v.Known)
	n.stand(v)
	if n.epoch != 0 && (!v.Primary || v.Fenced || v.Known.Epoch != n.epoch) {
		// Whatever is not answered never will be.
		n.epoch, n.log, n.mark, n.waiting, n.learner, n.handTo, n.confirms = 0, nil, 0, nil, nil, NodeID{}, nil
	}
	if v.Primary && !v.Fenced && n.epoch == 0 {
		n.epoch, n.pushed, n.reports = v.Known.Epoch, false, map[NodeID]recs{}
		n.peers, n.leases = map[NodeID]*xpeer{}, map[NodeID]int64{}
		n.stream, n.pos, n.learned = n.ballot(), 0, Ballot{}
	}
	if n.epoch != 0 {
		n.settle(v)
		n.acknowledge()
	}
}

// required are all whose acknowledgements and leases count.
func (n *xnode) required(v View) []NodeID {
	req := v.Required
	if l := n.learner; l != nil && l.wait && !n.w.rules.noWait && !slices.Contains(req, l.id) {
		req = append(slices.Clone(req), l.id)
	}
	return req
}

func (n *xnode) peer(id NodeID) *xpeer {
	p := n.peers[id]
	if p == nil {
		p = &xpeer{heardAt: n.w.now}
		n.peers[id] = p
	}
	return p
}

// leased reports whether this node may read as a primary now.
func (n *xnode) leased(v View) bool {
	if n.w.rules.noLeases {
		return true
	}
	req := n.required(v)
	held := func(id NodeID) bool { return n.leases[id] > n.w.now }
	if len(req) > 0 {
		return !slices.ContainsFunc(req, func(id NodeID) bool { return !held(id) })
	}
	votes := 0
	for _, id := range v.Known.Witnesses {
		if held(id) {
			votes++
		}
	}
	return votes >= Quorum(len(v.Known.Witnesses))
}

// acknowledge moves the mark and answers calls.
func (n *xnode) acknowledge() {
	v := n.core.View(0)
	if !v.Open || n.epoch == 0 {
		return
	}
	mark := len(n.log)
	for _, id := range n.required(v) {
		mark = min(mark, n.peer(id).acked)
	}
	n.mark = max(n.mark, mark)
	n.confirm()
	if len(n.waiting) == 0 {
		return
	}
	leased := n.leased(v)
	n.waiting = slices.DeleteFunc(n.waiting, func(c xcall) bool {
		o := &n.w.hist[c.key][c.op]
		reads := o.kind == opRead || o.kind == opSwap && !o.ok
		gated := c.seq <= n.mark || reads && n.w.rules.readsUngated
		if !gated || reads && !leased {
			return false
		}
		o.ret = n.w.tick()
		if o.ver != 0 {
			n.w.acked(n, c.key, o.ver, o.arg)
		}
		return true
	})
}

// call starts a client's call at this node.
func (n *xnode) call(key int, kind opKind) {
	v := n.core.View(0)
	if !v.Open || n.epoch == 0 || !n.handTo.IsZero() {
		return
	}
	n.w.values++
	o := op{kind: kind, arg: n.w.values, call: n.w.tick(), ret: never, by: n.id}
	cur := n.data[key]
	seq := 0
	if cur.ver>>40 == n.epoch {
		seq = int(cur.ver & (1<<40 - 1))
	}
	switch kind {
	case opRead:
		o.got = cur.val
	case opSwap:
		o.old = cur.val
		if n.w.chance(4) {
			o.old = n.w.rng.IntN(o.arg)
		}
		o.ok = o.old == cur.val
	}
	if kind == opWrite || o.ok {
		n.write(key, rec{val: o.arg})
		seq = len(n.log)
		o.ver = n.data[key].ver
	}
	n.w.hist[key] = append(n.w.hist[key], o)
	n.waiting = append(n.waiting, xcall{key, len(n.w.hist[key]) - 1, seq})
	n.acknowledge()
}

// write gives a record its version and applies it, not yet acknowledged.
func (n *xnode) write(key int, r rec) {
	r.ver = n.epoch<<40 | uint64(len(n.log)+1)
	if r.origin == 0 {
		r.origin = r.ver
	}
	if r.ver <= n.data[key].ver {
		n.w.failf("%v gives version %x to a record of version %x", n.id, r.ver, n.data[key].ver)
	}
	n.w.replaced(n.data[key].val, r.val)
	n.log = append(n.log, xentry{key, r})
	n.data[key] = r
}

// pump sends what is due: heartbeats, appends, copies, reconciling changes.
func (n *xnode) pump() {
	w := n.w
	v := n.core.View(0)
	n.stand(v)
	n.offer(v)
	if n.epoch == 0 {
		n.idle(v)
		return
	}
	if v.Open && w.now-n.beatAt >= 3 {
		n.beatAt = w.now
		for _, id := range append(n.required(v), v.Known.Witnesses...) {
			n.beat(id)
		}
	}
	for _, id := range n.required(v) {
		if p := n.peer(id); p.acked < len(n.log) && v.Open {
			n.append(id, p)
		}
	}
	n.settle(v)
	n.copy(v)
	n.acknowledge()
	n.reconcile(v)
	n.handOver(v)
}

func (n *xnode) beat(id NodeID) {
	w, sent := n.w, n.w.now
	to := w.byID[id]
	epoch := n.epoch
	w.send(n, to, false, func() {
		if len(to.core.Lend(n.id, w.now+xLease)) > 0 {
			return
		}
		w.send(to, n, false, func() {
			if n.epoch == epoch {
				n.leases[id] = max(n.leases[id], sent+xLease*9/10)
			}
		})
	})
}

// append sends what a copy lacks, and again what it has not acknowledged.
func (n *xnode) append(id NodeID, p *xpeer) {
	w := n.w
	if w.now-p.sentAt > xResend {
		p.sent, p.begun = p.acked, p.acked > 0
	}
	b, to := n.ballot(), w.byID[id]
	if !p.begun {
		p.begun = true
		w.send(n, to, true, func() {
			if !to.below(b) && to.stream != b {
				to.stream, to.pos = b, 0
			}
		})
	}
	for ; p.sent < len(n.log); p.sent++ {
		p.sentAt = w.now
		seq, e := p.sent+1, n.log[p.sent]
		w.send(n, to, true, func() { to.onAppend(n, b, seq, e) })
	}
}

func (n *xnode) onAppend(from *xnode, b Ballot, seq int, e xentry) {
	w := n.w
	if n.below(b) && !w.rules.notFenced {
		p := n.core.View(0).Promised
		w.send(n, from, true, func() { from.core.SeeEpoch(0, max(p.Epoch, b.Epoch+1)) })
		return
	}
	if n.stream != b || seq > n.pos+1 {
		return // a gap
	}
	if seq == n.pos+1 {
		n.pos = seq
		n.core.SeeEpoch(0, e.rec.ver>>40)
		if e.rec.ver > n.data[e.key].ver {
			n.data[e.key] = e.rec
		}
	}
	pos := n.pos
	w.send(n, from, true, func() {
		if from.ballot() == b {
			p := from.peer(n.id)
			p.acked, p.heardAt = max(p.acked, pos), w.now
			from.acknowledge()
		}
	})
}

// settle asks the backups of a claim in force for what they hold, and pushes
// the union.
func (n *xnode) settle(v View) {
	if !v.Settling || n.epoch == 0 {
		return
	}
	w, b := n.w, n.ballot()
	if w.rules.noSettling {
		for _, id := range v.Known.Backups {
			to := w.byID[id]
			w.send(n, to, false, func() {
				if !to.below(b) {
					to.stream, to.pos = b, 0
				}
			})
			n.core.Settled(0, n.epoch, id, w.now)
		}
		return
	}
	n.pushed = n.pushed && !slices.ContainsFunc(v.Known.Backups, func(id NodeID) bool { _, ok := n.reports[id]; return !ok })
	all := true
	for _, id := range v.Known.Backups {
		if _, ok := n.reports[id]; ok {
			continue
		}
		all = false
		if p := n.peer(id); p.sentAt == 0 || w.now-p.sentAt > xResend {
			p.sentAt = w.now
			to := w.byID[id]
			w.send(n, to, false, func() { to.onReport(n, b) })
		}
	}
	if !all {
		return
	}
	if !n.pushed {
		n.pushed = true
		for _, id := range v.Known.Backups {
			n.data.merge(n.reports[id])
			n.peer(id).sentAt = 0
		}
	}
	for _, id := range v.Known.Backups {
		if p := n.peer(id); p.sentAt == 0 || w.now-p.sentAt > xResend {
			p.sentAt = w.now
			to, union, epoch := w.byID[id], n.data, n.epoch
			w.send(n, to, true, func() {
				if to.below(b) {
					return
				}
				if to.stream != b {
					to.data.merge(union)
					to.stream, to.pos = b, 0
				}
				w.send(to, n, false, func() {
					n.core.Settled(0, epoch, id, w.now)
				})
			})
		}
	}
}

// onReport answers a new primary with the records held.
func (n *xnode) onReport(from *xnode, b Ballot) {
	a := n.core.Newest(0)
	if n.below(b) || a == nil || a.Primary != b.To || a.Epoch != b.Epoch || n.filling || n.strays(a) {
		return
	}
	have := n.data
	n.w.send(n, from, false, func() {
		v := from.core.View(0)
		if from.ballot() == b && v.Settling && !from.pushed && slices.Contains(v.Known.Backups, n.id) {
			from.reports[n.id] = have
		}
	})
}
