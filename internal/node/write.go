package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// write decides a write under the slot's order, gives it a version, applies
// it here and sends it to every copy; done is called when all have it.
func (n *Node) write(c *Call, req *transport.Request, r *Result, done func(error)) error {
	s := &n.slots[c.Slot]
	s.mu.Lock()
	sv, err := n.openLocked(s)
	if err != nil {
		return err
	}
	if !req.Repeat && req.Epoch < sv.claim.Epoch && shard.NodeID(req.CallID.Node) != n.id {
		// It may have been on its way for long: through a cut, and its caller got it
		// done elsewhere since. One that still waits for this sends it again.
		s.mu.Unlock()
		return errMoved
	}
	if req.Repeat {
		if settled, err := n.repeatLocked(s, sv, c, req, r, done); settled {
			return err
		}
	}
	if s.hold != nil {
		s.mu.Unlock()
		return errNotYet
	}
	if c.Op == transport.OpTxn {
		return n.commitLocked(s, sv, c, req, r, done)
	}
	if err := n.writableLocked(s, sv, c); err != nil {
		s.mu.Unlock()
		return err
	}
	if s.last&(1<<seqBits-1) == 1<<seqBits-1 {
		s.mu.Unlock()
		n.renew(s.no, sv.claim.Epoch)
		return errNotYet
	}
	if c.Flags&transport.FlagLease != 0 && !n.holdsLoadLocked(s, c) {
		s.mu.Unlock()
		return ErrConflict
	}
	now := n.env.Now()
	rec, seen, err := n.decide(c, r, n.slotTime(now))
	if err != nil || rec.Version == 0 {
		if c.Op == transport.OpDelete && c.Kind == 0 {
			n.unleaseLocked(s, c.Key)
		}
		// Failed conditions and no-ops are answers like reads: they wait for
		// what they saw, and need the leases.
		if errors.Is(err, errEngine) {
			s.mu.Unlock()
			return err
		}
		if !n.licensed(sv, now) {
			s.mu.Unlock()
			n.stats.leaseRefusals.Add(1)
			return errNotYet
		}
		return s.answerLocked(seen, err, done)
	}
	if !n.licensed(sv, now) && c.Op != opRemove {
		// Perhaps deposed: a version would leave the outcome open.
		s.mu.Unlock()
		n.stats.leaseRefusals.Add(1)
		return errNotYet
	}
	version := s.last + 1
	rec.Version = version
	r.Version = version
	recs := []store.Record{rec}
	if err := n.applyLocked(s, recs); err != nil {
		s.mu.Unlock()
		return err
	}
	s.last = version
	recs[0] = own(rec)
	e := entry{version: version, cause: causeOf(c), call: req.CallID, result: kept(r), records: recs}
	if c.Op == opRemove {
		e.cause = uint8(c.Delta)
	}
	told := n.tellsLocked(s, req, r)
	n.appendToLocked(s, e, told, req.ID)
	if s.guests != nil {
		n.wroteLocked(s, &recs[0], version, c.Op == opRemove)
	}
	n.writtenLocked(s, c, version, told, done)
	return nil
}

// repeatLocked finds out what became of earlier attempts of a write. Where that
// settles the call, by their result or by an error, it unlocks the slot and reports
// true; otherwise none of them took effect, nor ever will, and the call is run.
func (n *Node) repeatLocked(s *slot, sv *serving, c *Call, req *transport.Request, r *Result, done func(error)) (settled bool, err error) {
	if e := s.ring.find(req.CallID); e != nil {
		if c.Flags&transport.FlagReturnOld != 0 && e.result.Found && e.result.Value == nil {
			s.mu.Unlock()
			return true, ErrUnknownOutcome // it took effect, but what it gave is lost
		}
		*r = e.result
		r.Value = bytes.Clone(e.result.Value)
		if e.version <= s.acked.Load() {
			s.mu.Unlock()
			done(nil)
			return true, nil
		}
		s.insertWaiterLocked(e.version, done)
		s.mu.Unlock()
		return true, nil
	}
	// It was first sent to a primary of that epoch or a later one, after
	// that write.
	if max(req.Mark, firstVersion(req.Epoch)) < s.ring.fates {
		s.mu.Unlock()
		return true, ErrUnknownOutcome
	}
	switch far := shard.NodeID(req.CallID.Node) != n.id; {
	case far && 0 < req.Known && req.Known < sv.claim.Epoch:
		s.mu.Unlock()
		return true, errMoved // another repeat may have been answered elsewhere since
	case far && req.After >= sv.claim.Epoch:
		// An earlier attempt may come later than this, by another way. Under a
		// newer epoch it is refused.
		s.mu.Unlock()
		n.renew(s.no, sv.claim.Epoch)
		return true, errNotYet
	}
	return false, nil
}

// writtenLocked ends a call that wrote up to version: done is called when all copies
// have it, or at once where the primary's word is enough. told is of tellsLocked. It
// unlocks the slot.
func (n *Node) writtenLocked(s *slot, c *Call, version uint64, told *link, done func(error)) {
	atOnce := n.ackAtOnce(c) && s.revocationsLocked(version) == version
	if !atOnce {
		s.waiters = append(s.waiters, waiter{version, told, done})
	}
	ready := n.advanceLocked(s)
	s.mu.Unlock()
	finish(ready, nil)
	if atOnce {
		done(nil)
	}
}

// ackAtOnce reports whether the primary's word is enough for a write.
func (n *Node) ackAtOnce(c *Call) bool {
	return c.Flags&transport.FlagAckPrimary != 0 || n.cfg.AckPrimary
}

// answerLocked ends a call that writes nothing, with err or none: like a read it
// waits until what it saw is acknowledged. It unlocks the slot.
func (s *slot) answerLocked(seen uint64, err error, done func(error)) error {
	if seen > s.acked.Load() {
		s.insertWaiterLocked(seen, func(e error) {
			if e == nil {
				e = err
			}
			done(e)
		})
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if err == nil {
		done(nil)
	}
	return err
}

// applyLocked stores records. Where memory is short and may be made by eviction
// the call is to be made again in a moment.
func (n *Node) applyLocked(s *slot, recs []store.Record) error {
	err := n.engine.Apply(s.no, recs)
	if errors.Is(err, store.ErrNoMemory) && !n.cfg.EvictNone {
		n.relief.Store(8)
		n.wakeEvict()
		return errNotYet
	}
	if errors.Is(err, store.ErrParked) {
		n.loseDisk(err)
		return n.lostDiskErr()
	}
	return engineError(err)
}

const maxKept = 64 << 10 // bytes of a result's value that are kept for a repeat of the call

// kept is what the ring keeps of a result.
func kept(r *Result) Result {
	k := *r
	if k.Value = nil; r.Value != nil && len(r.Value) <= maxKept {
		k.Value = bytes.Clone(r.Value)
	}
	return k
}

func finish(ws []waiter, err error) {
	for _, w := range ws {
		w.done(err)
	}
}

const maxPending = 32 << 20 // bytes of unacknowledged writes of one slot

// writableLocked refuses a write that may not be made now, before it gets a
// version.
func (n *Node) writableLocked(s *slot, sv *serving, c *Call) error {
	if len(sv.claim.Backups) < n.cfg.MinBackups {
		return ErrNotEnoughBackups
	}
	return n.roomLocked(s, c)
}

// roomLocked refuses a write while its way is jammed, before it gets a version.
func (n *Node) roomLocked(s *slot, c *Call) error {
	if n.lostDisk.Load() != nil {
		return n.lostDiskErr()
	}
	size := len(c.Key) + len(c.Value) + 128
	if len(s.waiters) > 0 && s.ring.bytes+size > maxPending+n.cfg.MaxValue {
		return ErrOverloaded
	}
	for _, l := range s.links {
		if t := l.peer.live(); t != nil && t.Queued() > n.queueLimit {
			return ErrOverloaded
		}
	}
	if n.jammed() { // or the disk would be waited for here, under the slot's lock
		return ErrOverloaded
	}
	if c.Op == transport.OpDelete || c.Op == opRemove {
		return nil
	}
	if n.cfg.EvictNone {
		if n.engine.Short(int64(size)) {
			return ErrNoMemory
		}
	} else if n.engine.Short(int64(size) + n.headroom) {
		n.wakeEvict() // before there is no room at all
	}
	return nil
}

// maxExpiry is the last Unix millisecond that a record can expire at, in the
// year 6429: engines have 48 bits for it. Later ones mean this one.
const maxExpiry = 1<<47 - 1

var errEngine = errors.New("engine")

// opRemove deletes the record of exactly Call.Version, expired or not: the
// node's own op for expiry and eviction, never sent to a peer.
const opRemove transport.Op = 200

// decide reads what the call's conditions need and builds its record, whose
// version the caller sets. A record of version 0 means that there is nothing
// to write. seen is the version of what the outcome depends on.
func (n *Node) decide(c *Call, r *Result, now int64) (rec store.Record, seen uint64, err error) {
	cur := store.Item{}
	blind := c.Op == transport.OpSet && c.Flags&(transport.FlagIfAbsent|transport.FlagIfPresent|transport.FlagIfVersion|transport.FlagKeepTTL|transport.FlagReturnOld) == 0
	if !blind {
		if c.Op == opRemove { // the version is enough
			cur, err = n.engine.Get(nil, c.Slot, c.Kind, c.Key, c.Field, now)
		} else {
			cur, err = n.lookUp(nil, c.Slot, c.Kind, c.Key, c.Field, now)
		}
		if err != nil {
			return rec, 0, errors.Join(errEngine, engineError(err))
		}
	}
	found := exists(&cur)
	*r = Result{}
	if c.Op == opRemove && (cur.Version != c.Version || cur.State == store.Deleted) {
		return rec, 0, nil
	}
	expiry := min(c.Expiry, maxExpiry)
	if c.Flags&transport.FlagRelative != 0 && expiry > 0 {
		expiry += now
	}
	version := uint64(0)
	if found {
		version = cur.Version
	}
	switch {
	case c.Flags&transport.FlagIfAbsent != 0 && found, c.Flags&transport.FlagIfPresent != 0 && !found:
		r.Version = version
		return rec, cur.Version, ErrConditionFailed
	case c.Flags&transport.FlagIfVersion != 0 && c.Version != version:
		r.Version = version
		return rec, cur.Version, ErrVersionMismatch
	}
	if !found { // a record that says so is nothing to keep
		cur.Value, cur.Expiry, cur.Schema = nil, 0, 0
	}
	if c.Flags&transport.FlagReturnOld != 0 && found {
		if r.Value = cur.Value; r.Value == nil {
			r.Value = []byte{} // there, and empty
		}
		r.Schema = cur.Schema
	}
	rec, err = n.change(c, r, &cur, found, expiry, now)
	return rec, cur.Version, err
}

// change builds the record that a call makes of cur, what there is of its key, as
// decide does, and fills in the rest of r. expiry is what the call asks for, in Unix
// milliseconds; 0 for never.
func (n *Node) change(c *Call, r *Result, cur *store.Item, found bool, expiry, now int64) (rec store.Record, err error) {
	rec = store.Record{Kind: c.Kind, Key: c.Key, Field: c.Field, Schema: c.Schema}
	write := func(value []byte, expiry int64) (store.Record, error) {
		expiry = min(expiry, maxExpiry)
		rec.Value, rec.Expiry, rec.Version = value, expiry, 1
		r.Expiry = expiry
		if expiry > 0 && expiry <= now {
			rec.Value, rec.Expiry, rec.Tombstone = nil, 0, true
		}
		return rec, nil
	}
	switch c.Op {
	case opRemove:
		rec.Tombstone, rec.Version = true, 1
		return rec, nil
	case transport.OpSet:
		if c.Flags&transport.FlagKeepTTL != 0 && found {
			expiry = cur.Expiry
		}
		r.Found = found
		return write(c.Value, expiry)
	case transport.OpDelete:
		if r.Found = found; cur.State != store.Found {
			return rec, nil
		}
		rec.Tombstone, rec.Version = true, 1
		return rec, nil
	case transport.OpExpire:
		if !found {
			return rec, ErrNotFound
		}
		r.Found, rec.Schema = true, cur.Schema
		return write(cur.Value, expiry)
	case transport.OpIncr:
		rec.Schema = cur.Schema
		next, err := increment(c, r, cur, found)
		if err != nil {
			return rec, err
		}
		if found {
			expiry = cur.Expiry
		}
		return write(strconv.AppendInt(nil, next, 10), expiry)
	case transport.OpAppend:
		if len(cur.Value)+len(c.Value) > n.cfg.MaxValue {
			return rec, ErrTooLarge
		}
		if found {
			rec.Schema = cur.Schema
			if c.Expiry == 0 {
				expiry = cur.Expiry
			}
		}
		r.Int, r.Found = int64(len(cur.Value)+len(c.Value)), found
		return write(append(cur.Value, c.Value...), expiry)
	case transport.OpCompare:
		if !found || string(cur.Value) != string(c.Old) {
			return rec, ErrConditionFailed
		}
		if c.Flags&transport.FlagKeepTTL != 0 {
			expiry = cur.Expiry
		}
		if r.Found = true; rec.Schema == 0 {
			rec.Schema = cur.Schema
		}
		return write(c.Value, expiry)
	}
	return rec, ErrInvalid
}

// increment returns what OpIncr makes of cur, and tells it in r; with bounds that it
// would leave, r tells what is there.
func increment(c *Call, r *Result, cur *store.Item, found bool) (next int64, err error) {
	old := int64(0)
	if found {
		var ok bool
		if old, ok = integer(cur.Value); !ok || !textual(cur.Schema) {
			return 0, ErrNotInteger
		}
	}
	above, below := c.Delta > 0 && old > math.MaxInt64-c.Delta, c.Delta < 0 && old < math.MinInt64-c.Delta
	if c.Flags&transport.FlagBounds != 0 {
		low, high, ok := bounds(c.Old)
		if !ok {
			return 0, ErrInvalid
		}
		refused := old+c.Delta < low || old+c.Delta > high
		if above || below { // of all integers, also of those that have no room here
			refused = above && high < math.MaxInt64 || below && low > math.MinInt64
		}
		if refused {
			r.Int, r.Found = old, found
			return 0, ErrConditionFailed
		}
	}
	if above || below {
		return 0, ErrNotInteger
	}
	r.Int, r.Found = old+c.Delta, true
	return old + c.Delta, nil
}

// integer reads a decimal integer without superfluous signs and zeros, so that
// what Incr takes is what it writes.
func integer(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, false
	}
	var buf [20]byte
	return n, string(strconv.AppendInt(buf[:0], n, 10)) == string(b)
}

// Codecs of typed values, the highest byte of a record's schema, that write no text:
// what looks like a digit there is none.
const (
	CodecMsgpack  = 1
	CodecProtobuf = 3
)

// textual reports whether a value of a schema may be text, as far as is known: codecs
// of programs may write any.
func textual(schema uint32) bool {
	codec := schema >> 24
	return codec != CodecMsgpack && codec != CodecProtobuf
}

// bounds reads what FlagBounds puts into Call.Old.
func bounds(b []byte) (low, high int64, ok bool) {
	if len(b) != 16 {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), true
}
