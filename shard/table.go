package shard

import (
	"encoding/binary"
	"iter"
)

// Digests are compared and claims fetched by block: 128 blocks of 128 slots
// each, so that a digest list is 1 KiB and a block of claims about 9 KiB. These
// numbers are part of the protocol.
const (
	Blocks    = 128
	BlockSize = Slots / Blocks
)

// Table is the newest claim known for each slot: a snapshot, never changed
// once made, that any number of goroutines may read. The zero Table holds no
// claim.
//
// A changed table shares the blocks that did not change with the one it came
// from.
type Table struct {
	blocks [Blocks]*block // nil: no claim in it
}

type block struct {
	claims [BlockSize]*Claim
	// digest is the sum, by exclusive or, of the digests of the claims: the
	// order in which they came leaves no trace, and one is exchanged for
	// another without a look at the rest.
	digest uint64
}

// Empty is the table without claims.
var Empty = new(Table)

// Claim returns the newest claim of slot, which is below Slots, or nil where it
// was never claimed. It is on the hot path of every call: see
// TestClaimDoesNotAllocate.
func (t *Table) Claim(slot uint16) *Claim {
	b := t.blocks[slot/BlockSize]
	if b == nil {
		return nil
	}
	return b.claims[slot%BlockSize]
}

// Merge returns a table with those of claims that are newer than t's (see
// Compare), and lists the ones that it took. Where none is newer it returns t
// itself. The order of claims, repetition and nil claims make no difference to
// the table. It copies 1 KiB per block touched.
func (t *Table) Merge(claims ...*Claim) (*Table, []*Claim) {
	next := t
	var taken []*Claim
	for _, c := range claims {
		if c == nil || Compare(c, next.Claim(c.Slot)) <= 0 {
			continue
		}
		if next == t {
			next = new(*t)
		}
		next.put(c, t)
		taken = append(taken, c)
	}
	return next, next.newest(taken)
}

// put sets c in t, which nobody else reads yet and which came from origin.
func (t *Table) put(c *Claim, origin *Table) {
	i, j := c.Slot/BlockSize, c.Slot%BlockSize
	b := t.blocks[i]
	switch {
	case b == nil:
		b = new(block)
	case b == origin.blocks[i]:
		b = new(*b)
	}
	b.digest ^= b.claims[j].digest() ^ c.digest()
	b.claims[j] = c
	t.blocks[i] = b
}

// newest leaves out of claims those that a later one of the same slot replaced.
func (t *Table) newest(claims []*Claim) []*Claim {
	kept := claims[:0]
	for _, c := range claims {
		if t.Claim(c.Slot) == c {
			kept = append(kept, c)
		}
	}
	return kept
}

// Digests returns a number for each block. Two tables whose numbers for a
// block are equal hold, but for a chance of one in 2^64, the same claims in it.
func (t *Table) Digests() []uint64 {
	digests := make([]uint64, Blocks)
	for i, b := range t.blocks {
		if b != nil {
			digests[i] = b.digest
		}
	}
	return digests
}

// Block returns the claims of block i, which is below Blocks, by slot. Slots
// never claimed are left out.
func (t *Table) Block(i int) []*Claim {
	var claims []*Claim
	if b := t.blocks[i]; b != nil {
		for _, c := range b.claims {
			if c != nil {
				claims = append(claims, c)
			}
		}
	}
	return claims
}

// All yields every claim, by slot.
func (t *Table) All() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for _, b := range t.blocks {
			if b == nil {
				continue
			}
			for _, c := range b.claims {
				if c != nil && !yield(c) {
					return
				}
			}
		}
	}
}

// digest covers what orders claims. The rest follows from it: only a node
// itself makes claims that name it primary, and it uses no (epoch, rev) twice.
func (c *Claim) digest() uint64 {
	if c == nil {
		return 0
	}
	h := mix(uint64(c.Slot) + 1)
	h = mix(h ^ c.Epoch)
	h = mix(h ^ uint64(c.Rev))
	h = mix(h ^ binary.BigEndian.Uint64(c.Primary[:8]))
	return mix(h ^ binary.BigEndian.Uint64(c.Primary[8:]))
}
