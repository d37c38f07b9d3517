package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A claim on the wire, numbers as unsigned varints unless said otherwise:
//
//	length of what follows
//	version, one byte
//	slot, epoch, rev
//	number of backups, witnesses, base members, lineage numbers
//	primary, backups, witnesses, base: 16 bytes each
//	lineage: 8 bytes each, little endian
//
// A later release appends fields; this one skips them, so a field must not be
// needed by a node that gets the claim second-hand. The version changes only
// where skipping would be wrong. These bytes are also on disk.
const wireVersion = 1

// Why bytes are no claim: see DecodeError.
var (
	errTruncated = errors.New("truncated")
	errNumber    = errors.New("number out of range")
)

// DecodeError says why bytes are no claims.
type DecodeError struct {
	Index int // which claim of the batch, from 0
	Err   error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("decode claim %d: %v", e.Index, e.Err) }

// Unwrap returns the reason.
func (e *DecodeError) Unwrap() error { return e.Err }

// Append appends c's wire form to dst. The claim is valid: see Validate.
func (c *Claim) Append(dst []byte) []byte {
	var room [7 * binary.MaxVarintLen64]byte
	head := append(room[:0], wireVersion)
	for _, n := range []uint64{
		uint64(c.Slot), c.Epoch, uint64(c.Rev),
		uint64(len(c.Backups)), uint64(len(c.Witnesses)), uint64(len(c.Base)), uint64(len(c.Lineage)),
	} {
		head = binary.AppendUvarint(head, n)
	}
	ids := 1 + len(c.Backups) + len(c.Witnesses) + len(c.Base)
	dst = binary.AppendUvarint(dst, uint64(len(head)+ids*len(c.Primary)+len(c.Lineage)*8))
	dst = append(dst, head...)
	dst = append(dst, c.Primary[:]...)
	for _, list := range [][]NodeID{c.Backups, c.Witnesses, c.Base} {
		for i := range list {
			dst = append(dst, list[i][:]...)
		}
	}
	for _, n := range c.Lineage {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	return dst
}

// DecodeClaim reads the claim that b starts with and returns what follows it.
// The claim is valid and shares no memory with b. The error is a *DecodeError.
func DecodeClaim(b []byte) (*Claim, []byte, error) {
	c, rest, err := decodeClaim(b)
	if err != nil {
		return nil, nil, &DecodeError{Err: err}
	}
	return c, rest, nil
}

// AppendClaims appends the wire form of claims to dst: one after another, so
// that batches can be joined end to end.
func AppendClaims(dst []byte, claims []*Claim) []byte {
	for _, c := range claims {
		dst = c.Append(dst)
	}
	return dst
}

// DecodeClaims reads at most maxClaims claims, which make up all of b. The
// error is a *DecodeError.
func DecodeClaims(b []byte, maxClaims int) ([]*Claim, error) {
	var claims []*Claim
	for len(b) > 0 {
		if len(claims) == maxClaims {
			return nil, &DecodeError{Index: maxClaims, Err: fmt.Errorf("more than %d claims", maxClaims)}
		}
		c, rest, err := decodeClaim(b)
		if err != nil {
			return nil, &DecodeError{Index: len(claims), Err: err}
		}
		claims = append(claims, c)
		b = rest
	}
	return claims, nil
}

func decodeClaim(b []byte) (*Claim, []byte, error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, errTruncated
	}
	body, rest := b[n:n+int(size)], b[n+int(size):]
	if len(body) == 0 {
		return nil, nil, errTruncated
	}
	if body[0] != wireVersion {
		return nil, nil, fmt.Errorf("version %d, not %d", body[0], wireVersion)
	}
	d := decoder{b: body[1:]}
	c := &Claim{
		Slot:  uint16(d.number(Slots - 1)),
		Epoch: d.number(MaxEpoch),
		Rev:   uint32(d.number(1<<32 - 1)),
	}
	backups, witnesses := int(d.number(MaxGroup)), int(d.number(MaxGroup))
	base, lineage := int(d.number(MaxGroup)), int(d.number(MaxLineage))
	if d.err == nil && len(d.b) < (1+backups+witnesses+base)*len(c.Primary)+lineage*8 {
		d.err = errTruncated
	}
	if d.err != nil {
		return nil, nil, d.err
	}
	// The lists share one array: a table is 16384 claims.
	ids := make([]NodeID, 1+backups+witnesses+base)
	for i := range ids {
		d.b = d.b[copy(ids[i][:], d.b):]
	}
	c.Primary, ids = ids[0], ids[1:]
	c.Backups, ids = cut(ids, backups)
	c.Witnesses, ids = cut(ids, witnesses)
	c.Base, _ = cut(ids, base)
	if lineage > 0 {
		c.Lineage = make([]uint64, lineage)
	}
	for i := range c.Lineage {
		c.Lineage[i] = binary.LittleEndian.Uint64(d.b[8*i:])
	}
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	return c, rest, nil
}

// cut splits ids after n. The first part is nil where empty, and appending to
// it does not write into the second.
func cut(ids []NodeID, n int) (first, second []NodeID) {
	if n == 0 {
		return nil, ids
	}
	return ids[:n:n], ids[n:]
}

// A decoder reads numbers until the first that is missing or out of range.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) number(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	switch {
	case n == 0:
		d.err = errTruncated
	case n < 0 || v > limit:
		d.err = errNumber
	default:
		d.b = d.b[n:]
		return v
	}
	return 0
}
