package shard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slotmesh/slotmesh/internal/keyspace"
)

// Slots is the number of slots of the keyspace: 16384.
const Slots = keyspace.Slots

// MaxEpoch is the highest epoch: a version is epoch<<40 | seq, and both fit 64 bits.
const MaxEpoch = 1<<24 - 1

// What a claim may hold, so that no peer can make a node keep more.
const (
	MaxGroup   = 64
	MaxLineage = 1024
)

// Claim says which nodes hold a slot. Claims are shared and never changed
// once made.
type Claim struct {
	Slot    uint16
	Rev     uint32 // counts the changes by one primary under one epoch
	Epoch   uint64 // at most MaxEpoch, counts the changes of primary
	Primary NodeID
	// Backups are in sync: every acknowledged write of the slot has reached
	// them. They are in promotion order.
	Backups   []NodeID
	Witnesses []NodeID
	// Base is the group of the last claim in force that the proposer knew,
	// where that is not the claim replaced; empty otherwise.
	Base []NodeID
	// Lineage is a sorted set. Claims of one lineage succeed each other; of two
	// lineages neither holds all that the other acknowledged.
	Lineage []uint64
}

// Compare orders claims of one slot: by epoch, primary, rev. A nil claim is
// lowest.
func Compare(a, b *Claim) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), a.Primary.Compare(b.Primary), cmp.Compare(a.Rev, b.Rev))
}

// Quorum returns how many of a group of n are a majority. An empty group asks
// for nobody.
func Quorum(n int) int {
	if n == 0 {
		return 0
	}
	return n/2 + 1
}

// quorum reports whether a majority of c's group is in votes.
func (c *Claim) quorum(votes []NodeID) bool {
	n := 0
	for _, id := range votes {
		if c.InGroup(id) {
			n++
		}
	}
	return n >= Quorum(1+len(c.Backups)+len(c.Witnesses))
}

// Group returns all who vote on c: primary, backups and witnesses, in that
// order. The slice is the caller's. The group of nil is empty.
func (c *Claim) Group() []NodeID {
	if c == nil {
		return nil
	}
	group := make([]NodeID, 0, 1+len(c.Backups)+len(c.Witnesses))
	group = append(group, c.Primary)
	group = append(group, c.Backups...)
	return append(group, c.Witnesses...)
}

// Holds reports whether id is c's primary or one of its backups.
func (c *Claim) Holds(id NodeID) bool {
	return c != nil && (c.Primary == id || slices.Contains(c.Backups, id))
}

// InGroup reports whether id votes on c.
func (c *Claim) InGroup(id NodeID) bool {
	return c.Holds(id) || c != nil && slices.Contains(c.Witnesses, id)
}

// String returns c as (epoch,rev,primary,{backups},{witnesses}).
func (c *Claim) String() string {
	if c == nil {
		return "(none)"
	}
	return fmt.Sprintf("(%d,%d,%v,{%s},{%s})", c.Epoch, c.Rev, c.Primary, join(c.Backups), join(c.Witnesses))
}

func join(ids []NodeID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(id.String())
	}
	return b.String()
}

// Validate reports what makes c no claim: a number out of its range, no
// primary, or a node named twice.
func (c *Claim) Validate() error {
	switch {
	case c.Slot >= Slots:
		return fmt.Errorf("slot %d of %d", c.Slot, Slots)
	case c.Epoch > MaxEpoch:
		return fmt.Errorf("epoch %d above %d", c.Epoch, MaxEpoch)
	case c.Primary.IsZero():
		return fmt.Errorf("no primary")
	case 1+len(c.Backups)+len(c.Witnesses) > MaxGroup:
		return fmt.Errorf("group of %d, more than %d", 1+len(c.Backups)+len(c.Witnesses), MaxGroup)
	case len(c.Base) > MaxGroup:
		return fmt.Errorf("base of %d, more than %d", len(c.Base), MaxGroup)
	case len(c.Lineage) > MaxLineage:
		return fmt.Errorf("lineage of %d, more than %d", len(c.Lineage), MaxLineage)
	}
	for i := 1; i < len(c.Lineage); i++ {
		if c.Lineage[i-1] >= c.Lineage[i] {
			return fmt.Errorf("lineage not in order")
		}
	}
	var room [MaxGroup]NodeID // decoding a table validates thousands of claims
	group := append(append(append(room[:0], c.Primary), c.Backups...), c.Witnesses...)
	if err := validateMembers(group); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	if err := validateMembers(c.Base); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	return nil
}

func validateMembers(ids []NodeID) error {
	for i, id := range ids {
		if id.IsZero() {
			return fmt.Errorf("member without an ID")
		}
		if slices.Contains(ids[:i], id) {
			return fmt.Errorf("member %v named twice", id)
		}
	}
	return nil
}
