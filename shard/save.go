package shard

import (
	"encoding/binary"
	"fmt"
)

// Save returns what a member must have on disk of a slot before it answers:
// its promise, the newest claim accepted and the newest in force.
func (c *Core) Save(slot uint16) []byte {
	s := c.slot(slot)
	b := binary.AppendUvarint(make([]byte, 0, savedSize), s.promised.Epoch)
	b = append(b, s.promised.To[:]...)
	b = binary.AppendUvarint(b, s.seen)
	var flags byte
	if s.known != nil {
		flags |= 1
	}
	switch {
	case s.accepted != nil && Compare(s.accepted, s.known) == 0: // mostly
		flags |= 4
	case s.accepted != nil:
		flags |= 2
	}
	b = append(b, flags)
	if s.known != nil {
		b = s.known.Append(b)
	}
	if flags&2 != 0 {
		b = s.accepted.Append(b)
	}
	return b
}

// savedSize has room for a promise and two claims of three nodes.
const savedSize = 256

// Restore takes back what Save returned, before anything else is done.
func (c *Core) Restore(slot uint16, b []byte) error {
	r := reader{b: b}
	s := slotState{}
	s.promised.Epoch = r.uvarint()
	r.id(&s.promised.To)
	s.seen = r.uvarint()
	flags := r.byte()
	if r.bad || int(slot) >= Slots {
		return fmt.Errorf("%w: saved slot %d", ErrMessage, slot)
	}
	rest := r.b
	var err error
	if flags&1 != 0 {
		if s.known, rest, err = DecodeClaim(rest); err != nil {
			return err
		}
	}
	if flags&2 != 0 {
		if s.accepted, _, err = DecodeClaim(rest); err != nil {
			return err
		}
	}
	if flags&4 != 0 {
		s.accepted = s.known
	}
	for _, cl := range []*Claim{s.known, s.accepted} {
		if cl != nil && cl.Slot != slot {
			return fmt.Errorf("%w: saved slot %d holds a claim of slot %d", ErrMessage, slot, cl.Slot)
		}
	}
	*c.slot(slot) = s
	return nil
}
