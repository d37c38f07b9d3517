package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
)

// Self is this node as its peers see it.
func (n *Node) Self() Member {
	m := n.member(n.id, n.selfMember(), "alive")
	m.Self = true
	return m
}

func (n *Node) member(id shard.NodeID, m gossip.Member, state string) Member {
	if p := n.knownPeer(id); m.Leaving || id == n.id && n.stepping.Load() || p != nil && p.stepping.Load() {
		state = "leaving"
	}
	return Member{Name: m.Name, Addr: m.Addr, Zone: m.Zone, Seat: m.Seat, ID: id, Weight: n.weightOf(m), Attributes: attributesOf(&m), State: state, Visitor: m.Visitor}
}

// Members lists the nodes of the cluster by name, this one and those that
// are suspected dead included.
func (n *Node) Members() []Member {
	list := []Member{n.Self()}
	n.membersMu.Lock()
	for id, m := range n.members {
		if id != n.id {
			list = append(list, n.member(id, m, "alive"))
		}
	}
	for id, m := range n.vanished {
		if id != n.id {
			list = append(list, n.member(id, m, "suspect"))
		}
	}
	n.membersMu.Unlock()
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.ID.Compare(b.ID)) })
	return list
}

// Table is the newest claim in force known of each slot.
func (n *Node) Table() *shard.Table { return n.table.Load() }

// Engine is what the node keeps its records in.
func (n *Node) Engine() store.Engine { return n.engine }

// condition is what is the matter with a slot as this node sees it; the zero value:
// it is at rest.
type condition struct {
	unclaimed bool // nobody has served it yet; then nothing else is the matter
	noPrimary bool // for longer than a hand-over takes
	short     bool // it has fewer backups than asked for and possible
	moving    bool // it is elsewhere than planned, or passes
	passes    bool // to another primary
}

// inspect looks at the slots until f returns false: at every one, several times a second,
// where somebody waits, so it looks up no node in a map.
func (n *Node) inspect(f func(slot uint16, is condition) (goOn bool)) {
	var alive, unmet []shard.NodeID // unmet of alive: none of its words has come yet, as to one that has just joined
	if !n.closing.Load() {
		alive = append(alive, n.id)
	}
	newest := n.idsByName()
	holders := 0
	n.membersMu.Lock()
	for id, m := range n.members {
		if id == n.id || newest[m.Name] != id { // an earlier start gives way, if it lives at all
			continue
		}
		alive = append(alive, id)
		if p := n.peer(id); p.heardAt.Load() == 0 && p.toldAt() == 0 {
			unmet = append(unmet, id)
		}
		if n.weightOf(m) > 0 && !m.Leaving {
			holders++
		}
	}
	n.membersMu.Unlock()
	if n.weight() > 0 && !n.leaves() {
		holders++
	}
	want := min(n.cfg.Backups, holders-1)
	plan := n.planShared.Load()
	if plan != nil {
		want = min(want, len(plan.Backups(0))) // who waits for a seat holds nothing
	}
	t := n.Table()
	now := n.env.Now()
	for i := range n.slots {
		no := uint16(i)
		cl := t.Claim(no)
		if cl == nil {
			if !f(no, condition{unclaimed: true}) {
				return
			}
			continue
		}
		var is condition
		lost := !slices.Contains(alive, cl.Primary)
		if lost || cl.Primary == n.id && !n.serving(&n.slots[i], now) {
			is.passes = n.passes(cl, now)
			is.noPrimary = !is.passes
		} else if slices.Contains(unmet, cl.Primary) {
			is.passes = true // if it is dead, this node is about to be told
		}
		live := 0
		for _, id := range cl.Backups {
			if slices.Contains(alive, id) {
				live++
			}
		}
		if lost && live > 0 {
			live-- // one of them takes its place
		}
		is.short = live < want
		is.moving = is.passes || plan != nil && (cl.Primary != plan.Primary(no) || !sameSet(cl.Backups, plan.Backups(no)))
		if !f(no, is) {
			return
		}
	}
}

// tally counts the slots.
func (n *Node) tally() (h Health) {
	count := func(sum *int, is bool) {
		if is {
			*sum++
		}
	}
	n.inspect(func(_ uint16, is condition) bool {
		count(&h.Unclaimed, is.unclaimed)
		count(&h.NoPrimary, is.noPrimary)
		count(&h.ShortBackups, is.short)
		count(&h.Moving, is.moving)
		return true
	})
	h.Forked = int(n.owed.Load())
	return h
}

// Places lists the slots that are not at rest as this node sees it; those never
// claimed are in none of the lists.
func (n *Node) Places() (noPrimary, short, moving []uint16) {
	list := func(slots *[]uint16, slot uint16, is bool) {
		if is {
			*slots = append(*slots, slot)
		}
	}
	n.inspect(func(slot uint16, is condition) bool {
		list(&noPrimary, slot, is.noPrimary)
		list(&short, slot, is.short)
		list(&moving, slot, is.moving)
		return true
	})
	return noPrimary, short, moving
}

// Health sums up the slots.
func (n *Node) Health() Health {
	planned := n.planIsOfNow()
	h := n.tally()
	h.Balanced = planned && n.balanced(&h)
	plan := n.planShared.Load()
	if h.Moving > 0 {
		h.MoveBytes = n.toSend()
		if measured, allowed := n.pacer.perSecond(); h.MoveBytes > 0 {
			h.MoveTime = time.Duration(float64(h.MoveBytes) / max(min(measured, allowed), 1<<20) * float64(time.Second))
		}
	}
	if cause := n.lostDisk.Load(); cause != nil {
		h.LostDisk = true
		h.Reasons = append(h.Reasons, fmt.Sprintf("the disk of this node has failed, it holds nothing until it is started again: %v", *cause))
	}
	say := func(count int, what string) {
		if count > 0 {
			h.Reasons = append(h.Reasons, fmt.Sprintf("%d slots %s", count, what))
		}
	}
	say(h.Unclaimed, "are claimed by nobody yet")
	if h.Unclaimed > 0 && n.noData() {
		h.Reasons = append(h.Reasons, "no member may hold slots")
	}
	if names, slots := n.Awaited(); slots > 0 {
		say(slots, "wait for what is on the disks of "+strings.Join(names, ", "))
	}
	say(h.NoPrimary, "have no live primary")
	say(h.ShortBackups, "are short of backups")
	say(h.Moving, "are on their way to another node")
	say(h.Forked, "hold records of a fork to be handed over")
	if s := n.settings.Load(); s.Paused() && h.Moving > 0 {
		h.Reasons = append(h.Reasons, "balance is paused")
	}
	if plan != nil && len(plan.Ignored) > 0 {
		pin := plan.Ignored[0]
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d pins are not followed: slot %d to %q: %s", len(plan.Ignored), pin.Slot, pin.Name, pin.Reason))
	}
	return h
}

// InPlace reports whether a slot is held by whom the plan wants.
func (n *Node) InPlace(slot uint16) bool {
	cl, plan := n.Table().Claim(slot), n.planShared.Load()
	return plan == nil || cl != nil && cl.Primary == plan.Primary(slot) && sameSet(cl.Backups, plan.Backups(slot))
}

// Describe says all about a slot that explains why it does not get on.
func (n *Node) Describe(slot uint16) string {
	s := &n.slots[slot]
	n.coreMu.Lock()
	newest := n.core.Newest(slot)
	n.coreMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &s.view
	var b strings.Builder
	fmt.Fprintf(&b, "promised %v, newest %v, open %v, changing %v, serving %v, required %v", v.Promised, newest, v.Open, v.Changing, s.serving.Load() != nil, v.Required)
	fmt.Fprintf(&b, "; last %x, acked %x, %d wait, stream %+v, standing %v, duty %v", s.last, s.acked.Load(), len(s.waiters), s.stream, s.standing.Load(), s.owes())
	for _, l := range s.links {
		fmt.Fprintf(&b, "; link %v session %x acked %x started %v parked %v", l.peer.id, l.session, l.acked, l.started, l.parked)
	}
	if g := s.learner; g != nil {
		fmt.Fprintf(&b, "; learner %v stage %d since %v", g.link.peer.id, g.stage, time.Duration(n.now()-g.touched))
	}
	return b.String()
}

// serving reports whether a slot is open here and has its leases.
func (n *Node) serving(s *slot, now time.Time) bool {
	sv := s.serving.Load()
	return sv != nil && n.licensed(sv, now)
}

// passing is for how long a slot may have no open primary before it counts as
// without one. A hand-over takes milliseconds; on a busy machine a primary may hold
// calls for holdLimit, wait for its successor until that would count as dead, and
// then need as long to be primary again.
func (n *Node) passing() time.Duration { return 2*n.cfg.FailureTimeout + holdLimit }

// passes reports whether a slot that nobody serves, as far as this node sees, was
// served a moment ago: it is on its way to another primary, which it mostly gets.
func (n *Node) passes(cl *shard.Claim, now time.Time) bool {
	before := now.Add(-n.passing())
	since := int64(before.Sub(n.start))
	if cl.Primary != n.id {
		n.membersMu.Lock()
		at, gone := n.gone[cl.Primary]
		n.membersMu.Unlock()
		if p := n.knownPeer(cl.Primary); !gone && p != nil { // it has fallen silent
			at = max(p.heardAt.Load(), p.toldAt())
		}
		return at > 0 && at > since
	}
	if n.closing.Load() {
		return false
	}
	s := &n.slots[cl.Slot]
	if sv := s.serving.Load(); sv != nil {
		return n.licensed(sv, before) // its leases ran out this moment
	}
	at := s.darkSince.Load()
	return at > 0 && at > since
}

// Balanced reports whether every slot is where the plan wants it, with its
// backups, as far as this node knows.
func (n *Node) Balanced() bool {
	if !n.planIsOfNow() { // before the slots are counted: another plan may come meanwhile
		return false
	}
	h := n.tally()
	return n.balanced(&h)
}

func (n *Node) balanced(h *Health) bool {
	return h.Unclaimed+h.NoPrimary+h.ShortBackups+h.Moving+h.Forked == 0 && n.uncovered.Load() == 0
}

// planIsOfNow reports whether the plan is that for the members as they are.
func (n *Node) planIsOfNow() bool {
	planned := n.plannedFor.Load()
	if planned == nil {
		return true
	}
	list, _ := n.living()
	return slices.Equal(list, *planned) // else somebody came or went this moment
}
