package slotmesh

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/shard"
)

// Placement is what people decided about where slots are, beside what the
// nodes were started with. Every node has it, and those with a data directory
// keep it over a restart; a fleet without one keeps it as long as a node lives.
type Placement struct {
	Pins    map[uint16]string // by slot: the name of the node that is to serve it
	Aways   map[uint16]string // by slot: the name of the node that is not to serve it, see Failover
	Weights map[string]int    // by node name: see SetWeight
	Paused  bool              // see PauseRebalance
}

// Placement returns the decisions in force, as far as this node has heard.
func (c Cluster) Placement() Placement {
	s := c.n.Settings()
	return Placement{Pins: s.Pins(), Aways: s.Aways(), Weights: s.Weights(), Paused: s.Paused()}
}

// OwnWeight for SetWeight lets the weight count again that a node was started
// with.
const OwnWeight = shard.NoWeight

// maxWeight is the highest of WithWeight and SetWeight.
const maxWeight = 1000

// Progress says how far slots are on their way.
type Progress struct {
	Total   int           // slots that were to move when this was asked for, or more if some joined them
	Left    int           // of them, those still on their way
	Elapsed time.Duration // since this was asked for
	// Remaining is an estimate, by what was moved so far; 0 while nothing was.
	Remaining time.Duration
}

// MoveOption changes how slots are moved.
type MoveOption func(*moveOptions)

type moveOptions struct {
	progress func(Progress)
	dropPins bool
}

// OnProgress has f called about ten times a second while slots move, and once
// at the end, by the goroutine that waits for them.
func OnProgress(f func(Progress)) MoveOption { return func(o *moveOptions) { o.progress = f } }

// DropPins has Rebalance undo what MoveSlots and Failover placed first.
func DropPins() MoveOption { return func(o *moveOptions) { o.dropPins = true } }

func newMoveOptions(opts []MoveOption) (o moveOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}

// MoveSlots pins slots to the node of a name, and returns when it serves them
// all. They are copied first and change hands within milliseconds, under load
// as at rest. A pin holds until Unpin, or another one; while its node is gone,
// leaving or of weight 0 the slot is placed as if there were none. Pinned slots
// count towards the node's share, so that others may leave it. It works while
// balance is paused.
//
// When ctx ends first the pins stay and the slots move on.
//
// Errors, which changed nothing: ErrInvalid for a slot beyond 16383 or no slot
// at all; ErrUnknownNode where no living member has the name, or it may hold
// nothing. Then ErrDisk, ErrClosed, ErrSuperseded, ctx's error.
func (c Cluster) MoveSlots(ctx context.Context, slots []uint16, node string, opts ...MoveOption) error {
	slots, err := c.asked(ctx, slots)
	if err == nil {
		err = c.holder(node)
	}
	if err != nil {
		return fmt.Errorf("move slots: %w", err)
	}
	err = c.pin(ctx, slots, node)
	if err == nil {
		err = c.awaitServed(ctx, slots, opts, func(_ uint16, by string) bool { return by == node })
	}
	if err != nil {
		return fmt.Errorf("move slots to %s: %w", node, err)
	}
	return nil
}

// Unpin undoes MoveSlots and Failover: slots are placed by weight again. nil
// means all that were placed.
// It returns at once; Rebalance waits until they have moved.
//
// Errors: ErrInvalid for a slot beyond 16383, ErrDisk, ErrClosed,
// ErrSuperseded, ctx's error.
func (c Cluster) Unpin(ctx context.Context, slots []uint16) error {
	all := slots == nil
	if all {
		s := c.n.Settings()
		for slot := range uint16(hashtag.Slots) {
			if s.Placed(slot) {
				slots = append(slots, slot)
			}
		}
	}
	err := c.open(ctx)
	if !all {
		slots, err = c.asked(ctx, slots)
	}
	if err == nil && len(slots) > 0 {
		err = c.pin(ctx, slots, "")
	}
	if err != nil {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}

// Failover hands slots over to an in-sync backup of each, at once and without
// copying, and returns when they are served there. The nodes that served them
// stay their backups, and are not to serve them again until Unpin, or
// MoveSlots, says otherwise.
//
// Errors, which changed nothing: ErrInvalid for a slot beyond 16383 or no slot
// at all; ErrNoPrimary for a slot that nobody serves; ErrNotEnoughBackups where
// a slot has no living in-sync backup. Then ErrDisk, ErrClosed, ErrSuperseded,
// ctx's error.
func (c Cluster) Failover(ctx context.Context, slots []uint16, opts ...MoveOption) error {
	slots, err := c.asked(ctx, slots)
	if err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	names, ready := map[shard.NodeID]string{}, map[shard.NodeID]bool{}
	for _, m := range c.n.Members() {
		names[m.ID], ready[m.ID] = m.Name, m.State == "alive" && m.Weight > 0
	}
	table := c.n.Table()
	from := make(map[uint16]string, len(slots))
	byName := map[string][]uint16{}
	for _, slot := range slots {
		claim := table.Claim(slot)
		if claim == nil || names[claim.Primary] == "" {
			return fmt.Errorf("failover: slot %d: %w", slot, ErrNoPrimary)
		}
		if !slices.ContainsFunc(claim.Backups, func(id shard.NodeID) bool { return ready[id] }) {
			return fmt.Errorf("failover: slot %d: %w", slot, ErrNotEnoughBackups)
		}
		name := names[claim.Primary]
		from[slot] = name
		byName[name] = append(byName[name], slot)
	}
	err = c.change(ctx, func(s *shard.Settings) (*shard.Settings, error) {
		var err error
		for name, slots := range byName {
			if s, err = s.WithAway(slots, name, c.n.Self().ID); err != nil {
				return nil, err
			}
		}
		return s, nil
	})
	if err == nil {
		err = c.awaitServed(ctx, slots, opts, func(slot uint16, by string) bool { return by != from[slot] })
	}
	if err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	return nil
}

// FailoverNode is Failover of all slots that the node of a name serves; it
// keeps its copies as backup. To empty it altogether give it weight 0, or shut
// it down.
//
// Errors: ErrUnknownNode where no living member has the name, and those of
// Failover.
func (c Cluster) FailoverNode(ctx context.Context, node string, opts ...MoveOption) error {
	if err := c.open(ctx); err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	m, ok := c.n.FindMember(node)
	if !ok {
		return fmt.Errorf("failover: %w: %q", ErrUnknownNode, node)
	}
	var slots []uint16
	for claim := range c.n.Table().All() {
		if claim.Primary == m.ID {
			slots = append(slots, claim.Slot)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	return c.Failover(ctx, slots, opts...)
}

// Rebalance returns when every slot and its backups are where weights, zones
// and pins want them, which the cluster sees to by itself: this ends a pause,
// and waits.
//
// Errors: ErrDisk, ErrClosed, ErrSuperseded, ctx's error, which says how many
// slots were left.
func (c Cluster) Rebalance(ctx context.Context, opts ...MoveOption) error {
	o := newMoveOptions(opts)
	if o.dropPins {
		if err := c.Unpin(ctx, nil); err != nil {
			return err
		}
	}
	if c.n.Settings().Paused() {
		if err := c.ResumeRebalance(ctx); err != nil {
			return err
		}
	}
	err := c.awaitLeft(ctx, o, func() int {
		planned := c.n.Planned() // before the look: the plan may change in between
		h := c.n.Health()
		left := h.Moving + h.Unclaimed + h.Forked
		if left == 0 && (!planned || h.NoPrimary+h.ShortBackups > 0) {
			return max(1, h.NoPrimary, h.ShortBackups)
		}
		return left
	})
	if err != nil {
		return fmt.Errorf("rebalance: %w", err)
	}
	return nil
}

// PauseRebalance keeps slots where they are until ResumeRebalance, on all
// nodes: one that joins gets none, and a changed weight counts for nothing. A
// slot that lacks a backup still gets one, a node that leaves still hands over,
// and MoveSlots and Failover still move.
//
// Errors: ErrDisk, ErrClosed, ErrSuperseded, ctx's error.
func (c Cluster) PauseRebalance(ctx context.Context) error { return c.pause(ctx, true) }

// ResumeRebalance ends a pause.
func (c Cluster) ResumeRebalance(ctx context.Context) error { return c.pause(ctx, false) }

func (c Cluster) pause(ctx context.Context, paused bool) error {
	return c.change(ctx, func(s *shard.Settings) (*shard.Settings, error) {
		return s.WithPause(paused, c.n.Self().ID)
	})
}

// SetWeight gives the node of a name another share of the slots than it was
// started with: 0 to 1000 as in WithWeight, or OwnWeight to undo it. With 0 it
// hands over all it has, primaries and copies, and goes on to use the cache. It
// lasts until it is changed again, also over a restart of the node. It returns
// at once; Rebalance waits until the slots have moved.
//
// Errors, which changed nothing: ErrInvalid for a weight out of range;
// ErrUnknownNode where no living member has the name. Then ErrDisk, ErrClosed,
// ErrSuperseded, ctx's error.
func (c Cluster) SetWeight(ctx context.Context, node string, weight int) error {
	if weight < OwnWeight || weight > maxWeight {
		return fmt.Errorf("set weight: %w: %d is not in [0, %d]", ErrInvalid, weight, maxWeight)
	}
	if err := c.open(ctx); err != nil {
		return fmt.Errorf("set weight: %w", err)
	}
	_, known := c.n.FindMember(node)
	if _, set := c.n.Settings().Weight(node); !known && (!set || weight != OwnWeight) {
		return fmt.Errorf("set weight: %w: %q", ErrUnknownNode, node)
	}
	err := c.change(ctx, func(s *shard.Settings) (*shard.Settings, error) {
		return s.WithWeight(node, weight, c.n.Self().ID)
	})
	if err != nil {
		return fmt.Errorf("set weight: %w", err)
	}
	return nil
}

// Safe reports whether this node could stop now, even by a crash, without the
// loss of a record: whether a living node holds an in-sync copy of every slot
// that this one holds records of. reasons says what is in the way. A preStop
// hook that cannot call Shutdown waits for it.
//
// It looks at every slot; it costs about a millisecond.
func (c Cluster) Safe() (safe bool, reasons []string) {
	reasons = c.n.Unsafe()
	return len(reasons) == 0, reasons
}

// open says why nothing can be asked for: the cache is closed, or ctx is done.
func (c Cluster) open(ctx context.Context) error {
	if err := c.n.Ended(); err != nil {
		return err
	}
	return ctx.Err()
}

// asked returns the slots that somebody names, once each.
func (c Cluster) asked(ctx context.Context, slots []uint16) ([]uint16, error) {
	slots = slices.Compact(slices.Sorted(slices.Values(slots)))
	if len(slots) == 0 {
		return nil, fmt.Errorf("%w: no slot is named", ErrInvalid)
	}
	if last := slots[len(slots)-1]; last >= hashtag.Slots {
		return nil, fmt.Errorf("%w: slot %d is not in [0, %d)", ErrInvalid, last, hashtag.Slots)
	}
	return slots, c.open(ctx)
}

// holder gives an error unless slots can be moved to a member of that name.
func (c Cluster) holder(name string) error {
	m, ok := c.n.FindMember(name)
	switch {
	case !ok:
		return fmt.Errorf("%w: %q", ErrUnknownNode, name)
	case m.Weight == 0:
		return fmt.Errorf("%w: %q has weight 0", ErrUnknownNode, name)
	case m.State != "alive":
		return fmt.Errorf("%w: %q is %s", ErrUnknownNode, name, m.State)
	}
	return nil
}

func (c Cluster) pin(ctx context.Context, slots []uint16, name string) error {
	return c.change(ctx, func(s *shard.Settings) (*shard.Settings, error) {
		return s.WithPins(slots, name, c.n.Self().ID)
	})
}

func (c Cluster) change(ctx context.Context, edit func(*shard.Settings) (*shard.Settings, error)) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	return c.n.Change(edit)
}

// awaitServed returns when each slot is served by whom it should be. Nodes go by
// their names: one that starts again meanwhile has a new ID.
func (c Cluster) awaitServed(ctx context.Context, slots []uint16, opts []MoveOption, ok func(slot uint16, by string) bool) error {
	return c.awaitLeft(ctx, newMoveOptions(opts), func() (left int) {
		names := map[shard.NodeID]string{}
		for _, m := range c.n.Members() {
			if m.State != "suspect" {
				names[m.ID] = m.Name
			}
		}
		table := c.n.Table()
		for _, slot := range slots {
			claim := table.Claim(slot)
			if claim == nil || names[claim.Primary] == "" || !ok(slot, names[claim.Primary]) {
				left++
			}
		}
		return left
	})
}

const progressEvery = 100 * time.Millisecond

// awaitLeft returns when no slot is left on its way.
func (c Cluster) awaitLeft(ctx context.Context, o moveOptions, count func() int) error {
	begun := time.Now()
	p := Progress{}
	var told, looked time.Time
	err := c.n.Await(ctx, func() bool {
		now := time.Now()
		if p.Total > 1 && now.Sub(looked) < progressEvery/4 && p.Left > 0 {
			return false // a look is not for nothing
		}
		looked = now
		p.Left = count()
		p.Total, p.Elapsed = max(p.Total, p.Left), now.Sub(begun)
		p.Remaining = 0
		if done := p.Total - p.Left; done > 0 {
			p.Remaining = time.Duration(float64(p.Elapsed) * float64(p.Left) / float64(done))
		}
		if o.progress != nil && (p.Left == 0 || now.Sub(told) >= progressEvery) {
			told = now
			o.progress(p)
		}
		return p.Left == 0
	})
	if err != nil {
		return fmt.Errorf("%d of %d slots left: %w", p.Left, p.Total, err)
	}
	return nil
}
