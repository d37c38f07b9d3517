package node

import (
	"slices"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

const (
	maxCopies      = 512 // copies under way at once
	leastHandovers = 128 // hand-overs under way at once: calls wait meanwhile
	maxHandovers   = 1024
	emptyFactor    = 8                      // so many times as many where the slots are empty
	copyStall      = 5 * time.Second        // a copy that does not get on for so long begins again
	holdLimit      = time.Second            // a hand-over that can't drain for so long is put off
	coverEvery     = time.Second            // slots that nobody serves are looked for so often at least
	lookPart       = 2048                   // so many slots under way are looked at each tickIdle, where nothing is noted of them
	surveyParts    = 8                      // in which all slots are looked at where the circumstances have changed
	leaveOutAtOnce = 64                     // copies of who steps down that a step gives up: nobody waits for that, and calls do for hand-overs
	mendAfter      = 500 * time.Millisecond // a dead witness is not replaced sooner after a death
	surveyPart     = 512                    // so many slots are looked at each tickIdle, whatever is noted: all in 1.6 s
)

// outlook is what decides about all slots alike: when it changes, all are
// looked at.
type outlook struct {
	settled   bool // the member list has been quiet for the settling time, or is whole again
	repairing bool // a node died lately: it may be back
	found     bool
	leaving   bool // this node gives its slots away
	stepping  bool // to those that have them already
	paused    bool // balance waits, see heldBackLocked
	awaiting  bool // a member was cut off lately: the link may be back
	lostDisk  bool // that of another member has failed
}

// reconcile moves the slots this node serves one step towards the plan, and
// founds those that are its to found. Repair comes before moves. It looks at
// slots where something happened or is under way, and at all of them where
// the circumstances have changed.
func (n *Node) reconcile(now int64) {
	defer func() { n.moved = n.moved || n.reconciling() }()
	n.leaveOuts = leaveOutAtOnce
	changed := n.replan(now)
	if n.plan == nil {
		return
	}
	settled := now >= n.settlesAt && !n.planDue
	o := outlook{
		settled: settled, found: n.mayFound(settled), leaving: n.leaves() || n.stepping.Load(), stepping: n.stepping.Load(), paused: n.settings.Load().Paused(),
		repairing: n.planBefore != nil && now-n.failedAt < int64(n.cfg.RepairDelay),
		awaiting:  len(n.aside) > 0 && now-n.cutAt < int64(n.cfg.RepairDelay),
		lostDisk:  n.lostDisks.Load() && slices.ContainsFunc(n.planned, func(m shard.Member) bool { return n.isAside(m.ID) && n.peer(m.ID).lostDisk.Load() }),
	}
	a := &n.agenda
	notes := a.take()
	tick := now-n.lookedAt >= int64(tickIdle)
	switch {
	case changed || o != n.outlook:
		n.outlook, n.lookedAt = o, now
		n.cover(now)
		// The others get to work while the rest is decided.
		for from := 0; from < shard.Slots; from += shard.Slots / surveyParts {
			n.carryOut()
			n.survey(from, from+shard.Slots/surveyParts, now)
		}
	case tick && now-n.lapsedAt >= int64(n.cfg.Lease) && n.lapses(now):
		n.lookedAt, n.lapsedAt = now, now
		n.cover(now)
		for no := range n.slots {
			n.look(uint16(no), now)
		}
	default:
		for _, no := range notes {
			n.look(no, now)
		}
		if !tick {
			break
		}
		n.lookedAt = now
		for _, no := range a.activeNow(lookPart) {
			n.look(no, now)
		}
		n.lookLate(now)
		if n.unclaimed || n.uncovered.Load() > 0 || now-n.coveredAt >= int64(coverEvery) {
			n.cover(now)
		}
		// A part at a time: all at once would keep claims waiting.
		n.survey(n.surveyed, n.surveyed+surveyPart, now)
		n.surveyed = (n.surveyed + surveyPart) % shard.Slots
	}
	for i := range a.queues {
		waits := toRepair + progress(i)
		for a.counts[copying] < n.copies.size && a.counts[handing] < n.handovers.size {
			no, ok := a.next(&a.queues[i], waits)
			if !ok {
				break
			}
			n.look(no, now)
			if a.state[no] == waits {
				break // no turn for it yet
			}
		}
	}
}

// reconciling reports whether slots are on their way.
func (n *Node) reconciling() bool {
	a := &n.agenda
	return a.counts[copying]+a.counts[handing]+a.counts[toRepair]+a.counts[toMove] > 0
}

// survey looks at the slots in [from, to) that this node serves and that are
// not as the plan has them. It takes no lock for the others: there are
// thousands, and under load each lock is a wait.
func (n *Node) survey(from, to int, now int64) {
	table := n.table.Load()
	for i := from; i < to; i++ {
		no := uint16(i)
		cl := table.Claim(no)
		if n.agenda.state[no] != atRest || cl != nil && cl.Primary == n.id && !n.conforms(cl, now) {
			n.look(no, now)
		}
	}
}

// conforms reports whether a claim of this node's is as the plan has it, with
// nobody dead.
func (n *Node) conforms(cl *shard.Claim, now int64) bool {
	primary, backups := n.aim(cl, now)
	if n.outlook.stepping || primary != n.id || !sameSet(cl.Backups, backups) || 1+len(cl.Backups)+len(cl.Witnesses) < shard.GroupSize(n.cfg.Backups) || n.thinned(cl) {
		return false
	}
	return len(n.downNow) == 0 || !slices.ContainsFunc(cl.Backups, n.isDown) && !slices.ContainsFunc(cl.Witnesses, n.isDown)
}

// cover looks for slots that nobody serves, and sees to those that are this
// node's to begin.
func (n *Node) cover(now int64) {
	n.coveredAt = now
	unclaimed, uncovered := 0, 0
	table := n.table.Load()
	members := n.memberIDs()
	met := map[shard.NodeID]int64{}
	back := sync.OnceValue(n.idsByName)
	waiting := awaited{names: map[string]bool{}}
	for i := range n.slots {
		no := uint16(i)
		cl := table.Claim(no)
		switch {
		case cl == nil:
			unclaimed++
			uncovered++
			if !n.outlook.found {
				continue
			}
			n.membersMu.Lock()
			old := n.past.claims[no]
			n.membersMu.Unlock()
			if old == nil {
				n.foundSlot(no, n.plan, now)
				continue
			}
			h := n.heir(old, n.plan.Primary(no), back(), now)
			if h.first == n.id {
				n.recoverSlot(old, h.others, n.plan, now)
			} else if h.first.IsZero() {
				waiting.add(h.missing...)
			}
			continue
		case cl.Primary == n.id: // it may be fenced by a claim of which no holder lives
			if n.slots[i].serving.Load() == nil {
				n.orphan(no, false, back, now)
			}
			continue
		case slices.Contains(members, cl.Primary):
			continue
		}
		n.meet(cl, met, now)
		if !n.isDown(cl.Primary) {
			continue
		}
		uncovered++
		if n.agenda.state[no] != atRest {
			continue
		}
		if alone := n.wasSoleHolder(cl); alone || n.plan.Primary(no) == n.id || cl.Holds(n.id) {
			n.orphan(no, alone, back, now)
		}
	}
	n.knowStrangers(met, now)
	n.unclaimed = unclaimed > 0 && n.outlook.found
	n.uncovered.Store(int64(uncovered))
	n.tellAwaited(waiting)
}

// look takes the next step for one slot.
func (n *Node) look(no uint16, now int64) {
	p := atRest
	cl := n.table.Load().Claim(no)
	mine := cl != nil && cl.Primary == n.id
	if mine {
		p = n.improve(&n.slots[no], n.plan, now)
	}
	if was := n.agenda.state[no]; was == handing && !mine {
		n.handovers.done()
	} else if was == handing && p != handing {
		n.handovers.lost(now)
	}
	n.agenda.set(no, p)
}

// lookLate looks at the slots whose writes have waited too long for a copy.
func (n *Node) lookLate(now int64) {
	for i := range n.fronts {
		if waited, pending := n.fronts[i].pending(now); pending && waited > n.cfg.ReplicationTimeout {
			n.look(uint16(i), now)
		}
	}
}

// lapses reports whether a peer that may be a backup has not lent its lease
// for so long that it is dropped.
func (n *Node) lapses(now int64) bool {
	for _, p := range n.allPeers() {
		if p.up.Load() && n.lapsed(p, now) {
			return true
		}
	}
	return false
}

// lapsed reports whether a peer has not lent its lease for the replication
// timeout; one that is heard from is busy rather than cut off, and has until it
// would count as dead, since on a starved machine every copy that is dropped has
// to be made again. Times in which this node did not run, or was not connected,
// do not count.
func (n *Node) lapsed(p *peer, now int64) bool {
	late := now - max(p.leaseMono.Load(), p.upSince.Load(), n.openedAt, n.resumedAt)
	if now-p.heardAt.Load() < int64(n.cfg.ReplicationTimeout) {
		return late > int64(n.cfg.FailureTimeout)
	}
	return late > int64(n.cfg.ReplicationTimeout)
}

// foundSlot claims a slot that nobody serves and no disk remembers, if it is this node's
// to claim.
func (n *Node) foundSlot(no uint16, plan *shard.Assignment, now int64) {
	if plan.Primary(no) != n.id {
		return
	}
	if n.engine.SlotStats(no).Records > 0 {
		_ = n.engine.Drop(no) // of a cluster that nobody remembers
	}
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	n.core.Found(no, plan.Backups(no), plan.Witnesses(no), now)
}

// recoverSlot claims a slot that nobody serves and disks remember. others are
// further holders of before that are back.
func (n *Node) recoverSlot(old *shard.Claim, others []string, plan *shard.Assignment, now int64) {
	witnesses := plan.WitnessesBeside(old.Slot, []shard.NodeID{n.id}, shard.GroupSize(n.cfg.Backups)-1)
	n.coreMu.Lock()
	n.core.SeeEpoch(old.Slot, old.Epoch)
	began := n.core.Recover(old.Slot, old.Lineage, witnesses, now)
	n.coreMu.Unlock()
	if began {
		n.gather(old.Slot, others, now+int64(n.cfg.ColdStartWait))
	}
}

func (n *Node) isDown(id shard.NodeID) bool { return n.downNow[id] }
