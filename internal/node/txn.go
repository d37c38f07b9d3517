package node

import (
	"encoding/binary"
	"errors"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// MaxTxnKeys is how many keys a transaction may read and write.
const MaxTxnKeys = 1024

// maxTxnReads bounds the bytes of values that one OpTxn call answers with; what
// does not fit is read by another call.
const maxTxnReads = 1 << 20

// Txn is what a transaction commits: the versions it read, 0 for an absent
// key, and what it writes. It travels in the Value of an OpTxn call, whose
// answer holds the keys of Reads as they were when the versions held: see
// UnpackReads.
type Txn struct {
	Checks []TxnCheck
	Writes []TxnWrite
	Reads  []string // a peer that does not know them ignores them
	Bare   bool     // their values are not wanted; a peer that does not know that gives them
}

// TxnCheck is a key as the transaction saw it.
type TxnCheck struct {
	Key     string
	Version uint64
}

// TxnWrite is a key as the transaction leaves it.
type TxnWrite struct {
	Key    string
	Value  []byte
	Delete bool
	Flags  uint16 // of transport's: FlagRelative, FlagKeepTTL
	Expiry int64
	Schema uint32
	Label  uint8 // what those who watch are told
}

// Among the flags of a write.
const (
	txnDelete     = 1 << 15
	txnLabelShift = 16 // of the label above them, which releases that know of none leave out
)

// Pack appends the transaction's form on the wire.
func (t *Txn) Pack(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.Checks)))
	for _, c := range t.Checks {
		b = packString(b, c.Key)
		b = binary.AppendUvarint(b, c.Version)
	}
	b = binary.AppendUvarint(b, uint64(len(t.Writes)))
	for _, w := range t.Writes {
		flags := uint64(w.Flags) | uint64(w.Label)<<txnLabelShift
		if w.Delete {
			flags |= txnDelete
		}
		b = packString(b, w.Key)
		b = binary.AppendUvarint(b, flags)
		b = binary.AppendUvarint(b, uint64(w.Expiry))
		b = binary.AppendUvarint(b, uint64(w.Schema))
		b = packBytes(b, w.Value)
	}
	if len(t.Reads) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(t.Reads)))
	for _, key := range t.Reads {
		b = packString(b, key)
	}
	if t.Bare {
		b = append(b, 1)
	}
	return b
}

// packRead appends a key's state to the answer to Reads.
func packRead(b []byte, cur *store.Item) []byte {
	if !exists(cur) {
		return append(b, 0)
	}
	b = append(b, 1)
	b = binary.AppendUvarint(b, cur.Version)
	b = binary.AppendUvarint(b, uint64(cur.Expiry))
	b = binary.AppendUvarint(b, uint64(cur.Schema))
	return packBytes(b, cur.Value)
}

// UnpackReads reads the answer to the Reads of a Txn, of which there were most:
// the first of them, none where the answering peer does not know Reads. Values
// alias b.
func UnpackReads(b []byte, most int) (reads []Result, ok bool) {
	f := fields{b: b}
	reads = make([]Result, 0, min(most, len(b)))
	for f.more() && len(reads) < most {
		var r Result
		if r.Found = f.num() != 0; r.Found {
			r.Version, r.Expiry, r.Schema = f.num(), int64(f.num()), uint32(f.num())
			r.Value = f.bytes(len(b))
		}
		reads = append(reads, r)
	}
	return reads, !f.bad
}

// unpackTxn reads what Pack wrote; keys and values alias b. Keys of another
// slot are at fault.
func unpackTxn(b []byte, slot uint16, maxKey, maxValue int) (t Txn, ok bool) {
	f := fields{b: b}
	count := f.count(MaxTxnKeys)
	t.Checks = make([]TxnCheck, 0, count)
	for range count {
		t.Checks = append(t.Checks, TxnCheck{Key: str(f.bytes(maxKey)), Version: f.num()})
	}
	count = f.count(MaxTxnKeys)
	t.Writes = make([]TxnWrite, 0, count)
	for range count {
		w := TxnWrite{Key: str(f.bytes(maxKey))}
		flags := f.num()
		w.Flags, w.Delete = uint16(flags)&^txnDelete, flags&txnDelete != 0
		w.Label = uint8(flags >> txnLabelShift)
		w.Expiry = int64(f.num())
		w.Schema = uint32(f.num())
		w.Value = f.bytes(maxValue)
		t.Writes = append(t.Writes, w)
	}
	if f.more() {
		count = f.count(MaxTxnKeys)
		t.Reads = make([]string, 0, count)
		for range count {
			t.Reads = append(t.Reads, str(f.bytes(maxKey)))
		}
		t.Bare = f.more() && f.num() != 0
	}
	if f.bad {
		return Txn{}, false
	}
	for i := range t.Reads {
		ok = ok || hashtag.Slot(t.Reads[i]) != slot
	}
	for i := range t.Checks {
		ok = ok || hashtag.Slot(t.Checks[i].Key) != slot
	}
	for i := range t.Writes {
		ok = ok || hashtag.Slot(t.Writes[i].Key) != slot
	}
	return t, !ok
}

// decideTxn checks what a transaction saw, reads what it asks for into r, and
// builds its records, whose versions the caller sets. seen is the newest version
// the outcome depends on.
func (n *Node) decideTxn(c *Call, r *Result, now int64) (recs []store.Record, seen uint64, err error) {
	t, ok := unpackTxn(c.Value, c.Slot, n.cfg.MaxKey, n.cfg.MaxValue)
	if !ok {
		return nil, 0, ErrInvalid
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	look := func(key string) (store.Item, error) {
		cur, err := n.lookUp((*scratch)[:0], c.Slot, 0, key, "", now)
		if err != nil {
			return cur, errors.Join(errEngine, engineError(err))
		}
		if cap(cur.Value) > cap(*scratch) && cap(cur.Value) <= maxScratch {
			*scratch = cur.Value
		}
		seen = max(seen, cur.Version)
		return cur, nil
	}
	for _, k := range t.Checks {
		cur, err := look(k.Key)
		if err != nil {
			return nil, seen, err
		}
		version := uint64(0)
		if exists(&cur) {
			version = cur.Version
		}
		if version != k.Version {
			return nil, seen, ErrConflict
		}
	}
	for _, key := range t.Reads {
		cur, err := look(key)
		if err != nil {
			return nil, seen, err
		}
		if t.Bare {
			cur.Value = nil
		}
		if len(r.Value)+len(cur.Value) > min(maxTxnReads, n.cfg.MaxValue)-64 {
			break
		}
		if r.Value == nil { // the others are likely to be as large
			r.Value = make([]byte, 0, min((len(cur.Value)+32)*len(t.Reads), maxScratch))
		}
		r.Value = packRead(r.Value, &cur)
	}
	recs = make([]store.Record, 0, len(t.Writes))
	for _, w := range t.Writes {
		rec := store.Record{Key: w.Key, Value: w.Value, Expiry: min(w.Expiry, maxExpiry), Schema: w.Schema}
		if w.Flags&transport.FlagRelative != 0 && w.Expiry > 0 {
			rec.Expiry += now
		}
		rec.Expiry = min(rec.Expiry, maxExpiry)
		if w.Delete || w.Flags&transport.FlagKeepTTL != 0 {
			cur, err := look(w.Key)
			if err != nil {
				return nil, seen, err
			}
			if w.Delete && cur.State != store.Found {
				n.unleaseLocked(&n.slots[c.Slot], w.Key)
				continue
			}
			if w.Flags&transport.FlagKeepTTL != 0 && exists(&cur) {
				rec.Expiry = cur.Expiry
			}
		}
		if w.Delete || rec.Expiry != 0 && rec.Expiry <= now {
			rec = store.Record{Key: w.Key, Tombstone: true}
		}
		rec.Label = w.Label
		recs = append(recs, rec)
	}
	return recs, seen, nil
}

// exists reports whether an item is a value to callers.
func exists(it *store.Item) bool {
	return it.State == store.Found && it.Schema&SchemaAbsent == 0
}

// commitLocked is the rest of write for a transaction, once it is no repeat. It may
// turn out to write nothing. Its records get versions of their own, one after another,
// and travel as one append under the last of them, so that every copy and every disk
// has all of them or none. It unlocks the slot.
func (n *Node) commitLocked(s *slot, sv *serving, c *Call, req *transport.Request, r *Result, done func(error)) error {
	now := n.env.Now()
	*r = Result{}
	recs, seen, err := n.decideTxn(c, r, n.slotTime(now))
	if errors.Is(err, errEngine) {
		s.mu.Unlock()
		return err
	}
	if !n.licensed(sv, now) {
		s.mu.Unlock()
		n.stats.leaseRefusals.Add(1)
		return errNotYet
	}
	if err != nil || len(recs) == 0 { // an answer like a read's
		return s.answerLocked(seen, err, done)
	}
	if err := n.writableLocked(s, sv, c); err != nil {
		s.mu.Unlock()
		return err
	}
	if s.last&(1<<seqBits-1)+uint64(len(recs)) >= 1<<seqBits-1 {
		s.mu.Unlock()
		n.renew(s.no, sv.claim.Epoch)
		return errNotYet
	}
	for i := range recs {
		recs[i].Version = s.last + 1 + uint64(i)
	}
	version := recs[len(recs)-1].Version
	r.Version = version
	if err := n.applyLocked(s, recs); err != nil {
		s.mu.Unlock()
		return err
	}
	s.last = version
	for i := range recs {
		recs[i] = own(recs[i])
	}
	told := n.tellsLocked(s, req, r)
	n.appendToLocked(s, entry{version: version, call: req.CallID, result: kept(r), records: recs}, told, req.ID)
	for i := range recs {
		n.wroteLocked(s, &recs[i], recs[0].Version, false)
	}
	n.writtenLocked(s, c, version, told, done)
	return nil
}

// Fits reports whether a key is within the limits, and size bytes within that
// of one value.
func (n *Node) Fits(key string, size int) bool {
	return len(key) <= n.cfg.MaxKey && size <= n.cfg.MaxValue
}
