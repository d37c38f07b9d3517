package node

import (
	"cmp"
	"context"
	"errors"
	"maps"
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
	for claims := range slices.Chunk(slices.Collect(n.table.Load().All()), claimBatch) {
		table = append(table, shard.AppendClaims(nil, claims))
	}
	table = append(table, nil) // an empty batch ends it, on the stream that carried it
	n.inTurn(p, tp.SendClaims, table)
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

// replan computes the plan anew when the member list has changed; changed says
// whether it has, or another set of nodes counts as dead.
func (n *Node) replan(now int64) (changed bool) {
	list, down := n.living()
	changed = !maps.Equal(down, n.downNow)
	n.downNow = down
	settings := n.settings.Load()
	if n.plan == nil || !slices.Equal(list, n.planned) || settings != n.plannedWith {
		n.planAnew(list, settings, now)
		n.planNear, changed = nil, true
	}
	changed = n.replanNear(list, settings, now) || changed
	if changed {
		n.leavers = nil
		for _, m := range list {
			if m.Leaving || n.stepsDown(m.ID) {
				n.leavers = append(n.leavers, m.ID)
			}
		}
	}
	return changed
}

func (n *Node) planAnew(list []shard.Member, settings *shard.Settings, now int64) {
	before := n.membersAt
	if len(list) < len(n.planned) && slices.ContainsFunc(n.planned, func(m shard.Member) bool {
		return !m.Leaving && !slices.ContainsFunc(list, func(o shard.Member) bool { return o.ID == m.ID })
	}) { // one that left in peace is not waited for
		n.planBefore, n.plannedBefore, n.failedAt = n.plan, n.planned, now
	} else if n.planBefore != nil && allBack(n.plannedBefore, list) {
		n.planBefore, n.plannedBefore = nil, nil
	}
	if n.membersAt = now; slices.Equal(list, n.planned) {
		// Settings need only the time in which they reach the others.
		n.membersAt = max(before, now-int64(n.cfg.SettleDelay)+int64(settingsSettle))
	}
	n.planned, n.plannedWith = list, settings
	n.plan = n.planOf(n.plan, list, settings)
	n.planShared.Store(n.plan)
	n.planFor.Store(settings)
	n.plannedFor.Store(&list) // last: see Balanced
}

// planOf plans for a list of members, after last, which may be nil.
func (n *Node) planOf(last *shard.Assignment, list []shard.Member, settings *shard.Settings) *shard.Assignment {
	return last.Again(list, settings.Pins(), n.cfg.Backups).Yield(aways(settings, list))
}

// replanNear keeps the plan without the members that are cut off from this node or
// about to be away, and those whose disk has failed, which nobody waits for.
func (n *Node) replanNear(list []shard.Member, settings *shard.Settings, now int64) (changed bool) {
	if len(n.aside) == 0 && n.cuts.Load() == 0 && !n.lostDisks.Load() && !n.departing.Load() {
		return false
	}
	aside := map[shard.NodeID]int64{}
	for _, m := range list {
		p := n.knownPeer(m.ID)
		if p == nil {
			continue
		}
		since, known := n.aside[m.ID]
		switch {
		case p.lostDisk.Load() && n.lostDisk.Load() == nil: // else the copies stay where they are
			aside[m.ID] = now - int64(n.cfg.RepairDelay)
			if known {
				aside[m.ID] = since
			}
		case !p.cut.Load() && !p.stepping.Load():
		case known:
			aside[m.ID] = since
		default:
			aside[m.ID], n.cutAt = now, now
		}
	}
	if maps.Equal(aside, n.aside) && (len(aside) == 0 || n.planNear != nil) {
		return false
	}
	n.aside, n.planNear = aside, nil
	if len(aside) > 0 {
		n.planNear = n.planOf(nil, slices.DeleteFunc(slices.Clone(list), func(m shard.Member) bool { return n.isAside(m.ID) }), settings)
	}
	return true
}

// isAside reports whether nothing is to be given to a member: it is cut off from this
// node, about to be away, or can store nothing.
func (n *Node) isAside(id shard.NodeID) bool {
	_, aside := n.aside[id]
	return aside
}

// aim returns who is to hold a slot of this node's, as far as this node can bring it
// about. What is to go to a member that is cut off stays, or goes where that can fetch
// it; and a copy that was to be there is made elsewhere when the link has been down
// for as long as a dead node is waited for, or this one departs and nobody who stays has
// one. Until then others that exist stand in.
func (n *Node) aim(cl *shard.Claim, now int64) (primary shard.NodeID, backups []shard.NodeID) {
	primary, backups = n.plan.Primary(cl.Slot), n.plan.Backups(cl.Slot)
	if len(n.aside) == 0 || !n.isAside(primary) && !slices.ContainsFunc(backups, n.isAside) {
		return primary, backups
	}
	planned := append([]shard.NodeID{primary}, backups...)
	if n.isAside(primary) {
		if primary = n.id; n.outlook.leaving {
			primary = n.planNear.Primary(cl.Slot)
		}
	}
	var near []shard.NodeID
	add := func(ids ...shard.NodeID) {
		for _, id := range ids {
			if len(near) < len(backups) && id != primary && !id.IsZero() && !n.isAside(id) && !slices.Contains(near, id) {
				near = append(near, id)
			}
		}
	}
	bare := n.outlook.leaving && !slices.ContainsFunc(cl.Backups, func(id shard.NodeID) bool { return !n.isAside(id) && !n.isLeaver(id) })
	if !bare && slices.ContainsFunc(planned, func(id shard.NodeID) bool { return n.isAside(id) && now-n.aside[id] < int64(n.cfg.RepairDelay) }) {
		add(backups...)
		add(cl.Backups...)
		return primary, near
	}
	add(n.planNear.Primary(cl.Slot))
	add(n.planNear.Backups(cl.Slot)...)
	return primary, near
}

// allBack reports whether every seat of a list is taken in a later one: nobody
// is waited for any more. A node that starts again has another ID.
func allBack(before, list []shard.Member) bool {
	seat := func(m shard.Member) string { return cmp.Or(m.Seat, m.Name) }
	for _, m := range before {
		if !slices.ContainsFunc(list, func(o shard.Member) bool { return seat(o) == seat(m) }) {
			return false
		}
	}
	return true
}

// living lists the members a plan is made for, and the peers that count as dead.
func (n *Node) living() (list []shard.Member, down map[shard.NodeID]bool) {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	down = map[shard.NodeID]bool{}
	for _, p := range n.allPeers() {
		if n.core.IsDown(p.id) {
			down[p.id] = true
		}
	}
	for id := range n.strangers {
		if n.core.IsDown(id) {
			down[id] = true
		}
	}
	return slices.DeleteFunc(n.planMembers(), func(m shard.Member) bool { return down[m.ID] }), down
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

// aways are the settings of that name with the nodes they mean.
func aways(s *shard.Settings, members []shard.Member) map[uint16]shard.NodeID {
	byName := map[string]shard.NodeID{}
	for _, m := range members {
		byName[m.Name] = m.ID // the newest of a name comes last
	}
	byID := map[uint16]shard.NodeID{}
	for slot, name := range s.Aways() {
		byID[slot] = byName[name]
	}
	return byID
}

func (n *Node) planMembers() []shard.Member {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	list := make([]shard.Member, 0, len(n.members)+1)
	for id, m := range n.members {
		if id != n.id && !m.Visitor {
			list = append(list, n.planMember(id, m))
		}
	}
	if !n.cfg.Visitor {
		list = append(list, n.planMember(n.id, n.selfMember()))
	}
	slices.SortFunc(list, func(a, b shard.Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.ID.Compare(b.ID)) })
	return list
}

func (n *Node) planMember(id shard.NodeID, m gossip.Member) shard.Member {
	return shard.Member{Name: m.Name, Seat: m.Seat, Zone: m.Zone, ID: id, Weight: n.weightOf(m), Leaving: m.Leaving}
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
