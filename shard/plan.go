package shard

import (
	"cmp"
	"maps"
	"slices"
)

// Assignment says who should hold each slot. It is never changed once made.
type Assignment struct {
	// Ignored lists the pins that were not followed, by slot.
	Ignored []IgnoredPin

	voters  []voter // who may be a witness
	backups int     // each slot should have
	width   int     // copies of each slot
	copies  []NodeID

	holders []Member    // who may hold slots, in canonical order
	pinned  bool        // some slot is
	before  *Assignment // what Yield made this of; nil: it did not
}

// IgnoredPin is a pin that was not followed.
type IgnoredPin struct {
	Slot   uint16
	Name   string
	Reason string
}

// Plan says who should hold each slot, with so many backups each, as far as
// there are nodes. It depends on nothing but its arguments, and not on the
// order of members: every node that knows them computes the same.
//
// Nodes hold slots in proportion to their weights, primaries and all copies:
// exactly up to 32 nodes, and at most a twentieth and four slots for each copy
// more above, except where zones ask for more. Backups are in other zones than
// the primary and than each other as long as there are such. pins names the node
// that is to be primary of a slot, whatever its share.
//
// A node that joins or leaves moves little more than its own share, primaries
// and, with one backup, all copies. Of 2000 single joins of equal nodes to up to
// 19 others, half moved at most 1.06 times that, the worst 1.14 times; of 1500 to
// 19 others the worst 1.15 times. With 200 nodes it is below 1.2 times. No bound
// is proved: a plan that knows no history and leaves no slack owes some moves to
// the luck of names.
//
// It takes about 3 ms with three nodes, 7 ms with ten, 20 ms with 32 and 60 ms
// with 200.
func Plan(members []Member, pins map[uint16]string, backups int) *Assignment {
	return (*Assignment)(nil).Again(members, pins, backups)
}

// Again is Plan, at next to no cost where slots are not pinned and those who may
// hold some are the same as when a was made: nodes without a weight have come or
// gone, or one that was leaving is gone. a may be nil.
func (a *Assignment) Again(members []Member, pins map[uint16]string, backups int) *Assignment {
	backups = min(max(backups, 0), (MaxGroup-1)/2)
	members = canonical(members)
	b := &Assignment{
		backups: backups, voters: newVoters(members), pinned: len(pins) > 0,
		holders: slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return !m.holds() }),
	}
	if a != nil && a.before != nil {
		a = a.before
	}
	if a != nil && a.backups == b.backups && !a.pinned && !b.pinned && slices.Equal(a.holders, b.holders) {
		b.width, b.copies = a.width, a.copies
	} else {
		b.deal(members, pins)
	}
	return b
}

// deal gives every slot its copies.
func (a *Assignment) deal(members []Member, pins map[uint16]string) {
	d := newDraft(members, 1+a.backups)
	a.width = d.width
	a.Ignored = d.pin(members, pins)
	order := choosing()
	for n := 1; n <= d.width; n++ {
		d.copy(n, order)
	}
	a.copies = make([]NodeID, len(d.copies))
	for i, j := range d.copies {
		a.copies[i] = d.seats[j].ID
	}
}

// pin gives slots to the nodes that pins name and returns the pins that it
// cannot follow.
func (d *draft) pin(members []Member, pins map[uint16]string) (ignored []IgnoredPin) {
	for _, slot := range slices.Sorted(maps.Keys(pins)) {
		name := pins[slot]
		i := slices.IndexFunc(d.seats, func(s seat) bool { return s.Name == name })
		m := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
		switch {
		case slot >= Slots:
			ignored = append(ignored, IgnoredPin{slot, name, "no such slot"})
		case i >= 0:
			d.give(slot, i)
		case m < 0:
			ignored = append(ignored, IgnoredPin{slot, name, "no such node"})
		case members[m].Leaving:
			ignored = append(ignored, IgnoredPin{slot, name, "node is leaving"})
		case members[m].holds():
			ignored = append(ignored, IgnoredPin{slot, name, "node waits for its seat"})
		default:
			ignored = append(ignored, IgnoredPin{slot, name, "node has weight 0"})
		}
	}
	return ignored
}

// Yield returns an assignment in which the first planned backup takes the place
// of a primary that aways names for its slot, and the other way round: nothing
// is copied for it. It is not followed where no backup is planned.
func (a *Assignment) Yield(aways map[uint16]NodeID) *Assignment {
	if len(aways) == 0 || a.width < 2 {
		return a
	}
	b := *a
	b.copies, b.before = slices.Clone(a.copies), cmp.Or(a.before, a)
	for slot, id := range aways {
		if slot >= Slots {
			continue
		}
		if of := b.copies[int(slot)*a.width:][:a.width]; of[0] == id {
			of[0], of[1] = of[1], of[0]
		}
	}
	return &b
}

// Primary returns who should serve slot, or the zero NodeID where no node may
// hold data.
func (a *Assignment) Primary(slot uint16) NodeID {
	if a.width == 0 {
		return NodeID{}
	}
	return a.copies[int(slot)*a.width]
}

// Backups returns who should hold the other copies of slot, in promotion order.
// The slice is not to be changed.
func (a *Assignment) Backups(slot uint16) []NodeID {
	if a.width == 0 {
		return nil
	}
	return a.copies[int(slot)*a.width+1 : (int(slot)+1)*a.width : (int(slot)+1)*a.width]
}
