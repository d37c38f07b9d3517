package node

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Read leases. A primary grants another node the right to answer reads of a key
// from its near cache (near.go), and does not acknowledge a write of that key
// while anybody may still use the right: the holders are told and say that they
// have dropped the value, or the time that they were granted has passed.
//
// A successor knows of no grants. So none is good for longer than the leases
// that this primary holds from those who could succeed it, less a tenth for
// clocks of different speed: a successor waits for its own to run out. Where the
// succession does not wait, or the set of those who could succeed grows, all
// grants of the slot are revoked first: before the slot is handed over to an
// invited backup, and before a learner is listed.
//
// Every heartbeat of a holder is answered by a renewal for all slots in which it
// has grants, again as long as the leases of those slots are. A holder that has
// not acknowledged a revocation is granted and renewed nothing in that slot.
const (
	nearKeep     = 40 * time.Second // a key is granted for at most so long
	nearUse      = 32 * time.Second // and used for so long, whatever is renewed
	maxGrants    = 1 << 16          // keys of a node that are granted
	maxNearValue = 256 << 10        // bytes of a value that is granted
	minNearLease = 20 * time.Millisecond

	nearSession = math.MaxUint64 - 1 // of an Append that revokes, and of its acknowledgement
)

// grants are a slot's. They outlive the role, since those to whom they were made
// do not know of it.
type grants struct {
	holders map[shard.NodeID]*nearHolder
	keys    map[string]*grantedKey
	owed    []revocation // sent and not answered
}

type nearHolder struct {
	until  int64 // on the node's clock; nothing granted in this slot is good for longer
	owed   int   // revocations that it has not answered
	revoke bool  // all of the slot, under way
}

type grantedKey struct {
	holders []shard.NodeID
	until   int64 // on the node's clock; see nearKeep
}

type revocation struct {
	number  uint64
	version uint64 // of the write that waits for it; MaxUint64: none does
	until   int64  // then nobody uses the grant any more
	from    []shard.NodeID
	all     bool // of the slot
}

// granting is a node's side of its grants.
type granting struct {
	keys    atomic.Int64 // granted
	revoked atomic.Uint64
	number  atomic.Uint64
	wake    chan struct{}

	mu    sync.Mutex // guards below; innermost
	slots map[shard.NodeID]map[uint16]struct{}
	beats []nearBeat // to be answered
	due   []nearDue  // revocations, when nobody may use them any more
}

type nearBeat struct {
	p      *peer
	number uint64
}

type nearDue struct {
	slot  uint16
	until int64
}

func newGranting() granting {
	return granting{wake: make(chan struct{}, 1), slots: map[shard.NodeID]map[uint16]struct{}{}}
}

func (g *granting) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// leaseLeft is for how long nobody succeeds this primary in a slot; see licensed.
func (n *Node) leaseLeft(slot uint16, l *licence, now time.Time) int64 {
	mono, wall := int64(now.Sub(n.start)), now.UnixNano()
	left := func(p *peer) int64 {
		if !p.lends(slot, mono, wall) {
			return 0
		}
		d := min(p.leaseMono.Load()-mono, p.leaseWall.Load()-wall)
		if !p.lends(slot, mono, wall) { // the slot was left out meanwhile
			return 0
		}
		return d
	}
	least := int64(n.cfg.Lease) / 10 * 9
	for _, p := range l.lenders {
		least = min(least, left(p))
	}
	if len(l.lenders) == 0 && l.needed > 0 {
		var all []int64
		for _, p := range l.voters {
			all = append(all, left(p))
		}
		slices.SortFunc(all, func(a, b int64) int { return int(b - a) })
		least = min(least, all[l.needed-1])
	}
	return least
}

// grant answers a peer's Get with a read lease on its key; 0: an ordinary answer
// has to do.
func (n *Node) grant(p *transport.Peer, c *Call, r *Result) (lease time.Duration) {
	s := &n.slots[c.Slot]
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.serving.Load()
	if sv == nil || s.hold != nil || s.learner != nil || c.Kind != 0 || c.Field != "" {
		return 0
	}
	now := n.env.Now()
	left := n.leaseLeft(s.no, sv.licence, now)
	if !n.licensed(sv, now) || left < int64(minNearLease) {
		return 0
	}
	at := n.slotTime(now)
	it, err := n.engine.Get(nil, c.Slot, 0, c.Key, "", at)
	if it.Expiry > 0 {
		at = n.latestClock(now) // the slot clock may jump, and the holder not hear of it
	}
	if err != nil || it.State == store.NotResident || it.State == store.Expired || it.Expiry > 0 && it.Expiry <= at ||
		it.Version > s.acked.Load() || len(it.Value) > maxNearValue {
		return 0
	}
	g := n.guestsLocked(s)
	if g.near == nil {
		g.near = &grants{holders: map[shard.NodeID]*nearHolder{}, keys: map[string]*grantedKey{}}
	}
	id, mono := shard.NodeID(p.ID()), int64(now.Sub(n.start))
	k := g.near.keys[c.Key]
	if k == nil && n.granting.keys.Load() >= maxGrants {
		return 0
	}
	h := g.near.holders[id]
	if h == nil {
		h = &nearHolder{}
		g.near.holders[id] = h
	}
	if h.owed > 0 {
		return 0
	}
	if k == nil {
		k = &grantedKey{}
		g.near.keys[strings.Clone(c.Key)] = k
		n.granting.keys.Add(1)
	}
	h.until = max(h.until, mono+left)
	k.until = mono + int64(nearKeep)
	if !slices.Contains(k.holders, id) {
		k.holders = append(k.holders, id)
	}
	n.granting.mu.Lock()
	slots := n.granting.slots[id]
	if slots == nil {
		slots = map[uint16]struct{}{}
		n.granting.slots[id] = slots
	}
	slots[c.Slot] = struct{}{}
	n.granting.mu.Unlock()

	found := it.State == store.Found && it.Schema&SchemaAbsent == 0
	*r = Result{Found: found, Schema: it.Schema & SchemaAbsent}
	if found {
		r.Value, r.Version, r.Expiry, r.Schema = it.Value, it.Version, it.Expiry, it.Schema
		if it.Expiry > 0 {
			r.Int = it.Expiry - at
		}
	}
	return time.Duration(left / 10 * 9)
}

// revokeLocked takes back what was granted on a key that was written; no append
// from version first on is acknowledged before that is done.
func (n *Node) revokeLocked(s *slot, key string, first uint64) {
	near := s.guests.near
	k := near.keys[key]
	if k == nil || n.cfg.KeepGrants {
		return
	}
	delete(near.keys, key)
	n.granting.keys.Add(-1)
	n.oweLocked(s, revocation{version: first}, k.holders, key)
}

// oweLocked sends a revocation to those who may use what it takes back.
func (n *Node) oweLocked(s *slot, o revocation, from []shard.NodeID, key string) {
	now := n.now()
	near := s.guests.near
	a := transport.Append{Slot: s.no, Session: nearSession, Version: n.granting.number.Add(1)}
	if !o.all {
		a.Records = []transport.Record{{Key: key}}
	}
	for _, id := range from {
		h := near.holders[id]
		if h == nil || h.until <= now {
			continue
		}
		h.owed++
		o.from = append(o.from, id)
		o.until = max(o.until, h.until)
		if t := n.peer(id).live(); t != nil {
			_ = t.SendAppend(&a) // otherwise its time is waited for
		}
	}
	if len(o.from) == 0 {
		return
	}
	n.granting.revoked.Add(uint64(len(o.from)))
	o.number = a.Version
	near.owed = append(near.owed, o)
	n.granting.mu.Lock()
	n.granting.due = append(n.granting.due, nearDue{s.no, o.until})
	n.granting.mu.Unlock()
	n.granting.poke()
}

// revocationsLocked bounds what may be acknowledged.
func (s *slot) revocationsLocked(mark uint64) uint64 {
	if s.guests != nil && s.guests.near != nil {
		for i := range s.guests.near.owed {
			mark = min(mark, s.guests.near.owed[i].version-1)
		}
	}
	return mark
}

// ungrantedLocked reports whether nobody may answer reads of a slot but this
// node, and sees to it.
func (n *Node) ungrantedLocked(s *slot) bool {
	if s.guests == nil || s.guests.near == nil || n.cfg.KeepGrants {
		return true
	}
	now, used := n.now(), false
	for id, h := range s.guests.near.holders {
		if h.until <= now {
			continue
		}
		used = true
		if !h.revoke {
			h.revoke = true
			n.oweLocked(s, revocation{version: math.MaxUint64, all: true}, []shard.NodeID{id}, "")
		}
	}
	return !used
}

// onRevoked takes in that a holder has dropped what was revoked.
func (n *Node) onRevoked(from shard.NodeID, no uint16, number uint64) {
	s := &n.slots[no%shard.Slots]
	s.mu.Lock()
	var ready []waiter
	if g := s.guests; g != nil && g.near != nil {
		i := slices.IndexFunc(g.near.owed, func(o revocation) bool { return o.number == number })
		if i >= 0 && slices.Contains(g.near.owed[i].from, from) {
			o := &g.near.owed[i]
			o.from = slices.DeleteFunc(o.from, func(id shard.NodeID) bool { return id == from })
			h := g.near.holders[from]
			h.owed--
			if o.all {
				h.revoke, h.until = false, 0
				n.agenda.note(no)
				n.poke()
			}
			if len(o.from) == 0 {
				g.near.owed = slices.Delete(g.near.owed, i, i+1)
				ready = n.advanceLocked(s)
			}
		}
	}
	s.mu.Unlock()
	finish(ready, nil)
}

// grantLoop renews grants, and ends revocations that their time has ended. It
// ends when n.stop closes.
func (n *Node) grantLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-n.granting.wake:
		case <-timer.C:
		}
		now := n.now()
		var over []uint16
		next := int64(time.Hour)
		n.granting.mu.Lock()
		beats := n.granting.beats
		n.granting.beats = nil
		due := n.granting.due[:0]
		for _, d := range n.granting.due {
			if d.until <= now {
				over = append(over, d.slot)
			} else {
				due = append(due, d)
				next = min(next, d.until-now)
			}
		}
		n.granting.due = due
		n.granting.mu.Unlock()
		for _, no := range over {
			n.expireGrants(&n.slots[no], now)
		}
		for _, b := range beats {
			n.renewGrants(b)
		}
		timer.Reset(time.Duration(next))
	}
}

// expireGrants ends the revocations of a slot whose time has passed.
func (n *Node) expireGrants(s *slot, now int64) {
	s.mu.Lock()
	var ready []waiter
	if g := s.guests; g != nil && g.near != nil {
		g.near.owed = slices.DeleteFunc(g.near.owed, func(o revocation) bool {
			if o.until > now {
				return false
			}
			for _, id := range o.from {
				h := g.near.holders[id]
				h.owed--
				h.revoke = h.revoke && !o.all
			}
			return true
		})
		n.agenda.note(s.no)
		ready = n.advanceLocked(s)
	}
	s.mu.Unlock()
	finish(ready, nil)
}

// beatOfHolder has a heartbeat of a node that has grants answered with a renewal.
func (n *Node) beatOfHolder(p *peer, number uint64) {
	n.granting.mu.Lock()
	if len(n.granting.slots[p.id]) == 0 {
		n.granting.mu.Unlock()
		return
	}
	n.granting.beats = append(slices.DeleteFunc(n.granting.beats, func(b nearBeat) bool { return b.p == p }), nearBeat{p, number})
	n.granting.mu.Unlock()
	n.granting.poke()
}

// renewGrants tells a holder for which slots its grants are good for longer, by
// its own clock from its heartbeat on.
func (n *Node) renewGrants(b nearBeat) {
	n.granting.mu.Lock()
	slots := make([]uint16, 0, len(n.granting.slots[b.p.id]))
	for no := range n.granting.slots[b.p.id] {
		slots = append(slots, no)
	}
	n.granting.mu.Unlock()
	slices.Sort(slots)
	least := int64(math.MaxInt64)
	var list []byte
	last := uint16(0)
	for _, no := range slots {
		left, gone := n.renewGrant(&n.slots[no], b.p.id)
		if gone {
			n.granting.mu.Lock()
			delete(n.granting.slots[b.p.id], no)
			if len(n.granting.slots[b.p.id]) == 0 {
				delete(n.granting.slots, b.p.id)
			}
			n.granting.mu.Unlock()
		}
		if left > 0 {
			least = min(least, left)
			list = binary.AppendUvarint(list, uint64(no-last))
			last = no
		}
	}
	if len(list) > 0 {
		n.sendControl(b.p.id, append(body(ctlRenew, b.number, uint64(least/10*9)), list...))
	}
}

func (n *Node) renewGrant(s *slot, id shard.NodeID) (left int64, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests == nil || s.guests.near == nil {
		return 0, true
	}
	now := n.env.Now()
	mono := int64(now.Sub(n.start))
	h := s.guests.near.holders[id]
	if h == nil || h.until <= mono {
		return 0, true
	}
	sv := s.serving.Load()
	if sv == nil || s.hold != nil || s.learner != nil || h.owed > 0 || !n.licensed(sv, now) {
		return 0, false
	}
	if left = n.leaseLeft(s.no, sv.licence, now); left < int64(minNearLease) {
		return 0, false
	}
	h.until = max(h.until, mono+left)
	return left, false
}

// tendGrantsLocked forgets grants that nobody uses.
func (n *Node) tendGrantsLocked(g *guests, now int64) {
	if g.near == nil {
		return
	}
	used := map[shard.NodeID]bool{}
	for key, k := range g.near.keys {
		k.holders = slices.DeleteFunc(k.holders, func(id shard.NodeID) bool {
			h := g.near.holders[id]
			return h == nil || h.until <= now
		})
		if k.until <= now || len(k.holders) == 0 {
			delete(g.near.keys, key)
			n.granting.keys.Add(-1)
			continue
		}
		for _, id := range k.holders {
			used[id] = true
		}
	}
	for id, h := range g.near.holders {
		if !used[id] && h.owed == 0 {
			delete(g.near.holders, id)
		}
	}
	if len(g.near.holders)+len(g.near.keys)+len(g.near.owed) == 0 {
		g.near = nil
	}
}
