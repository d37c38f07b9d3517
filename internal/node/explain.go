package node

import (
	"encoding/binary"

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
}

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
	return e, !f.bad
}

// explain answers OpExplain like a read.
func (n *Node) explain(c *Call, r *Result, done func(error)) error {
	s := &n.slots[c.Slot]
	s.mu.Lock()
	sv, err := n.openLocked(s)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	at := n.env.Now()
	if !n.licensed(sv, at) {
		return errNotYet
	}
	now := n.slotTime(at)
	it, err := n.engine.Get(nil, c.Slot, 0, c.Key, "", now)
	if err == nil && it.State == store.NotResident {
		it, err = n.engine.Fetch(nil, c.Slot, 0, c.Key, "", now)
	}
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
	loading := uint64(0)
	if e.Loading {
		loading = 1
	}
	var b []byte
	for _, v := range []uint64{
		uint64(e.State), e.Version, uint64(e.Size), uint64(e.Expiry), uint64(e.Left), uint64(e.Schema), loading, uint64(e.Waiting),
		uint64(e.Records), uint64(e.Bytes), uint64(e.Recent),
	} {
		b = binary.AppendUvarint(b, v)
	}
	*r = Result{Found: true, Value: b}
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
