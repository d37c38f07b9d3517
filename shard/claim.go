package shard

import (
	"bytes"
	"cmp"
)

// Slots is the number of slots of the keyspace.
const Slots = 16384

// NodeID names one start of one node: eight bytes of counter, big endian,
// then eight random bytes, so that IDs order by counter. The zero NodeID is
// no node.
type NodeID [16]byte

// Compare orders IDs.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// IsZero reports whether id is no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// MaxEpoch is the highest epoch: a version is epoch<<40 | seq, and both fit 64 bits.
const MaxEpoch = 1<<24 - 1

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
	// Lineage is sorted. Claims of one lineage succeed each other; of two
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
