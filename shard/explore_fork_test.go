package shard

import "slices"

// stand keeps note of the claim under which a node's records are in sync, and
// of the duty to offer them once a claim of another lineage wins.
func (n *xnode) stand(v View) {
	k := v.Known
	switch {
	case k == nil:
	case k.Holds(n.id):
		b := Ballot{k.Epoch, k.Primary}
		if v.Open || k.Primary != n.id && n.stream == b && !n.filling && !n.strays(k) {
			n.standing = k
		}
	case n.standing != nil && Compare(k, n.standing) > 0:
		if !SameLineage(k, n.standing) {
			n.w.tracef("%v has to offer what it holds of %v to %v", n.id, n.standing, k)
			n.duties = append(n.duties, xduty{n.standing, n.data})
			n.w.stats.duties++
		}
		n.standing = nil
	}
}

// offer hands what this node held under a claim that lost a fork to the
// winner, which may be this node itself by now.
func (n *xnode) offer(v View) {
	w := n.w
	if len(n.duties) == 0 || v.Known == nil || w.now-n.offeredAt < 2*xResend {
		return
	}
	n.offeredAt = w.now
	d, to := n.duties[w.rng.IntN(len(n.duties))], w.byID[v.Known.Primary]
	w.send(n, to, false, func() { to.onOffer(n, d.claim, d.old) })
}

// onOffer writes anew the records that are newer by origin, under an epoch
// above both sides; it confirms when its copies have them.
func (n *xnode) onOffer(from *xnode, duty *Claim, old recs) {
	w := n.w
	if !n.core.View(0).Open || n.epoch == 0 || !n.handTo.IsZero() || !n.core.Merge(0, duty, w.now) {
		return
	}
	w.tracef("%v takes offer of %v from %v: %v over %v", n.id, duty, from.id, old, n.data)
	for key := range old {
		newer := old[key].origin > n.data[key].origin
		if w.rules.byVersion {
			newer = old[key].ver > n.data[key].ver
		}
		switch {
		case newer && !w.rules.noOffers:
			w.stats.rewrites++
			n.write(key, rec{val: old[key].val, origin: old[key].origin})
		case !newer:
			w.replaced(old[key].val, n.data[key].val)
		}
	}
	n.confirms = append(n.confirms, xconfirm{from, duty, len(n.log)})
	n.acknowledge()
}

// xduty is what a node held under a claim that lost a fork. It may have
// several: it went on alone, lost, copied from one winner, and lost again.
type xduty struct {
	claim *Claim
	old   recs
}

type xconfirm struct {
	to   *xnode
	duty *Claim
	seq  int
}

func (n *xnode) confirm() {
	n.confirms = slices.DeleteFunc(n.confirms, func(c xconfirm) bool {
		if c.seq > n.mark {
			return false
		}
		n.w.send(n, c.to, false, func() {
			c.to.duties = slices.DeleteFunc(c.to.duties, func(d xduty) bool { return d.claim == c.duty })
		})
		return true
	})
}

// xowed is an acknowledged write that has to survive.
type xowed struct {
	key int
	ver uint64
	val int
}

// acked notes a write that is acknowledged.
func (w *world) acked(n *xnode, key int, ver uint64, val int) {
	w.stats.acks++
	w.tracef("%v acknowledged key %d %d/%d", n.id, key, ver>>40, ver&(1<<40-1))
	w.owed = append(w.owed, xowed{key, ver, val})
	if !w.majority || w.forked {
		w.forgive() // it may have been overtaken by a claim whose copies died
	}
}

// inSync reports whether cl's lineage has no newer claim in force without n.
func (w *world) inSync(n *xnode, cl *Claim) bool {
	newest := cl
	for _, f := range w.inForce {
		if SameLineage(f, cl) && Compare(f, newest) > 0 {
			newest = f
		}
	}
	return newest.Holds(n.id)
}

// replaced notes that a value took the place of an older one.
func (w *world) replaced(old, by int) {
	if old != 0 && old != by && !slices.Contains(w.over[by], old) {
		w.over[by] = append(w.over[by], old)
	}
}

// forgive ends the duty to keep writes of which no copy in sync lives, nor of what
// replaced them. A higher version alone is none of that: a fork, whose holders have
// died since, and another node may each have written without knowing of the other.
func (w *world) forgive() {
	var have [xKeys]map[int]bool // what the copies in sync have, and all that it replaced
	var mark func(k, val int)
	mark = func(k, val int) {
		if !have[k][val] {
			have[k][val] = true
			for _, old := range w.over[val] {
				mark(k, old)
			}
		}
	}
	for k := range have {
		have[k] = map[int]bool{}
	}
	add := func(n *xnode, cl *Claim, r *recs) {
		if cl != nil && w.inSync(n, cl) {
			for k := range r {
				mark(k, r[k].val)
			}
		}
	}
	for _, n := range w.alive() {
		n.stand(n.core.View(0))
		add(n, n.standing, &n.data)
		for _, d := range n.duties {
			add(n, d.claim, &d.old)
		}
	}
	w.owed = slices.DeleteFunc(w.owed, func(o xowed) bool { return !have[o.key][o.val] })
}

// repay checks that no acknowledged write was lost but to a newer one.
func (w *world) repay() {
	for _, n := range w.alive() {
		if !n.core.View(0).Open {
			continue
		}
		for _, o := range w.owed {
			if n.data[o.key].origin < o.ver {
				w.failf("acknowledged write of key %d is lost: %d/%d, %v has %d/%d", o.key, o.ver>>40, o.ver&(1<<40-1),
					n.id, n.data[o.key].origin>>40, n.data[o.key].origin&(1<<40-1))
			}
		}
	}
}
