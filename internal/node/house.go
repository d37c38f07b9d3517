package node

import (
	"encoding/binary"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// wakeEvict asks for room.
func (n *Node) wakeEvict() {
	select {
	case n.evictWake <- struct{}{}:
	default:
	}
}

func (n *Node) serves(slot uint16) bool { return n.fronts[slot].licence.Load() != nil }

// evictLoop deletes victims while memory is short, as versioned deletes in
// the stream. It ends when n.stop closes.
func (n *Node) evictLoop() {
	var victims []store.Candidate
	for {
		select {
		case <-n.stop:
			return
		case <-n.evictWake:
		}
		relief := n.relief.Swap(0) // a copy of slots served here is short
		for round := 0; (n.engine.Short(n.headroom) || relief > 0) && !n.cfg.EvictNone && round < 1024 && !n.closing.Load() && n.lostDisk.Load() == nil; round++ {
			victims = n.engine.Victims(victims[:0], 64, n.serves)
			if len(victims) == 0 {
				break
			}
			relief -= int64(len(victims))
			tried, removed := false, false
			for i := range victims {
				if victims[i].Kind == kindLock {
					continue // who holds it relies on it
				}
				tried = true
				if n.remove(&victims[i], causeEvicted) {
					removed = true
					n.stats.evictions.Add(1)
				}
			}
			if tried && !removed {
				break // a disk or a peer is behind, and would be for the next ones
			}
		}
	}
}

// remove deletes the record of exactly the candidate's version, for a cause that
// those who watch are told.
func (n *Node) remove(c *store.Candidate, cause uint8) bool {
	if c.Unloaded {
		return false
	}
	call := Call{Op: opRemove, Slot: c.Slot, Kind: c.Kind, Key: c.Key, Field: c.Field, Version: c.Version, Flags: transport.FlagAckPrimary, Delta: int64(cause)}
	var r Result
	return n.write(&call, &transport.Request{CallID: transport.CallID{Node: n.id}}, &r, func(error) {}) == nil
}

// tombstoneKeep is how long a node keeps the tombstones of slots that were
// forked or recovered: a loser may be back with older records by then.
const tombstoneKeep = time.Hour

const houseTick = 250 * time.Millisecond

// houseLoop deletes what has expired, purges tombstones, compares tables with
// peers and forgets nodes of the past. It ends when n.stop closes.
func (n *Node) houseLoop() {
	tick := time.NewTicker(houseTick)
	defer tick.Stop()
	var expired []store.Candidate
	for round := 0; ; round++ {
		select {
		case <-n.stop:
			return
		case <-tick.C:
		}
		n.pace(houseTick)
		if n.engine.Short(n.headroom) {
			n.wakeEvict()
		}
		n.tendGuests()
		n.tendFeeds()
		n.askForMissed()
		n.forget(n.now())
		now := n.slotTime(n.env.Now())
		// Of millions that expire at once the rest is left to the next ticks.
		for more, until := true, n.env.Now().Add(houseTick); more && !n.closing.Load() && n.env.Now().Before(until); {
			expired = n.engine.Expired(expired[:0], 512, func(uint16) int64 { return now }, n.serves)
			for i := range expired {
				if n.remove(&expired[i], causeExpired) {
					n.stats.expiries.Add(1)
				}
			}
			more = len(expired) == 512
		}
		if n.cuts.Load() > 0 { // claims of who is cut off come by way of others alone
			n.compareTables(round)
		}
		if round%4 == 0 {
			n.compareTables(round / 4)
			n.hot.Tick() // once a second
			n.lookForPackets()
			if n.stepping.Load() {
				n.tellStepDown()
			}
		}
		if round%8 == 0 {
			n.purge()
			n.pruneNames()
		}
	}
}

// purge tells the copies what is acknowledged, and raises the floor over
// tombstones that all of them have. Not while a copy is being made: its snapshot
// may hold what a tombstone deleted. Not in a slot that was forked, nor while a
// node is missed that may go on as a fork: it may be back with older records. But
// where memory is short that has to be risked.
func (n *Node) purge() {
	may := n.nobodyMissed() || n.engine.Short(2*n.headroom)
	for i := range n.slots {
		if n.jammed() {
			return // the disk would be waited for under a slot's lock, and by the control loop for that
		}
		s := &n.slots[i]
		if s.serving.Load() == nil {
			continue
		}
		s.mu.Lock()
		if s.view.Open && s.learner == nil {
			n.purgeLocked(s, may)
		}
		s.mu.Unlock()
	}
}

// mayHold reports whether a member may have records: by the weight that it was started
// with, and if that was changed since perhaps for what it got by then, or by the new one.
func (n *Node) mayHold(m gossip.Member) bool { return m.Weight > 0 || n.weightOf(m) > 0 }

// nobodyMissed reports whether every node that may hold slots, or went away
// without proof in the last hour, has answered just now.
func (n *Node) nobodyMissed() bool {
	now := n.now()
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for id, m := range n.members {
		if id != n.id && n.mayHold(m) && now-n.peer(id).leaseMono.Load() > int64(n.cfg.ReplicationTimeout) {
			return false
		}
	}
	for id, m := range n.vanished {
		if n.mayHold(m) && now-n.peer(id).heardAt.Load() < int64(tombstoneKeep) {
			return false
		}
	}
	return true
}

// purgeLocked raises the floor to what was acknowledged when the copies were
// last told: who has fallen silent since is missed by now.
func (n *Node) purgeLocked(s *slot, may bool) {
	for _, l := range s.links {
		if !l.started || l.parked {
			return // it would miss what is said only once, or take it for a gap
		}
	}
	lineage, acked := s.view.Known.Lineage, s.acked.Load()
	may = may && (len(lineage) == 1 || n.now()-n.openedAt > int64(tombstoneKeep)) && n.engine.SlotStats(s.no).Tombstones > 0
	if !may && s.told >= acked {
		return
	}
	a := transport.Append{
		Slot: s.no, Epoch: s.view.Known.Epoch, Prev: s.ringTopLocked(), Version: s.ringTopLocked(), Mark: acked, Cause: causeMark,
	}
	if may && s.told > 0 {
		_ = n.engine.Purge(s.no, s.told)
		a.Mark, a.Cause = s.told, causeFloor
	}
	s.told = acked
	for _, l := range s.links {
		a.Session = l.session
		n.sendAppend(l, &a)
	}
}

// compareTables sends a peer the digests of this node's table; the peer
// answers with its claims of blocks that differ.
func (n *Node) compareTables(round int) {
	heard := n.allHeard()
	if len(heard) == 0 {
		return
	}
	b := []byte{ctlDigests}
	for _, d := range n.table.Load().Digests() {
		b = binary.BigEndian.AppendUint64(b, d)
	}
	heard[round%len(heard)].control(b)
}

// onDigests answers with no more than a batch. Claims are told to all when they
// come in force, so what differs is mostly on its way, and while thousands of
// slots change everything differs; what was lost comes with one of the next
// answers, which begin at another block each. A peer whose link is slow gets none while
// what was told it waits for that.
func (n *Node) onDigests(tp *transport.Peer, f *fields) {
	if tp.ControlQueued() > muchQueued {
		return
	}
	mine := n.table.Load()
	digests := mine.Digests()
	if len(f.b) != 8*len(digests) {
		return
	}
	var claims []*shard.Claim
	first := int(n.env.Uint64() % uint64(len(digests)))
	for i := range digests {
		i = (first + i) % len(digests)
		if binary.BigEndian.Uint64(f.b[8*i:]) == digests[i] {
			continue
		}
		for _, cl := range mine.Block(i) {
			if cl != nil {
				claims = append(claims, cl)
			}
		}
		if len(claims) >= claimBatch {
			break
		}
	}
	if len(claims) > 0 {
		_ = n.sendClaims(tp, claimsBody(claims))
	}
}
