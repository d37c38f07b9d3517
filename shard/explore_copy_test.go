package shard

import "slices"

// copy makes a copy at a learner: an empty generation there, the records in
// any order, live writes meanwhile; from some write on all wait for it.
func (n *xnode) copy(v View) {
	w, l := n.w, n.learner
	if l == nil {
		return
	}
	if !v.Open || v.Known.Holds(l.id) || !slices.Contains(v.Required, l.id) && (n.core.IsDown(l.id) || w.now-l.since > 60) {
		n.learner = nil
		return
	}
	b, to, session := n.ballot(), w.byID[l.id], l.session
	p := n.peer(l.id)
	if p.acked < len(n.log) {
		n.append(l.id, p)
	}
	if w.now-l.sentAt > xResend && !l.ended {
		l.sentAt = w.now
		for key := range xKeys {
			if l.got[key] {
				continue
			}
			r := n.data[key]
			w.send(n, to, false, func() { to.onChunk(n, b, session, key, r) })
		}
	}
	if !l.wait && l.got == [xKeys]bool{true, true} {
		l.wait, l.from = true, len(n.log)
	}
	if l.wait && !l.ended {
		w.send(n, to, false, func() {
			if to.session != session || to.stream != b || to.below(b) {
				return
			}
			to.filling = false
			to.learned = b
			w.send(to, n, false, func() {
				if l == n.learner {
					l.ended = true
				}
			})
		})
	}
	if l.ended && p.acked >= l.from && !v.Changing {
		witnesses := slices.DeleteFunc(slices.Clone(v.Known.Witnesses), func(id NodeID) bool { return id == l.id })
		n.change(append(slices.Clone(v.Known.Backups), l.id), witnesses)
		l.wait = l.wait && !w.rules.off.unionVoid // the Core's union covers it
	}
}

// teach starts a copy at a node that is not in sync.
func (n *xnode) teach(id NodeID) {
	w := n.w
	w.sessions++
	l := &xlearner{id: id, session: w.sessions, since: w.now}
	n.learner = l
	at := len(n.log)
	n.peers[id] = &xpeer{sent: at, acked: at, heardAt: w.now}
	b, to, known := n.ballot(), w.byID[id], n.core.View(0).Known
	w.send(n, to, true, func() {
		to.core.Learn([]*Claim{known}, w.now) // first know what one's own copy is worth
		to.flush()
		if to.below(b) {
			p := to.core.View(0).Promised
			w.send(to, n, true, func() { n.core.SeeEpoch(0, max(p.Epoch, b.Epoch+1)) })
			return
		}
		to.filling, to.learned = true, Ballot{}
		if !w.rules.leftovers {
			to.data = recs{}
			if !n.alive {
				w.forgive() // the last copy died while this was on its way
			}
		}
		to.session, to.stream, to.pos = l.session, b, at
	})
}

func (n *xnode) onChunk(from *xnode, b Ballot, session, key int, r rec) {
	if n.below(b) || n.session != session || n.stream != b {
		return
	}
	n.core.SeeEpoch(0, r.ver>>40)
	if n.filling && r.ver > n.data[key].ver {
		n.data[key] = r
	}
	n.w.send(n, from, false, func() {
		if l := from.learner; l != nil && l.session == session {
			l.got[key] = true
		}
	})
}

func (n *xnode) change(backups, witnesses []NodeID) {
	n.changeAt = n.w.now
	n.core.Change(0, backups, witnesses, n.w.now)
	n.flush()
}

// reconcile moves the claim of an open primary towards enough backups and
// living witnesses, one change at a time.
func (n *xnode) reconcile(v View) {
	w := n.w
	if !v.Open || !n.handTo.IsZero() || v.Changing && w.now-n.changeAt < 40 {
		return
	}
	down := func(id NodeID) bool { return n.core.IsDown(id) }
	lags := func(id NodeID) bool {
		p := n.peers[id]
		return p != nil && p.acked < len(n.log) && w.now-p.heardAt > 50 && w.chance(20)
	}
	known := v.Known
	witnesses := n.witnesses(known.Backups, known.Witnesses)
	for i, id := range known.Backups {
		if down(id) || lags(id) || len(known.Backups) > w.backups {
			rest := slices.Delete(slices.Clone(known.Backups), i, i+1)
			n.change(rest, n.witnesses(rest, append(slices.Clone(known.Witnesses), id)))
			return
		}
	}
	switch {
	case v.Changing: // it lists somebody who is gone, or is refused
		n.change(known.Backups, witnesses)
	case len(known.Backups) < w.backups && n.learner == nil && w.chance(4):
		if id := w.candidate(n, known); !id.IsZero() {
			n.teach(id)
		}
	case !slices.Equal(witnesses, known.Witnesses) && w.chance(4):
		n.change(known.Backups, witnesses)
	}
}

// witnesses replaces the dead among witnesses and fills the group.
func (n *xnode) witnesses(backups, old []NodeID) []NodeID {
	size := max(3, 2*n.w.backups+1) - 1 - len(backups)
	var ws []NodeID
	for _, id := range old {
		if !slices.Contains(backups, id) && !n.core.IsDown(id) && len(ws) < size {
			ws = append(ws, id)
		}
	}
	for _, x := range n.w.hosts {
		if x != nil && x.alive && x != n && len(ws) < size && !n.core.IsDown(x.id) &&
			!slices.Contains(ws, x.id) && !slices.Contains(backups, x.id) {
			ws = append(ws, x.id)
		}
	}
	for _, id := range old { // dead ones rather than none: the quorum must not shrink to a cut-off few
		if len(ws) < min(size, len(n.w.hosts)-1-len(backups)) && !slices.Contains(ws, id) && !slices.Contains(backups, id) {
			ws = append(ws, id)
		}
	}
	return ws
}

// handOver transfers the slot when all is acknowledged.
func (n *xnode) handOver(v View) {
	w := n.w
	if n.handTo.IsZero() || !v.Open {
		return
	}
	if n.mark == len(n.log) && !v.Changing {
		w.stats.handOvers++
		if !n.core.HandOver(0, n.handTo, w.now) {
			n.handTo = NodeID{}
		}
		n.flush()
	} else if w.now-n.handAt > 30 {
		n.handTo = NodeID{} // not fenced yet: may be called off
	}
}

// idle is what a node that serves nothing does: found and revive slots.
func (n *xnode) idle(v View) {
	w := n.w
	if v.Known == nil && n.core.Newest(0) == nil {
		return
	}
	if n.core.Orphaned(0, w.now) && w.chance(10) {
		w.forked = true
		n.core.Orphan(0, w.now)
	}
}

// detect is the failure detector: silent nodes are suspected after a while.
func (n *xnode) detect() {
	w := n.w
	for _, x := range w.nodes {
		if x == n {
			continue
		}
		_, down := n.core.down[x.id]
		if n.core.gone[x.id] {
			continue
		}
		if heard := n.hears(x); heard || w.rules.hearsay && n.hearsOf(x) {
			if heard {
				n.core.Uncut(x.id)
			} else if w.chance(20) {
				n.core.Cut(x.id, w.now)
			}
			delete(n.since, x.id)
			if down && w.now >= n.falsly[x.id] {
				n.core.Up(x.id)
			}
			continue
		}
		n.core.Uncut(x.id)
		at, ok := n.since[x.id]
		if !ok {
			at = w.now + int64(w.rng.IntN(w.failure))
			n.since[x.id] = at
		}
		if !down && w.now-at >= int64(w.failure) {
			n.core.Down(x.id, false, w.now)
		}
		// Whoever may be back with its votes is not gone.
		if !x.alive && (w.healing || w.proofs && w.chance(20)) && !w.cut[n.host][x.host] && !w.mayVote(x) {
			n.core.Down(x.id, true, w.now)
		}
	}
}

// hears reports whether heartbeats of x reach n.
func (n *xnode) hears(x *xnode) bool {
	return x.alive && !x.paused && !n.w.cut[n.host][x.host]
}

// hearsOf reports whether a third node hears x and is heard by n.
func (n *xnode) hearsOf(x *xnode) bool {
	return slices.ContainsFunc(n.w.hosts, func(y *xnode) bool { return y != n && y != x && n.hears(y) && y.hears(x) })
}

// hearsID is hears for the Core, which may be late to know.
func (n *xnode) hearsID(id NodeID) bool {
	i := slices.IndexFunc(n.w.nodes, func(x *xnode) bool { return x.id == id })
	return i >= 0 && (n.hears(n.w.nodes[i]) != n.w.chance(10))
}
