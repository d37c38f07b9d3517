package shard

import (
	"slices"
	"time"
)

// Core is one node's part in the succession of every slot: what it promised
// and accepted as a member of groups, and the claims it is bringing in force
// itself. All minting of claims goes through it.
//
// It is a pure state machine. Every method takes the time as an argument
// (nanoseconds of a monotonic clock) and leaves what is to be done in Take.
// It is not safe for concurrent use.
//
// A claim comes into force in three steps. Fence: the members of the group of
// the claim to be replaced promise the new epoch to the proposer and say what
// they have accepted. Accept: a quorum of that group and of the new one
// accept the claim. Open: the new primary serves once every backup that the
// claim lists has accepted it and holds the union of their unacknowledged
// records, and its own promise to the old primary has run out. A change by an
// open primary that leaves the primary as it is needs the second step alone.
type Core struct {
	cfg   CoreConfig
	self  NodeID
	seats map[NodeID]bool                // self, and earlier IDs whose votes are on this disk
	slots [Blocks]*[BlockSize]*slotState // most nodes hold a part of them
	fresh []slotState                    // not given to a slot yet
	given int                            // slots that have a state

	down map[NodeID]int64 // since when a node counts as dead
	gone map[NodeID]bool  // those of them of whose death there is proof
	cut  map[NodeID]int64 // since when only others hear a node
	// deaths counts changes of down, gone and cut.
	deaths uint64
	lent   *lending
	// unaware holds the primaries that were succeeded without their leave, until
	// they know.
	unaware map[NodeID]*unaware
	toldAt  int64 // when the unaware were last told

	telling bool // a Resend has passed: they may be told in this Tick
	slow    bool // see Slow
	crowded bool // many slots are under way

	busy    []uint16 // slots that the next Tick looks at
	waiting []uint16 // slots that a Tick looks at when they are due
	nextDue int64    // when the first of those is
	weighed uint64   // deaths when they were looked at last
	touched []uint16
	persist []uint16
	inForce []*Claim
	out     []Envelope
	stats   CoreStats
}

// CoreConfig holds a Core's surroundings. All fields but Seats, BackOff,
// and those that say what nil means are needed.
type CoreConfig struct {
	Self NodeID
	// Seats are IDs of earlier starts of this node whose promises and accepted
	// claims are on its disk, and are restored: it votes in their place. A
	// copy listed under such an ID is not this node's. Messages to a seat
	// have to reach this node, and nobody may call Down with proof for it.
	Seats []NodeID
	Rand  func() uint64
	// Majority makes a slot without a quorum wait for it, for ever but for Back.
	Majority      bool
	Resend        time.Duration // unanswered messages are repeated after this
	BackOff       time.Duration // a refused proposer waits a random time up to twice this, then four times; zero: Resend
	Failure       time.Duration // the failure timeout
	Settle        time.Duration // a listed backup that has not settled by then is dropped
	PartitionWait time.Duration // without a quorum for so long: go on as a fork
	OrphanWait    time.Duration // without a living holder for so long: start anew
	// CanList reports whether this node's copy may be listed in a claim made
	// by another node: it is in sync with that primary, or the claim founds
	// the slot and nothing is held.
	CanList func(c *Claim) bool
	// Stray returns the lineage of this node's copy where the claim, which lists
	// this node, does not include it: it has lost a fork. nil, or a nil function:
	// it does. A promotion from such a claim lists nobody else, since nobody else
	// has these records.
	Stray func(c *Claim) (lineage []uint64)
	// Awake reports whether a node was heard from lately, if only by a
	// heartbeat. One that was has the failure timeout to settle, and no slot
	// goes on without a quorum for its silence. nil: nobody is.
	Awake func(NodeID) bool
	// Hears reports whether a node is heard from. A fence against it by one who does
	// not hear it, see Cut, is refused. nil: nobody is.
	Hears func(NodeID) bool

	// Back reports whether a node of the name of one that is gone was started anew and is
	// a member. With Majority no vote is waited for then that would never come. nil:
	// nobody is.
	Back func(NodeID) bool

	// OffForce has a claim count as in force once its proposer has accepted it.
	// It is there for tests alone, of a node as a whole.
	OffForce bool

	off       rulesOff // the explorer shows that each rule is needed
	foldAbove int      // see lineage.go; zero: foldAbove
}

// rulesOff switches single rules off in tests.
type rulesOff struct {
	lentWait  bool // opening does not wait out the own leases
	oppose    bool // a primary is lent to while it is being succeeded
	union     bool // a proposal changes nothing about who must acknowledge
	unionVoid bool // the union ends with a proposal that failed
	dropFirst bool // a claim that is not open drops nobody
	promise   bool // an epoch is promised to any number of proposers
	backOff   bool // a refused proposer tries again at once
}

// CoreStats counts since the start.
type CoreStats struct {
	Promotions, Forks, Orphans, Drops, Refusals uint64
}

// Envelope is a message and the node whose seat it is for.
type Envelope struct {
	To      NodeID
	Message Message
	Again   bool // it repeats what was not answered
}

// Output is what a caller does after calls to a Core, in this order: save the
// durable state of the slots in Persist and sync it; bring the data path of
// the slots in Touched in line with View; send Messages; spread InForce.
type Output struct {
	Persist  []uint16
	Touched  []uint16
	Messages []Envelope
	InForce  []*Claim
}

// View is a slot as the data path has to treat it.
type View struct {
	Known *Claim
	// Required acknowledge each write and lend their leases. Not to be changed.
	Required []NodeID
	// Primary: the known claim names this node. It serves if also Open.
	Primary, Open bool
	// Fenced: a higher epoch is promised; nothing is acknowledged or read.
	Fenced bool
	// Settling: the claim is in force, and its backups must report and get
	// the union of the records above the acknowledged mark; see Settled.
	Settling bool
	Changing bool // a change of the claim is outstanding
	Promised Ballot
	Handover NodeID // answer ASK with this node; zero if none
}

// NewCore returns a Core that knows nothing.
func NewCore(cfg CoreConfig) *Core {
	if cfg.BackOff == 0 {
		cfg.BackOff = cfg.Resend
	}
	if cfg.foldAbove == 0 {
		cfg.foldAbove = foldAbove
	}
	c := &Core{
		cfg: cfg, self: cfg.Self,
		seats:   map[NodeID]bool{cfg.Self: true},
		down:    map[NodeID]int64{},
		gone:    map[NodeID]bool{},
		cut:     map[NodeID]int64{},
		lent:    newLending(cfg.off.oppose),
		unaware: map[NodeID]*unaware{},
	}
	for _, id := range cfg.Seats {
		c.seats[id] = true
	}
	return c
}

// Take returns what is to be done since the last Take.
func (c *Core) Take() Output {
	o := Output{Persist: c.persist, Touched: c.touched, Messages: c.out, InForce: c.inForce}
	for _, slot := range c.persist {
		c.at(slot).lists &^= inUnsaved
	}
	for _, slot := range c.touched {
		c.at(slot).lists &^= inTouched
	}
	c.persist, c.touched, c.out, c.inForce = nil, nil, nil, nil
	return o
}

// Stats returns the counters.
func (c *Core) Stats() CoreStats { return c.stats }

// View tells how to treat a slot.
func (c *Core) View(slot uint16) View {
	s := c.at(slot)
	if s == nil {
		return View{}
	}
	v := View{Known: s.known, Promised: s.promised, Handover: s.handover, Changing: s.attempt != nil}
	if s.known != nil && s.known.Primary == c.self {
		v.Primary = true
		v.Fenced = s.promised.Epoch > s.known.Epoch
		v.Open = s.opened && !v.Fenced
		v.Settling = !s.opened && !v.Fenced
		v.Required = c.required(s)
	}
	return v
}

// Newest returns the newest claim the node knows of, in force or accepted.
func (c *Core) Newest(slot uint16) *Claim {
	if s := c.at(slot); s != nil {
		return s.newest()
	}
	return nil
}

// Known returns the newest claim in force that the node knows.
func (c *Core) Known(slot uint16) *Claim {
	if s := c.at(slot); s != nil {
		return s.known
	}
	return nil
}

// required is part of every View: without a proposal outstanding it is the
// claim's own list.
func (c *Core) required(s *slotState) []NodeID {
	req := slices.Clip(s.known.Backups)
	for _, id := range s.union {
		if !c.cfg.off.union && !slices.Contains(req, id) {
			req = append(req, id)
		}
	}
	return req
}

func (c *Core) touch(slot uint16) {
	if s := c.slot(slot); s.lists&inTouched == 0 {
		s.lists |= inTouched
		c.touched = append(c.touched, slot)
	}
}

func (c *Core) save(slot uint16) {
	if s := c.slot(slot); s.lists&inUnsaved == 0 {
		s.lists |= inUnsaved
		c.persist = append(c.persist, slot)
	}
}

// watch puts a slot among those that Tick looks at.
func (c *Core) watch(slot uint16) {
	if s := c.slot(slot); s.lists&inBusy == 0 {
		s.lists |= inBusy
		c.busy = append(c.busy, slot)
	}
}

func (c *Core) send(to NodeID, m Message) { c.post(to, m, false) }

// repeat sends what was not answered again.
func (c *Core) repeat(to NodeID, m Message) { c.post(to, m, true) }

func (c *Core) post(to NodeID, m Message, again bool) {
	if !c.gone[to] {
		c.out = append(c.out, Envelope{To: to, Message: m, Again: again})
	}
}

// SeeEpoch raises the epoch that the slot's next claim must exceed. A primary
// whose appends are refused for a higher epoch learns of it here, and fences
// itself above it.
func (c *Core) SeeEpoch(slot uint16, epoch uint64) {
	c.see(slot, c.slot(slot), epoch)
}

func (c *Core) see(slot uint16, s *slotState, epoch uint64) {
	if epoch > s.seen && epoch <= MaxEpoch {
		s.seen = epoch
		c.watch(slot)
	}
}

// Slow says whether answers are known to take longer than Resend: repeating
// before they come would only make it worse.
func (c *Core) Slow(slow bool) { c.slow = slow }

// Lend promises primary not to open a claim in its place, and as a witness to
// grant no fence against it, until the given time: in all slots but those
// returned, in order, in which this node succeeds it. Unlike other methods it
// may be called at any time from any goroutine.
func (c *Core) Lend(primary NodeID, until int64) (except []uint16) {
	return c.lent.lend(primary, until)
}

// Down says that a node counts as dead; gone, that there is proof of it.
func (c *Core) Down(id NodeID, gone bool, now int64) {
	if id == c.self {
		return
	}
	if _, known := c.down[id]; !known {
		c.down[id] = now
	}
	if gone {
		c.gone[id] = true
	}
	c.concerns(id)
}

// concerns has slots looked at for which it matters whether a node is alive.
func (c *Core) concerns(id NodeID) {
	c.deaths++
	c.each(func(slot uint16, s *slotState) {
		if n := s.newest(); n != nil && n.InGroup(id) || s.attempt != nil {
			c.watch(slot)
		}
	})
}

// Up takes Down back: the node was heard from.
func (c *Core) Up(id NodeID) {
	if !c.gone[id] {
		c.deaths++
		delete(c.down, id)
	}
}

// Cut says that a node is alive, as others hear it, and not heard here. A backup of it
// succeeds it where nobody of a quorum hears it: it serves nothing there.
func (c *Core) Cut(id NodeID, now int64) {
	if _, known := c.cut[id]; !known && id != c.self {
		c.cut[id] = now
		c.concerns(id)
	}
}

// Uncut takes Cut back.
func (c *Core) Uncut(id NodeID) {
	if _, known := c.cut[id]; known {
		delete(c.cut, id)
		c.concerns(id)
	}
}

// lacks reports whether a node can take no part in what this one does.
func (c *Core) lacks(id NodeID) bool {
	_, cut := c.cut[id]
	return cut || c.IsDown(id)
}

// IsDown reports whether a node counts as dead.
func (c *Core) IsDown(id NodeID) bool {
	_, down := c.down[id]
	return down
}

// Learn takes in claims in force, from any source, and returns those that
// were news.
func (c *Core) Learn(claims []*Claim, now int64) []*Claim {
	var news []*Claim
	for _, cl := range claims {
		if c.learn(cl, now) {
			news = append(news, cl)
		}
	}
	return news
}

func (c *Core) learn(cl *Claim, now int64) bool {
	s := c.slot(cl.Slot)
	if Compare(cl, s.known) <= 0 {
		return false
	}
	if cl.Primary == c.self {
		return false // only this node's own word counts for that
	}
	c.replaced(s, s.known, cl)
	s.known = cl
	if Compare(s.accepted, cl) == 0 {
		s.accepted = cl // one copy of it in memory
	}
	s.seen = max(s.seen, cl.Epoch)
	s.orphanAt = 0
	// An own proposal of the same or a lower epoch is void now.
	if a := s.attempt; a != nil && cl.Epoch >= a.epoch {
		c.endAttempt(cl.Slot, s)
		s.tries = 0
	}
	s.opened, s.union, s.acceptors, s.settled, s.unfit, s.merge = false, nil, nil, nil, nil, nil
	s.handover, s.invitedBy = NodeID{}, NodeID{}
	s.fencedAt = 0
	// The promise follows claims in force, so that what they beat is refused.
	// A promise of the same epoch to another node is void: that one did not
	// get a quorum, unless it is on the other side of a fork.
	if b := (Ballot{cl.Epoch, cl.Primary}); b.beats(s.promised) || b.Epoch == s.promised.Epoch && Compare(s.accepted, cl) <= 0 {
		s.promised = b
	}
	c.save(cl.Slot)
	c.touch(cl.Slot)
	c.watch(cl.Slot)
	if a := s.attempt; a != nil && a.claim == nil && Compare(cl, a.newest) > 0 {
		// What is to be succeeded is this one: its group has the say.
		a.newest, a.invited = cl, false
		c.oppose(cl.Slot, s, cl.Primary)
		c.ask(cl.Slot, s, now)
		c.fenced(cl.Slot, s, now)
	}
	return true
}

// replaced notes that a claim gives way to that of another primary.
func (c *Core) replaced(s *slotState, old, by *Claim) {
	if old == nil || old.Primary == by.Primary {
		return
	}
	if id := old.Primary; id != c.self && !slices.Contains(s.priors, id) {
		s.priors = slices.DeleteFunc(s.priors, func(id NodeID) bool { return c.gone[id] })
		s.priors = append(s.priors, id)
	}
}

func (b Ballot) beats(o Ballot) bool {
	return b.Epoch > o.Epoch || b.Epoch == o.Epoch && b.To.Compare(o.To) > 0
}

// Claims returns the newest claim in force known of each slot that has one.
func (c *Core) Claims() []*Claim {
	var cs []*Claim
	c.each(func(_ uint16, s *slotState) {
		if s.known != nil {
			cs = append(cs, s.known)
		}
	})
	return cs
}
