package node

import (
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// sendBeats sends a heartbeat to every peer: this node asks for the lease it
// needs to read as a primary. It carries the slot clock.
func (n *Node) sendBeats() {
	for _, p := range n.allPeers() {
		t := p.live()
		if t == nil {
			continue
		}
		now := n.env.Now()
		p.mu.Lock()
		p.beat++
		b := beat{p.beat, int64(now.Sub(n.start)), now.UnixNano()}
		p.beats[p.beat%uint64(len(p.beats))] = b
		p.mu.Unlock()
		_ = t.SendControl(body(ctlBeat, b.number, uint64(n.slotTime(now)), uint64(n.cfg.Lease)))
	}
}

// onBeat lends the asking primary a lease: this node will not open a claim in
// its place until it has run out.
func (n *Node) onBeat(tp *transport.Peer, from shard.NodeID, f *fields) {
	number, clock, lease := f.num(), f.num(), f.num()
	if f.bad {
		return
	}
	now := n.env.Now()
	// A peer's clock far ahead would expire everything: it is followed only
	// within a minute.
	if c := int64(clock); c > n.clock.Load() && c < now.UnixMilli()+60_000 {
		n.clock.Store(c)
	}
	n.peer(from).heardAt.Store(n.now())
	lease = min(lease, uint64(10*n.cfg.Lease))
	n.coreMu.Lock()
	lend := n.core.MayLend(from) && !n.closing.Load()
	if lend {
		n.core.Lease(from, int64(now.Sub(n.start))+int64(lease))
	}
	n.coreMu.Unlock()
	if !lend {
		lease = 0 // alive, but not lending
	}
	_ = tp.SendControl(body(ctlBeatReply, number, lease))
}

// onBeatReply counts nine tenths of the lease from when it was asked for.
func (n *Node) onBeatReply(from shard.NodeID, f *fields) {
	number, lease := f.num(), f.num()
	if f.bad {
		return
	}
	p := n.peer(from)
	p.heardAt.Store(n.now())
	p.mu.Lock()
	b := p.beats[number%uint64(len(p.beats))]
	p.mu.Unlock()
	if b.number != number || lease == 0 || lease > uint64(10*n.cfg.Lease) {
		return
	}
	span := int64(lease) / 10 * 9
	if mono := b.mono + span; mono > p.leaseMono.Load() {
		p.leaseMono.Store(mono)
		p.leaseWall.Store(b.wall + span)
	}
}

// listen notices peers that fall silent, and those that are heard again. A
// node whose own loop was late has heard nobody for that reason: it begins to
// count anew. Control loop only.
func (n *Node) listen(now int64) {
	if now-n.steppedAt > int64(n.cfg.Lease) {
		n.resumedAt = now
	}
	n.steppedAt = now
	for _, p := range n.allPeers() {
		heard := max(p.heardAt.Load(), n.resumedAt)
		switch silent := p.heardAt.Load() > 0 && now-heard > int64(n.cfg.FailureTimeout); {
		case silent && !p.silent:
			p.silent = true
			n.vanish(p.id, true)
			n.post(event{kind: evDown, id: p.id})
		case !silent && p.silent && p.heardAt.Load() >= n.resumedAt:
			p.silent = false
			n.vanish(p.id, false)
			n.post(event{kind: evUp, id: p.id})
		}
	}
}

// heardLately reports whether a peer has answered within the failure timeout.
func (n *Node) heardLately(p *peer) bool {
	return p.up.Load() && p.heardAt.Load() > 0 && n.now()-p.heardAt.Load() < int64(n.cfg.FailureTimeout)
}
