package node

import (
	"encoding/binary"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A link between two nodes may be down while others hear both. If each of the two
// counted the other as dead they would take slots from one another for as long as it
// lasts, by the votes of those others. So a node that hears nothing from a peer asks
// around, and a peer that others hear is alive: it is only cut off from this node.
// Calls for its slots make a detour, see detour.go.

const (
	asksAround = 3  // so many are asked with each heartbeat, beside those who knew last time
	asksFar    = 16 // or so many, where nobody knew
	asksAfter  = 64 // so many nodes at most
	asksDead   = 16 // after those that count as dead only with each so many heartbeats
)

// hearsay is that another node heard of a peer, where this one has not for a while.
type hearsay struct {
	at   int64
	from *peer
}

// toldAt is when another node was the last to hear the peer; 0: never.
func (p *peer) toldAt() int64 {
	if h := p.hearsay.Load(); h != nil {
		return h.at
	}
	return 0
}

// askAround asks some peers when they heard of the members that this node has not
// heard for half the failure timeout: by the time that it would count them as dead,
// there are answers.
func (n *Node) askAround(peers []*peer, now int64) {
	var missed []*peer
	half := int64(n.cfg.FailureTimeout) / 2
	n.beatNo++
	for _, p := range peers {
		if now-max(p.heardAt.Load(), p.knownAt) > half && (!p.silent.Load() || n.beatNo%asksDead == 0) {
			missed = append(missed, p)
		}
	}
	if len(missed) == 0 {
		return
	}
	n.membersMu.Lock()
	missed = slices.DeleteFunc(missed, func(p *peer) bool {
		_, member := n.members[p.id]
		_, vanished := n.vanished[p.id]
		return !member && !vanished
	})
	n.membersMu.Unlock()
	if len(missed) == 0 {
		return
	}
	if len(missed) > asksAfter { // others next time: allPeers is in no order
		missed = missed[:asksAfter]
	}
	b := body(ctlAround, uint64(now))
	most := asksAround
	var first []*peer
	for _, p := range missed {
		b = append(b, p.id[:]...)
		h := p.hearsay.Load()
		if h == nil || now-h.at > half {
			most = asksFar
		}
		if h != nil && !slices.Contains(first, h.from) {
			first = append(first, h.from)
		}
	}
	asked := 0
	for _, p := range append(first, peers...) {
		if t := p.live(); t != nil && asked < most+len(first) && now-p.heardAt.Load() <= half {
			_ = t.SendFirst(b)
			asked++
		}
	}
}

// onAround tells how long ago this node heard from those asked after.
func (n *Node) onAround(tp *transport.Peer, f *fields) {
	at := f.num()
	b := body(ctlHeard, at)
	for range asksAfter {
		id, ok := f.id()
		if !ok {
			break
		}
		p := n.knownPeer(id)
		if p == nil || !p.up.Load() {
			continue
		}
		if heard := p.heardAt.Load(); heard > 0 {
			b = append(b, id[:]...)
			b = binary.AppendUvarint(b, uint64(max(n.now()-heard, 0)))
		}
	}
	_ = tp.SendFirst(b)
}

// onHeard takes in what a peer heard, as of when it was asked.
func (n *Node) onHeard(from shard.NodeID, f *fields) {
	asked := int64(f.num())
	if now := n.now(); asked < 0 || asked > now {
		return
	}
	for f.more() {
		id, _ := f.id()
		ago := f.num()
		if p := n.knownPeer(id); !f.bad && p != nil && ago < uint64(n.cfg.FailureTimeout) && asked > int64(ago) {
			p.heardBy(n.peer(from), asked-int64(ago))
		}
	}
}

// heardBy notes that another node heard of the peer.
func (p *peer) heardBy(from *peer, at int64) {
	for {
		before := p.hearsay.Load()
		if before != nil && at <= before.at || p.hearsay.CompareAndSwap(before, &hearsay{at, from}) {
			return
		}
	}
}

// listen notices peers that fall silent, those that are heard again, and those that
// only others hear. A node whose own loop was late has heard nobody for that reason:
// it begins to count anew. Control loop only.
func (n *Node) listen(now int64) {
	if now-n.steppedAt > int64(n.cfg.Lease) {
		n.resumedAt = now
	}
	n.steppedAt = now
	timeout := int64(n.cfg.FailureTimeout)
	for _, p := range n.allPeers() {
		heard, told := p.heardAt.Load(), p.toldAt()
		missed := now-max(heard, p.knownAt, n.resumedAt) > timeout
		alive := told > 0 && now-told <= timeout
		switch silent := max(heard, told) > 0 && missed && !alive; {
		case silent && !p.silent.Load():
			p.silent.Store(true)
			n.vanish(p.id, true)
			n.post(event{kind: evDown, id: p.id})
			n.leaveGuests(p.id) // of a host without power the connection stands
			n.abandon(p, func(_ uint16, elsewhere bool) bool { return elsewhere })
		case !silent && p.silent.Load() && max(heard, told) >= n.resumedAt:
			p.silent.Store(false)
			n.vanish(p.id, false)
			n.post(event{kind: evUp, id: p.id})
		}
		n.setCut(p, missed && alive)
	}
}

// setCut notes that there is no way to a peer but by others, or that there is one
// again. What was sent to it and not answered may make the detour.
func (n *Node) setCut(p *peer, cut bool) {
	if p.cut.Load() == cut {
		return
	}
	p.cut.Store(cut)
	if !cut {
		n.cuts.Add(-1)
		n.post(event{kind: evUncut, id: p.id})
		n.log.Info(eventLinkBack, "peer", n.who(p.id), "id", p.id)
		return
	}
	n.cuts.Add(1)
	n.post(event{kind: evCut, id: p.id})
	n.log.Warn(eventCutOff, "peer", n.who(p.id), "id", p.id, "heard_by", n.who(p.hearsay.Load().from.id))
	n.abandon(p, func(uint16, bool) bool { return true })
}

func (n *Node) abandon(p *peer, which func(slot uint16, elsewhere bool) bool) {
	if t := p.t.Load(); t != nil {
		t.Abandon(which)
	}
}

// hears reports whether a node is heard from directly.
func (n *Node) hears(id shard.NodeID) bool {
	p := n.peer(id)
	return p.up.Load() && p.heardAt.Load() > 0 && n.now()-p.heardAt.Load() < int64(n.cfg.FailureTimeout)
}

// heardLately reports whether a peer has answered within the failure timeout, this
// node or another.
func (n *Node) heardLately(p *peer) bool {
	told := p.toldAt()
	return n.hears(p.id) || told > 0 && n.now()-told < int64(n.cfg.FailureTimeout)
}
