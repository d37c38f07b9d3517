package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// NodeID names one start of one node: eight bytes of counter, big endian,
// then eight random bytes, so that IDs order by counter. The zero NodeID is
// no node.
type NodeID [16]byte

// NewNodeID makes an ID. A later start of a node needs a higher counter; the
// random bits tell apart two starts that chose the same.
func NewNodeID(counter, random uint64) (id NodeID) {
	binary.BigEndian.PutUint64(id[:8], counter)
	binary.BigEndian.PutUint64(id[8:], random)
	return id
}

// Counter returns the counter that id was made with.
func (id NodeID) Counter() uint64 { return binary.BigEndian.Uint64(id[:8]) }

// Compare orders IDs.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// IsZero reports whether id is no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// String returns counter and random bits in hexadecimal, as in "18f3a-9c04",
// and the counter alone where the random bits are zero.
func (id NodeID) String() string {
	s := strconv.FormatUint(id.Counter(), 16)
	if random := binary.BigEndian.Uint64(id[8:]); random != 0 {
		s += "-" + strconv.FormatUint(random, 16)
	}
	return s
}

// ParseNodeID reads what String writes.
func ParseNodeID(s string) (NodeID, error) {
	high, low, dashed := strings.Cut(s, "-")
	counter, err := strconv.ParseUint(high, 16, 64)
	if err != nil {
		return NodeID{}, fmt.Errorf("parse node ID %q: %w", s, err)
	}
	var random uint64
	if dashed {
		if random, err = strconv.ParseUint(low, 16, 64); err != nil {
			return NodeID{}, fmt.Errorf("parse node ID %q: %w", s, err)
		}
	}
	return NewNodeID(counter, random), nil
}
