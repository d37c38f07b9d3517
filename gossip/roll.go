package gossip

import (
	"net/netip"
	"sync"
	"time"
)

const (
	maxGone     = 4096 // IDs remembered that said goodbye, and that failed
	maxVanished = 256  // addresses of failed members that are tried for ever
)

// roll is the list of members, living, gone and vanished. memberlist has one
// as well, but hands out pointers into it that race with its own writes,
// forgets the dead after 30 seconds, and cannot tell who left from who failed.
//
// Its methods are called under memberlist's node lock: they never wait, and
// never call memberlist.
type roll struct {
	self  NodeID
	event func(Event) // never waits

	mu      sync.Mutex // guards the rest; event is called under it, so that events have the order of the changes
	members map[NodeID]*entry
	// gone are nodes that left. An ID is one start of one process, so it never
	// comes back; without this a part of the cluster that was cut off while a
	// node left would bring it back as a ghost.
	gone      map[NodeID]struct{}
	goneOrder []NodeID // oldest first
	// vanished are the advertised addresses of members that failed, by
	// address, with their names: where the node of that name lives elsewhere,
	// its old address is not tried any more.
	vanished map[string]string
	failed   map[NodeID]struct{} // told of as Failed, and neither back nor gone
	bye      bool                // this node has said goodbye
	met      bool                // there was another member once
}

type entry struct {
	Member
	at        netip.AddrPort // where memberlist sends to
	forgotten time.Time      // set: proved gone, though memberlist does not know yet
}

func newRoll(self Member, event func(Event)) *roll {
	return &roll{
		self: self.ID, event: event,
		members:  map[NodeID]*entry{self.ID: {Member: self}},
		gone:     make(map[NodeID]struct{}),
		vanished: make(map[string]string),
		failed:   make(map[NodeID]struct{}),
	}
}

// join adds a member that memberlist says is living.
func (r *roll) join(m Member, at netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.ID == r.self {
		return
	}
	r.met = true
	r.members[m.ID] = &entry{Member: m, at: at}
	r.joinedLocked(m)
}

func (r *roll) joinedLocked(m Member) {
	for addr, name := range r.vanished {
		if addr == m.Addr || name == m.Name {
			delete(r.vanished, addr)
		}
	}
	delete(r.failed, m.ID)
	r.event(Event{Joined, m})
}

// update changes what a member says about itself.
func (r *roll) update(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.members[m.ID]
	if e == nil || e.Member == m {
		return
	}
	e.Member = m
	if m.ID != r.self && e.forgotten.IsZero() {
		r.event(Event{Updated, m})
	}
}

// goodbye removes a member for good, also one that was taken for failed: whoever was
// told so need not wait for it any more.
func (r *roll) goodbye(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := m.ID
	if id == r.self {
		return
	}
	if r.vanished[m.Addr] == m.Name {
		delete(r.vanished, m.Addr)
	}
	if _, ok := r.gone[id]; !ok {
		if len(r.goneOrder) >= maxGone {
			delete(r.gone, r.goneOrder[0])
			r.goneOrder = r.goneOrder[1:]
		}
		r.gone[id] = struct{}{}
		r.goneOrder = append(r.goneOrder, id)
	}
	e, known := r.members[id]
	_, failed := r.failed[id]
	delete(r.members, id)
	delete(r.failed, id)
	if known {
		m = e.Member
	}
	if known || failed {
		r.event(Event{Left, m})
	}
}

// fail removes a member that memberlist says is dead; it reports whether there
// was one.
func (r *roll) fail(id NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.members[id]
	if e == nil || id == r.self {
		return false
	}
	delete(r.members, id)
	if e.forgotten.IsZero() {
		r.failLocked(e.Member)
	}
	return true
}

// forget hides a member that memberlist still lists.
func (r *roll) forget(id NodeID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.members[id]
	if e == nil || id == r.self || !e.forgotten.IsZero() {
		return false
	}
	e.forgotten = now
	r.failLocked(e.Member)
	return true
}

// recall shows members again that were forgotten before the given time: the
// one named, or all with the zero ID.
func (r *roll) recall(id NodeID, before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, e := range r.members {
		if (id == NodeID{} || id == k) && !e.forgotten.IsZero() && e.forgotten.Before(before) {
			e.forgotten = time.Time{}
			r.joinedLocked(e.Member)
		}
	}
}

func (r *roll) failLocked(m Member) {
	if len(r.failed) >= maxGone {
		for id := range r.failed {
			delete(r.failed, id)
			break
		}
	}
	r.failed[m.ID] = struct{}{}
	r.vanishLocked(m)
	r.event(Event{Failed, m})
}

func (r *roll) vanishLocked(m Member) {
	for _, e := range r.members {
		if e.Name == m.Name && e.ID != m.ID && e.forgotten.IsZero() {
			return // the node of that name lives, under a newer ID
		}
	}
	if len(r.vanished) >= maxVanished {
		for addr := range r.vanished {
			delete(r.vanished, addr)
			break
		}
	}
	r.vanished[m.Addr] = m.Name
}

// admits reports whether a member may be on the list.
func (r *roll) admits(id NodeID) (known, gone, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known = r.members[id]
	_, gone = r.gone[id]
	return known, gone, !known && len(r.members) >= MaxMembers
}

func (r *roll) get(id NodeID) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.members[id]
	if e == nil {
		return Member{}, false
	}
	return e.Member, true
}

func (r *roll) living() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	ms := make([]Member, 0, len(r.members))
	for _, e := range r.members {
		if e.forgotten.IsZero() {
			ms = append(ms, e.Member)
		}
	}
	return ms
}

// places are where living members are: what need not be joined.
func (r *roll) places() (advertised map[string]bool, at map[netip.AddrPort]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	advertised, at = make(map[string]bool), make(map[netip.AddrPort]bool)
	for id, e := range r.members {
		if id != r.self && e.forgotten.IsZero() {
			advertised[e.Addr], at[e.at] = true, true
		}
	}
	return advertised, at
}

func (r *roll) vanishedAddrs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	addrs := make([]string, 0, len(r.vanished))
	for a := range r.vanished {
		addrs = append(addrs, a)
	}
	return addrs
}

// sayGoodbye reports whether it is the first time.
func (r *roll) sayGoodbye() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.bye
	r.bye = true
	return first
}

func (r *roll) saidGoodbye() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bye
}

func (r *roll) hasMet() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.met
}

func (r *roll) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}
