package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// onMember takes in what gossip says of a node. Gossip's dispatcher calls it.
func (n *Node) onMember(e gossip.Event) {
	id := shard.NodeID(e.Member.ID)
	n.membersMu.Lock()
	if _, gone := n.gone[id]; gone {
		n.membersMu.Unlock()
		return // proved: gossip is only late
	}
	if n.earlierLifeLocked(id, &e.Member) {
		n.membersMu.Unlock()
		return
	}
	name := n.countMemberLocked(id, e.Kind)
	switch e.Kind {
	case gossip.Joined, gossip.Updated:
		n.members[id] = e.Member
		n.met = n.met || id != n.id
		delete(n.vanished, id)
		if !e.Member.Visitor {
			n.noteNameLocked(id, e.Member.Name)
		}
	case gossip.Failed:
		if n.heardLately(n.peer(id)) {
			n.membersMu.Unlock()
			return // gossip errs, or is ahead: the heartbeats will tell
		}
		delete(n.members, id)
		n.vanished[id] = e.Member
	case gossip.Left:
		n.buryLocked(id)
	}
	var older []shard.NodeID // earlier starts at the very address
	for _, set := range []map[shard.NodeID]gossip.Member{n.members, n.vanished} {
		for o, m := range set {
			if o != id && m.Name == e.Member.Name && m.Addr == e.Member.Addr && o.Compare(id) < 0 {
				older = append(older, o)
			}
		}
	}
	if e.Kind == gossip.Joined {
		for _, o := range older {
			n.buryLocked(o)
		}
	}
	n.membersMu.Unlock()
	if name != "" {
		n.log.Info(name, "peer", e.Member.Name, "id", id, "addr", e.Member.Addr, "weight", e.Member.Weight, "leaving", e.Member.Leaving)
	}
	n.setPeers()
	switch e.Kind {
	case gossip.Joined:
		for _, o := range older {
			n.post(event{kind: evGone, id: o})
		}
		n.post(event{kind: evUp, id: id})
		if e.Member.Name == n.cfg.Name && id.Compare(n.id) > 0 {
			n.supersede(id)
		}
	case gossip.Failed:
		n.post(event{kind: evDown, id: id})
	case gossip.Left:
		n.post(event{kind: evGone, id: id})
	}
	n.poke()
}

// countMemberLocked counts a change of a member, and names the event; "": there
// is none, or the control loop tells it.
func (n *Node) countMemberLocked(id shard.NodeID, kind gossip.EventKind) string {
	_, member := n.members[id]
	_, vanished := n.vanished[id]
	switch {
	case kind == gossip.Failed && member && !n.heardLately(n.peer(id)):
		n.stats.failures.Add(1)
	case kind == gossip.Left && (member || vanished):
		n.stats.departures.Add(1)
		return eventLeft
	case kind != gossip.Failed && vanished:
		n.stats.returns.Add(1)
		return eventReturned
	case kind == gossip.Joined && !member && id != n.id:
		n.stats.joins.Add(1)
		return eventJoined
	case kind == gossip.Updated:
		return eventChanged
	}
	return ""
}

// buryLocked takes a node off the list that is proved gone; its ID never comes back.
func (n *Node) buryLocked(id shard.NodeID) {
	delete(n.members, id)
	delete(n.vanished, id)
	n.gone[id] = n.now()
}

// earlierLifeLocked reports whether a member is an earlier start of this node, whose
// port or disk this process has: gossip can tell a node of its own earlier life, and
// not that it has ended. It is no member, and counts as dead when any stranger does;
// not at once, since until then there may be newer claims than those heard so far.
func (n *Node) earlierLifeLocked(id shard.NodeID, m *gossip.Member) bool {
	return m.Name == n.cfg.Name && id.Compare(n.id) < 0 && (m.Addr == n.addr || n.past.old[id] && id.Counter() == n.past.last)
}

// vanish moves a member among those that may be back, or back among the living.
func (n *Node) vanish(id shard.NodeID, silent bool) {
	n.membersMu.Lock()
	from, to := n.vanished, n.members
	if silent {
		from, to = to, from
	}
	m, ok := from[id]
	if ok {
		to[id] = m
		delete(from, id)
	}
	n.membersMu.Unlock()
	switch {
	case ok && silent:
		n.stats.failures.Add(1) // which the control loop logs
	case ok:
		n.stats.returns.Add(1)
		n.log.Info(eventReturned, "peer", m.Name, "id", id)
	}
}

// setPeers tells the transport whom to keep a connection to: the living, and
// those only suspected, which may be back.
func (n *Node) setPeers() {
	n.listMu.Lock() // the newest list is given last
	defer n.listMu.Unlock()
	n.membersMu.Lock()
	var list []transport.PeerAddr
	for _, set := range []map[shard.NodeID]gossip.Member{n.members, n.vanished} {
		for id, m := range set {
			if id != n.id {
				list = append(list, transport.PeerAddr{ID: transport.NodeID(id), Addr: m.Addr})
			}
		}
	}
	n.membersMu.Unlock()
	n.transport.SetPeers(list)
}

// PeerUp begins to talk to a node: it is sent the whole table. (transport.Handler)
func (n *Node) PeerUp(tp *transport.Peer) {
	p := n.peerUp(tp)
	var table [][]byte
	for claims := range slices.Chunk(slices.Collect(n.table.Load().All()), messageBatch) {
		table = append(table, claimsBody(claims))
	}
	table = append(table, claimsBody(nil)) // an empty batch ends it, on the stream that carried it
	n.inTurn(p, func(b []byte) error { return n.sendClaims(tp, b) }, table)
	n.tellPast(p)
	n.tellSettings(p.id)
	if n.stepping.Load() {
		n.sendControl(p.id, []byte{ctlStepDown})
	}
	n.post(event{kind: evUp, id: p.id})
	n.resume(p)
}

// inTurn sends a peer bodies of which the last says that these were all. Where one
// finds no room it waits with those behind it: the peer would take what it has for all,
// and found slots that others hold.
func (n *Node) inTurn(p *peer, send func([]byte) error, bodies [][]byte) {
	up := p.upSince.Load()
	room := func() bool { // or no use
		for len(bodies) > 0 && p.up.Load() && p.upSince.Load() == up {
			switch err := send(bodies[0]); {
			case errors.Is(err, transport.ErrOverloaded):
				return false
			case err != nil: // its connection ends
				return true
			}
			bodies = bodies[1:]
		}
		return true
	}
	if room() {
		return
	}
	n.background(func() { // ends with the node, or when the peer is down
		again := time.NewTicker(tickBusy)
		defer again.Stop()
		for !room() {
			select {
			case <-again.C:
			case <-n.stop:
				return
			}
		}
	})
}

// resume sends the copies on a peer what they missed while it was cut off.
func (n *Node) resume(p *peer) {
	for i := range n.slots {
		s := &n.slots[i]
		var ready []waiter
		s.mu.Lock()
		if l := s.links.to(p.id); l != nil && s.view.Open {
			l.started = false
			if g := s.learner; g != nil && g.link == l && g.stage < stageCopied {
				n.stopCopyLocked(s) // chunks may be lost: it begins again
			}
			n.restartLocked(s)
			ready = n.advanceLocked(s) // a learner may have been given up
		}
		if t := s.settle; t != nil {
			if l := s.links.to(p.id); l != nil {
				l.started = false
				n.unionLocked(s)
			}
			t.asked = 0
		}
		s.mu.Unlock()
		finish(ready, nil)
	}
}

// PeerDown looks whether a node whose kernel ended the connection is gone.
// (transport.Handler)
func (n *Node) PeerDown(tp *transport.Peer, cause transport.Cause) {
	p := n.peer(shard.NodeID(tp.ID()))
	p.up.Store(false)
	n.leave(p.id)
	n.log.Debug("connection ended", "peer", p.id, "cause", cause)
	if n.closing.Load() || cause != transport.CauseEOF && cause != transport.CauseReset {
		return
	}
	n.background(func() { n.prove(p.id) })
}

// prove asks the address of a node for proof that it is gone: its port
// refuses, or a newer start of its name answers. It gives up when the node is
// back or nothing can be proved.
func (n *Node) prove(id shard.NodeID) {
	n.membersMu.Lock()
	m, ok := n.members[id]
	if !ok {
		m, ok = n.vanished[id]
	}
	n.membersMu.Unlock()
	if !ok {
		return
	}
	for range 20 {
		if n.peer(id).up.Load() || n.closing.Load() {
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, 500*time.Millisecond)
		err := n.transport.Probe(ctx, m.Addr)
		if err == nil {
			if who, _, herr := n.transport.HelloTo(ctx, m.Addr, nil); herr == nil && who.Name == m.Name && shard.NodeID(who.ID).Compare(id) > 0 {
				err = transport.ErrRefused
			}
		}
		cancel()
		if errors.Is(err, transport.ErrRefused) {
			n.post(event{kind: evGone, id: id})
			n.membersMu.Lock()
			n.buryLocked(id)
			n.membersMu.Unlock()
			n.gossip.Forget(gossip.NodeID(id))
			n.setPeers()
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-n.stop:
			return
		}
	}
}

// Claims takes in claims in force that a peer pushes. (transport.Handler)
//
// Most come on the control stream: on that of calls thousands would hold those up.
func (n *Node) Claims(tp *transport.Peer, b []byte) {
	claims, err := shard.DecodeClaims(b, shard.Slots)
	if err != nil {
		n.log.Warn("peer sent malformed claims", "peer", shard.NodeID(tp.ID()), "err", err)
		return
	}
	if len(claims) == 0 {
		n.peer(shard.NodeID(tp.ID())).tableSeen.Store(true)
		n.poke()
		return
	}
	n.learn(claims)
}

// memberIDs lists the living members, this node among them.
func (n *Node) memberIDs() []shard.NodeID {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	ids := []shard.NodeID{n.id}
	for id := range n.members {
		if id != n.id {
			ids = append(ids, id)
		}
	}
	return ids
}

func (n *Node) selfMember() gossip.Member {
	low, high := n.protocols()
	return gossip.Member{
		ID: gossip.NodeID(n.id), Name: n.cfg.Name, Addr: n.addr, Zone: n.cfg.Zone, Seat: n.cfg.Seat, Weight: n.cfg.Weight,
		MinProto: low, MaxProto: high, Leaving: n.leaves(), Visitor: n.cfg.Visitor,
		Attributes: packAttributes(*n.attributes.Load()),
	}
}

func (n *Node) isLeaving(id shard.NodeID) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	return n.members[id].Leaving
}

// mayFound reports whether slots that were never claimed may be founded: all
// members seen have told their tables, and nobody else is expected.
func (n *Node) mayFound(settled bool) bool {
	n.membersMu.Lock()
	others, weighted := 0, 0
	if n.weight() > 0 {
		weighted = 1
	}
	ready := true
	var untold []shard.NodeID
	for id, m := range n.members {
		if id == n.id {
			continue
		}
		others++
		if n.weightOf(m) > 0 {
			weighted++
		}
		p := n.peer(id)
		switch told := p.up.Load() && p.told(); {
		case told || !p.cut.Load():
			ready = ready && told
		case n.weightOf(m) > 0:
			untold = append(untold, id)
		}
	}
	met, told := n.met, weighted-len(untold)
	for id, m := range n.vanished {
		if n.weightOf(m) > 0 && !n.peer(id).told() {
			untold = append(untold, id)
		}
	}
	n.membersMu.Unlock()
	if weighted < n.cfg.BootstrapExpect || !n.joined.Load() || n.Leaving() {
		return false
	}
	if len(untold) > 0 && !n.goesWithout(untold, told) {
		return false
	}
	switch alone := n.alone.Load(); {
	case !alone && !met: // seeds answered, and hold what there is: see joinLate
		return false
	case others == 0:
		return alone || n.cfg.BootstrapExpect > 0 || settled
	}
	return ready && settled
}

// goesWithout reports whether slots may be founded although members fell silent before
// they had told their tables, as for a newcomer whose network fails: those may hold
// the slots that nobody else knows of. With Available they are waited for like holders
// that are silent; with Majority most have to have told, and none of these to hold any.
// Those that are cut off from this node alone have told others, who tell it all.
func (n *Node) goesWithout(untold []shard.NodeID, told int) bool {
	if n.cfg.Policy != Majority {
		return n.now()-max(n.failedAt, n.cutAt) >= int64(n.cfg.OrphanWait)
	}
	if told <= len(untold) {
		return false
	}
	for cl := range n.table.Load().All() {
		if slices.Contains(untold, cl.Primary) {
			return false
		}
	}
	return true
}

// noData reports whether no member may hold slots.
func (n *Node) noData() bool {
	p := n.planShared.Load()
	return p != nil && p.Primary(0).IsZero()
}
