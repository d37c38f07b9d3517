package node

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// seqBits is how many bits of a version count the writes of an epoch.
const seqBits = 40

func firstVersion(epoch uint64) uint64 { return epoch << seqBits }

// slot is the data path of one slot on this node. The control loop tells it
// what the claims say (applyView); calls and streams do the rest.
//
// What a write needs on a primary, and an append on a copy, lies together in lines
// of a processor's cache, 64 bytes each: of thousands of slots hardly one is there
// when it is needed. In each such line there is something that Ahead may look at.
type slot struct {
	*front
	// serving is set while this node is the slot's open primary; see serve. mu
	// is for writes, streams and changes.
	serving atomic.Pointer[serving]
	mu      sync.Mutex // guards all below but what is atomic
	last    uint64     // last version given or applied under the present stream
	hold    *hold      // of a primary about to hand over: new writes wait
	learner *learning  // of a primary: the copy being made
	guests  *guests    // of a primary: those who wait for more than an acknowledgement; nil if none
	watched uint32     // until when, in the node's seconds, the ring is kept longer for those who watch
	no      uint16     // never changed

	// fitness tells the core whether the copy may be listed; nil: as the
	// claims say.
	fitness atomic.Pointer[fitness]
	ring    ring // recent writes, acknowledged or not

	// standing is the claim under which this node's records were in sync; nil:
	// leftovers. Written under mu.
	standing atomic.Pointer[shard.Claim]
	waiters  []waiter    // of versions above acked, in order
	links    links       // of a primary: to its backups and learner
	settle   *settlement // of a primary in force and not open

	// leftAt is since when this node holds records that no claim asks it to; 0
	// if there are none. Written under mu.
	leftAt atomic.Int64
	stream stream // of a backup or learner: what it follows

	durable   uint64     // with SyncWrites: synced up to this version
	notBefore int64      // no hand-over before
	stayTill  int64      // nor before this, of the control loop alone; see healHold
	duty      *duty      // of a loser of a fork: what is to be offered; nil if nothing is
	told      uint64     // of a primary: its copies know that it is acknowledged
	gather    *gathering // of a slot recovered here: whose records it waits for; nil if for nobody's

	// darkSince is when this primary, not open now, ceased to be or was named; see
	// passes.
	darkSince atomic.Int64
	view      shard.View

	changed   chan struct{} // closed and replaced when the role changes
	forgotten uint64        // the ring cannot know the calls up to this version, whatever a primary's ring does
	_         [24]byte      // so that each slot begins a line
}

// front is what calls need of a slot without its lock. Those of all slots lie
// side by side, 512 KiB that stay in a processor's caches, as the slots
// themselves do not.
type front struct {
	// licence is that of serving, nil while that gathers.
	licence atomic.Pointer[licence]
	// acked is the version up to which every write is acknowledged.
	acked atomic.Uint64
	// mark is the highest acknowledged version of the slot that this node has
	// heard of in any role; calls carry it.
	mark atomic.Uint64
	// shuts counts how often the slot was closed: a read during which it was may
	// have seen the records of another generation.
	shuts atomic.Uint32
	// pendingSince is when the oldest unacknowledged write was made, as a tick;
	// 0 if there is none.
	pendingSince atomic.Uint32
}

// tickShift makes ticks of the node's clock, of about a millisecond, that begin
// again after 52 days. A tick is never 0.
const tickShift = 20

func tick(now int64) uint32 { return uint32(now>>tickShift) | 1 }

// pending returns for how long the oldest unacknowledged write has waited, give
// or take two milliseconds; false: there is none.
func (f *front) pending(now int64) (time.Duration, bool) {
	since := f.pendingSince.Load()
	return time.Duration(int32(tick(now)-since)) << tickShift, since != 0
}

// serving is what an open primary serves under, replaced whenever the set changes.
type serving struct {
	claim *shard.Claim
	*licence
	since     uint32 // when it opened under the claim's epoch, in the node's seconds, rounded up
	gathering bool   // calls wait: it takes offers alone, see gathering
}

// licence says whose leases an open primary needs. Slots with the same copies
// share one.
type licence struct {
	lenders []*peer // all of them lend their leases
	voters  []*peer // without lenders: a majority of these promises no fence
	needed  int     // how many voters
}

// maxLicences is how many different ones are remembered: a node has a handful,
// and forgetting costs no more than some room.
const maxLicences = 64

// shareLicence returns the licence of the same peers that slots have already, or l.
func (n *Node) shareLicence(l *licence) *licence {
	n.licencesMu.Lock()
	defer n.licencesMu.Unlock()
	for _, old := range n.licences {
		if slices.Equal(old.lenders, l.lenders) && slices.Equal(old.voters, l.voters) {
			return old
		}
	}
	if len(n.licences) == maxLicences {
		n.licences = n.licences[:0]
	}
	n.licences = append(n.licences, l)
	return l
}

// serve opens a slot to calls, and shut closes it. s.mu is held.
func (s *slot) serve(sv *serving) {
	s.serving.Store(sv)
	if sv.gathering {
		s.licence.Store(nil)
		return
	}
	s.licence.Store(sv.licence)
}

func (s *slot) shut() {
	s.licence.Store(nil)
	s.serving.Store(nil)
	s.shuts.Add(1)
}

type waiter struct {
	version uint64
	told    *link           // the copy whose append is the answer; nil if none is
	done    func(err error) // nil: acknowledged; errAnswered: and the caller knows
}

// hold says to whom a primary is about to hand over, and since when.
type hold struct {
	to    shard.NodeID
	since int64
}

// link is a primary's side of the stream to one copy.
type link struct {
	peer    *peer
	session uint64
	acked   uint64
	started bool // the stream's beginning was sent on the present connection

	// A large append overtakes what was sent before it and is overtaken by
	// what comes after. So it waits for its turn, until awaited is acknowledged,
	// and then is awaited itself; nothing else is sent meanwhile.
	parked  bool
	awaited uint64
}

// links are few: looking through them costs less than a map. Links may come and
// go while somebody does: what a list holds is never moved.
type links []*link

func (ls links) to(id shard.NodeID) *link {
	for _, l := range ls {
		if l.peer.id == id {
			return l
		}
	}
	return nil
}

// without leaves ls as it is.
func (ls links) without(gone *link) links {
	return slices.DeleteFunc(slices.Clone(ls), func(l *link) bool { return l == gone })
}

// stream is a copy's side: whom it follows and how far it has got.
type stream struct {
	primary shard.NodeID
	epoch   uint64
	session uint64
	pos     uint64
	filling bool
	missed  bool             // the disk was behind when what follows pos came: see askForMissed
	base    uint64           // pos when it began
	gen     store.Generation // of a learner: the generation being filled; 0 after it
	count   uint64           // chunks that came; each has its number
}

// entry is one append, kept for catching up and for the fate of calls.
type entry struct {
	version uint64
	cause   uint8
	call    transport.CallID
	result  transport.Result
	records []store.Record
	size    int
}

// ring holds recent appends, oldest first. Of the older ones only the calls
// and their results are kept: a repeated call is answered with them.
type ring struct {
	base    uint64 // every append of the slot above it is in entries
	fates   uint64 // and the fate of every call that was given a version above it; see also foreign
	top     uint64 // version of the last entry, gone or not; 0 before the first
	entries []entry
	bytes   int
}

func (r *ring) add(e entry) {
	if len(r.entries) > 0 && r.top >= e.version {
		for i := range r.entries {
			if r.entries[i].version == e.version {
				return
			}
			if r.entries[i].version > e.version {
				r.entries = append(r.entries, entry{})
				copy(r.entries[i+1:], r.entries[i:])
				r.entries[i] = e
				r.bytes += e.size
				return
			}
		}
	}
	r.entries = append(r.entries, e)
	r.top = e.version
	r.bytes += e.size
}

// trim forgets the records of acknowledged appends beyond limit bytes, and
// their calls too where that is not enough, up to the version forgotten. Of the
// newest, up to half the limit, the records stay: were small ones all given up
// for the calls of older ones, whoever follows the slot would have to have every
// one of them by then.
func (r *ring) trim(acked uint64, limit int) (freed int, forgotten uint64) {
	whole := len(r.entries)
	for size := 0; whole > 0; whole-- {
		if size += r.entries[whole-1].size; size > limit/2 {
			break
		}
	}
	for i := range r.entries[:whole] {
		e := &r.entries[i]
		if r.bytes <= limit || e.version > acked {
			break
		}
		if e.records != nil {
			bare := bareEntry + len(e.result.Value)
			freed += e.size - bare
			r.bytes -= e.size - bare
			e.records, e.size = nil, bare
			r.base = max(r.base, e.version)
		}
	}
	n := 0
	for n < len(r.entries) && r.bytes > limit && r.entries[n].version <= acked {
		r.bytes -= r.entries[n].size
		freed += r.entries[n].size
		forgotten = r.entries[n].version
		n++
	}
	r.fates = max(r.fates, forgotten)
	if n > 0 {
		rest := copy(r.entries, r.entries[n:])
		clear(r.entries[rest:])
		r.entries = r.entries[:rest]
	}
	return freed, forgotten
}

// foreignLocked takes note that a write of the epoch took over what another side of a
// fork had: the calls behind that are not in the ring.
func (s *slot) foreignLocked(epoch uint64) { s.forgetLocked(firstVersion(epoch)) }

// forgetLocked takes note that the ring does not know the calls up to a version.
func (s *slot) forgetLocked(version uint64) {
	s.ring.fates = max(s.ring.fates, version)
	s.forgotten = max(s.forgotten, version)
}

func (r *ring) find(call transport.CallID) *entry {
	for i := len(r.entries) - 1; i >= 0; i-- {
		if r.entries[i].call == call {
			return &r.entries[i]
		}
	}
	return nil
}

// after returns the entries above version, which is not below base.
func (r *ring) after(version uint64) []entry {
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].version > version })
	return r.entries[i:]
}

// reset begins an empty ring that knows nothing up to base.
func (r *ring) reset(base uint64) (freed int) {
	freed = r.bytes
	*r = ring{base: base, fates: base}
	return freed
}

// wakeLocked tells those who wait for a change of role.
func (s *slot) wakeLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// changeLocked returns a channel closed at the next change of role.
func (s *slot) changeLocked() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// takeWaitersLocked removes all waiters.
func (s *slot) takeWaitersLocked() []waiter {
	w := s.waiters
	s.waiters = nil
	s.pendingSince.Store(0)
	return w
}

// own copies what a record refers to into memory of its own.
func own(r store.Record) store.Record {
	buf := make([]byte, 0, len(r.Key)+len(r.Field)+len(r.Value))
	buf = append(buf, r.Key...)
	buf = append(buf, r.Field...)
	buf = transport.AppendPieces(buf, r.Value)
	k, f := len(r.Key), len(r.Key)+len(r.Field)
	r.Key, r.Field = str(buf[:k]), str(buf[k:f])
	if r.Value != nil {
		r.Value = buf[f:]
	}
	return r
}

// fitness is what a copy is good for beside what the claims say of it.
type fitness struct {
	unfit   bool         // being filled, or held for a heal
	learned shard.Ballot // whose complete copy this is, though not listed yet
}

// noteLocked brings fitness up to date.
func (s *slot) noteLocked() {
	f := fitness{unfit: s.stream.filling || s.duty != nil}
	if s.stream.session != 0 && !s.stream.filling {
		f.learned = shard.Ballot{Epoch: s.stream.epoch, To: s.stream.primary}
	}
	switch old := s.fitness.Load(); {
	case f == fitness{}:
		s.fitness.Store(nil)
	case old == nil || *old != f:
		s.fitness.Store(&f)
	}
}

// strays reports whether this node's records are in sync in a lineage that cl
// does not include, though cl may list this node: it has lost a fork to a claim
// that counted on it. It has to be left out, and offer what it holds, first.
func (s *slot) strays(cl *shard.Claim) bool {
	standing := s.standing.Load()
	return standing != nil && !cl.Inherits(standing)
}

// standLocked notes under which claim the copy is in sync, once it is.
func (s *slot) standLocked(self shard.NodeID) {
	k := s.view.Known
	if k == nil || !k.Holds(self) {
		return
	}
	follows := s.stream.primary == k.Primary && s.stream.epoch == k.Epoch && !s.stream.filling
	if s.view.Open || follows && !s.strays(k) {
		s.standing.Store(k)
	}
}

// linkLocked adds a copy that the primary sends to.
func (s *slot) linkLocked(l *link) {
	if old := s.links.to(l.peer.id); old != nil {
		s.links = s.links.without(old)
	}
	s.links = append(s.links, l)
}
