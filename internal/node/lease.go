package node

import (
	"encoding/binary"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// beatLoop sends heartbeats on time whatever the control loop is busy with. It
// ends when n.stop closes.
func (n *Node) beatLoop() {
	tick := time.NewTicker(n.cfg.Lease / 3)
	defer tick.Stop()
	for {
		n.sendBeats()
		select {
		case <-n.stop:
			return
		case <-tick.C:
		}
	}
}

// sendBeats sends a heartbeat to every peer: this node asks for the lease it
// needs to read as a primary. It carries the slot clock.
func (n *Node) sendBeats() {
	peers := n.allPeers()
	for _, p := range peers {
		t := p.live()
		if t == nil {
			continue
		}
		now := n.env.Now()
		mono := int64(now.Sub(n.start))
		p.mu.Lock()
		lease := n.leaseOfLocked(p, mono)
		p.beat++
		b := beat{p.beat, mono, now.UnixNano()}
		p.beats[p.beat%uint64(len(p.beats))] = b
		p.mu.Unlock()
		_ = t.SendFirst(n.askMarks(p, body(ctlBeat, b.number, uint64(n.slotTime(now)), uint64(lease)), b.mono))
	}
	n.askAround(peers, n.now())
}

// leaseOfLocked is the lease to ask a peer for: four round trips, but at least
// Config.Lease and at most the failure timeout. A lease counts from when it was
// asked for, so where heartbeats take longer than Config.Lease, as among busy
// goroutines on few cores, leases of that length would be over when they come.
func (n *Node) leaseOfLocked(p *peer, now int64) time.Duration {
	trip := p.slowTrip.Load()
	if first := p.beats[(p.replied+1)%uint64(len(p.beats))]; p.beat > p.replied && first.number > p.replied {
		trip = max(trip, now-first.mono) // not answered yet
	}
	return max(n.cfg.Lease, min(time.Duration(4*trip), n.cfg.FailureTimeout))
}

// onBeat lends the asking primary a lease: this node will not open a claim in
// its place until it has run out.
func (n *Node) onBeat(tp *transport.Peer, from shard.NodeID, f *fields) {
	number, clock, lease := f.num(), f.num(), f.num()
	if f.bad || !n.peer(from).up.Load() {
		return // what a node that died had sent before would only put off its succession
	}
	now := n.env.Now()
	n.followClock(int64(clock), now)
	n.peer(from).clockAhead.Store(int64(clock) - n.now()/int64(time.Millisecond))
	n.peer(from).heardAt.Store(n.now())
	lease = min(lease, uint64(10*n.cfg.Lease))
	if n.closing.Load() {
		_ = tp.SendFirst(body(ctlBeatReply, number, 0)) // alive, but lending nothing
		return
	}
	b := body(ctlBeatReply, number, lease)
	last := uint64(0)
	for _, slot := range n.core.Lend(from, int64(now.Sub(n.start))+int64(lease)) {
		b = binary.AppendUvarint(b, uint64(slot)-last)
		last = uint64(slot)
	}
	_ = tp.SendFirst(b)
	n.beatOfHolder(n.peer(from), number)
	if f.more() {
		if have := f.num(); !f.bad {
			n.confirm(tp, n.peer(from), number, have)
		}
	}
}

// clockReach is how far ahead a peer's clock is followed, in milliseconds: one far ahead
// would expire everything.
const clockReach = 60_000

// followClock has the slot clock not be behind that of a peer.
func (n *Node) followClock(clock int64, now time.Time) {
	for old := n.clock.Load(); clock > old && clock < now.UnixMilli()+clockReach; old = n.clock.Load() {
		if n.clock.CompareAndSwap(old, clock) {
			return
		}
	}
}

// succeedClock has the slot clock not be behind that of a primary which this node takes
// over from: what had expired by what that had not announced yet stays so. This node has
// waited for its lease, counted from a heartbeat's arrival, and so for longer than the
// heartbeat was on its way.
func (n *Node) succeedClock(old shard.NodeID) {
	if p := n.knownPeer(old); p != nil && p.clockAhead.Load() != 0 {
		n.followClock(p.clockAhead.Load()+n.now()/int64(time.Millisecond), n.env.Now())
	}
}

// latestClock is what the slot clock may jump to: where those of the peers must be.
func (n *Node) latestClock(now time.Time) int64 {
	latest, mono := n.slotTime(now), n.now()/int64(time.Millisecond)
	for _, p := range n.allPeers() {
		if clock := p.clockAhead.Load() + mono; clock > latest && clock < now.UnixMilli()+clockReach {
			latest = clock
		}
	}
	return latest
}

// onBeatReply counts nine tenths of the lease from when it was asked for, but
// for the slots that the peer leaves out.
func (n *Node) onBeatReply(from shard.NodeID, f *fields) {
	number, lease := f.num(), f.num()
	var except *slotSet
	for slot := uint64(0); f.more(); {
		slot += f.num()
		if f.bad || slot >= shard.Slots {
			return
		}
		if except == nil {
			except = new(slotSet)
		}
		except.add(uint16(slot))
	}
	if f.bad {
		return
	}
	p := n.peer(from)
	p.heardAt.Store(n.now())
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.beats[number%uint64(len(p.beats))]
	if b.number != number || number <= p.replied || lease == 0 || lease > uint64(10*n.cfg.Lease) {
		return
	}
	p.replied = number
	trip := n.now() - b.mono
	p.roundTrip.Store(trip)
	slow := p.slowTrip.Load()
	p.slowTrip.Store(max(trip, slow-slow/8))
	p.except.Store(except)
	span := int64(lease) / 10 * 9
	if mono := b.mono + span; mono > p.leaseMono.Load() {
		p.leaseMono.Store(mono)
		p.leaseWall.Store(b.wall + span)
	}
}

// clockSlack is by how much, in nanoseconds, a wall clock may gain less than the monotonic
// one and not count as set back.
const clockSlack = int64(25 * time.Millisecond)

// passed reports whether a time has come that was fixed by both of this node's clocks:
// either may stand still in a pause. A wall clock that was set back since counts as that
// too, since it would not show a pause in which the monotonic one stands still.
func passed(untilMono, untilWall, mono, wall int64) bool {
	return untilMono <= mono || untilWall <= wall || untilWall-wall > untilMono-mono+clockSlack
}

// patience is for how long a copy may leave a write unacknowledged: four of the
// peer's slowest round trips lately, but at least the replication timeout and at
// most the failure timeout.
func (n *Node) patience(p *peer) time.Duration {
	return max(n.cfg.ReplicationTimeout, min(time.Duration(4*p.slowTrip.Load()), n.cfg.FailureTimeout))
}

// awake reports whether a peer has answered within the patience it is due.
func (n *Node) awake(id shard.NodeID) bool {
	p := n.peer(id)
	return p.up.Load() && p.heardAt.Load() > 0 && n.now()-p.heardAt.Load() < int64(n.patience(p))
}
