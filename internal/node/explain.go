package node

import (
	"encoding/binary"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Explanation is what a slot's primary knows of a key.
type Explanation struct {
	State   uint8 // of the Explain constants
	Version uint64
	Size    int
	Expiry  int64
	Left    int64 // milliseconds until then
	Schema  uint32
	Loading bool // somebody has the right to load it
	Waiting int  // callers that wait for that load
	Records int  // of the slot
	Bytes   int64
	Recent  int // writes of the slot that are kept for repeats and watches
	Copies  []ExplainedCopy
}

// ExplainedCopy is how far another node's copy of the slot is.
type ExplainedCopy struct {
	Node   shard.NodeID
	InSync bool   // else it is being filled
	Behind uint64 // writes that it has not confirmed, of an in-sync one
}

const maxExplainedCopies = 64

// States of a key. Values are part of the wire format.
const (
	ExplainPresent uint8 = 1
	ExplainNever   uint8 = 2 // or so long ago that nothing is known of it
	ExplainDeleted uint8 = 3
	ExplainExpired uint8 = 4
	ExplainEvicted uint8 = 5
	ExplainAbsent  uint8 = 6 // remembered as having no value
)

// ExplainCall returns the call that asks about a key.
func ExplainCall(slot uint16, key string) Call {
	return Call{Op: transport.OpExplain, Slot: slot, Key: key}
}

// UnpackExplanation reads what an Explain's Result.Value holds.
func UnpackExplanation(b []byte) (e Explanation, ok bool) {
	f := fields{b: b}
	e.State, e.Version, e.Size = uint8(f.num()), f.num(), int(f.num())
	e.Expiry, e.Left, e.Schema = int64(f.num()), int64(f.num()), uint32(f.num())
	e.Loading, e.Waiting = f.num() == 1, int(f.num())
	e.Records, e.Bytes, e.Recent = int(f.num()), int64(f.num()), int(f.num())
	if !f.more() { // of an earlier release
		return e, !f.bad
	}
	for range f.count(maxExplainedCopies) {
		var c ExplainedCopy
		f.bad = f.bad || copy(c.Node[:], f.bytes(len(c.Node))) != len(c.Node)
		c.InSync, c.Behind = f.num() == 1, f.num()
		e.Copies = append(e.Copies, c)
	}
	return e, !f.bad
}

// pack appends the explanation's form on the wire.
func (e *Explanation) pack(b []byte) []byte {
	for _, v := range []uint64{
		uint64(e.State), e.Version, uint64(e.Size), uint64(e.Expiry), uint64(e.Left), uint64(e.Schema), bit(e.Loading), uint64(e.Waiting),
		uint64(e.Records), uint64(e.Bytes), uint64(e.Recent), uint64(len(e.Copies)),
	} {
		b = binary.AppendUvarint(b, v)
	}
	for i := range e.Copies {
		c := &e.Copies[i]
		b = packBytes(b, c.Node[:])
		b = binary.AppendUvarint(b, bit(c.InSync))
		b = binary.AppendUvarint(b, c.Behind)
	}
	return b
}

func bit(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// copiesLocked says how far the other copies of a slot are, in promotion order
// and then those that are being filled.
func copiesLocked(s *slot, sv *serving) (copies []ExplainedCopy) {
	for _, id := range sv.claim.Backups {
		c := ExplainedCopy{Node: id, InSync: true}
		if l := s.links.to(id); l != nil && l.acked < s.last && l.acked>>seqBits == s.last>>seqBits {
			c.Behind = s.last - l.acked
		}
		copies = append(copies, c)
	}
	if s.learner != nil && len(copies) < maxExplainedCopies {
		copies = append(copies, ExplainedCopy{Node: s.learner.link.peer.id})
	}
	return copies
}

// explain answers OpExplain like a read.
func (n *Node) explain(c *Call, r *Result, done func(error)) error {
	s := &n.slots[c.Slot]
	s.mu.Lock()
	at := n.env.Now()
	sv, err := n.leasedLocked(s, at)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	now := n.slotTime(at)
	it, err := n.lookUp(nil, c.Slot, 0, c.Key, "", now)
	if err != nil {
		return engineError(err)
	}
	e := Explanation{Version: it.Version, Size: len(it.Value), Expiry: it.Expiry, Schema: it.Schema, Recent: len(s.ring.entries)}
	switch {
	case it.State == store.Found && it.Schema&SchemaAbsent != 0:
		e.State = ExplainAbsent
	case it.State == store.Found:
		e.State = ExplainPresent
	case it.State == store.Expired:
		e.State = ExplainExpired
	default: // a tombstone may be purged while the ring still knows
		if e.State = s.ring.removal(c.Key); e.State == 0 && it.State == store.Absent {
			e.State = ExplainNever
		} else if e.State == 0 {
			e.State = ExplainDeleted
		}
	}
	if e.Expiry > 0 {
		e.Left = max(e.Expiry-now, 0)
	}
	if s.guests != nil {
		if l := s.guests.loads[c.Key]; l != nil {
			e.Loading, e.Waiting = true, len(l.waiters)
		}
	}
	st := n.engine.SlotStats(c.Slot)
	e.Records, e.Bytes = st.Records, st.Bytes
	e.Copies = copiesLocked(s, sv)
	*r = Result{Found: true, Value: e.pack(nil)}
	n.answerAtLocked(s, it.Version, nil, done)
	return nil
}

// removal says why a key of the ring was removed last; 0 if it was not.
func (r *ring) removal(key string) uint8 {
	for i := len(r.entries) - 1; i >= 0; i-- {
		e := &r.entries[i]
		for k := range e.records {
			if rec := &e.records[k]; rec.Kind == 0 && rec.Key == key {
				if !rec.Tombstone {
					return 0
				}
				switch e.cause {
				case causeExpired:
					return ExplainExpired
				case causeEvicted:
					return ExplainEvicted
				}
				return ExplainDeleted
			}
		}
	}
	return 0
}
