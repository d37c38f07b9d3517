package node

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Kinds of records. Values are part of what is stored.
const (
	kindLock uint8 = 1 // Value is a lockValue
)

// A lock lapses by the monotonic clock of the primary that wrote its record, and never
// by a wall clock: those differ, and are set. Another primary counts the time anew
// from when it took over, or last raised its epoch. The record itself expires long after.
const lockKeep = 24 * time.Hour

const lockValueLen = 24 + len(shard.NodeID{})

// lockValue is what a lock's record holds.
type lockValue struct {
	token  uint64 // of the holder
	ttl    int64  // in nanoseconds
	until  int64  // on the writer's clock, as Node.now
	writer shard.NodeID
}

// held is the value of a lock that is held from now on.
func (n *Node) held(token uint64, ttl int64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, lockValueLen), token)
	b = binary.BigEndian.AppendUint64(b, uint64(ttl))
	b = binary.BigEndian.AppendUint64(b, uint64(n.now()+ttl))
	return append(b, n.id[:]...)
}

// lockOf reads a record; the zero value where there is none.
func lockOf(it *store.Item) lockValue {
	if it.State != store.Found {
		return lockValue{}
	}
	return unpackLock(it.Value)
}

func unpackLock(b []byte) (v lockValue) {
	if len(b) >= lockValueLen {
		v.token = binary.BigEndian.Uint64(b)
		v.ttl = int64(min(binary.BigEndian.Uint64(b[8:]), uint64(maxLockTTL)))
		v.until = int64(binary.BigEndian.Uint64(b[16:]))
		copy(v.writer[:], b[24:])
	}
	return v
}

// heldAnew is the value of a lock that another primary wrote, as one that is held
// from now on.
func (n *Node) heldAnew(b []byte) []byte {
	if v := unpackLock(b); v.token != 0 {
		return n.held(v.token, v.ttl)
	}
	return b
}

// holderLocked returns the token of who holds a lock; 0: nobody.
func (n *Node) holderLocked(it *store.Item, sv *serving) uint64 {
	v := lockOf(it)
	until := v.until
	if v.writer != n.id {
		until = int64(sv.since)*int64(time.Second) + v.ttl
	}
	if until <= n.now() {
		return 0
	}
	return v.token
}

// Lock asks for a lock.
type Lock struct {
	Token uint64 // of the caller, chosen by it
	TTL   time.Duration
	How   uint8
}

// How a lock is asked for.
const (
	LockWait  uint8 = 0 // in line
	LockTry   uint8 = 1 // now or not at all
	LockRenew uint8 = 2 // the caller has it and wants to keep it
)

const maxLockTTL = 24 * time.Hour

// Call returns the call that asks.
func (l Lock) Call(slot uint16, key string) Call {
	b := binary.AppendUvarint(nil, l.Token)
	b = binary.AppendUvarint(b, uint64(l.TTL.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(l.How))
	return Call{Op: transport.OpLock, Slot: slot, Key: key, Value: b}
}

func (l *Lock) unpack(b []byte) bool {
	f := fields{b: b}
	l.Token = f.num()
	l.TTL = time.Duration(min(f.num(), uint64(maxLockTTL/time.Millisecond))) * time.Millisecond
	l.How = uint8(f.num())
	return !f.bad && l.Token != 0 && l.TTL > 0
}

// Unlock gives a lock back, or leaves the line for it.
func Unlock(token uint64, slot uint16, key string) Call {
	return Call{Op: transport.OpUnlock, Slot: slot, Key: key, Value: binary.AppendUvarint(nil, token)}
}

// lock answers OpLock: when the caller has the lock, or at once that it can't
// have it. A caller that holds the lock already, because an answer was lost, is
// told so again.
func (n *Node) lock(c *Call, req *transport.Request, r *Result, done func(error)) error {
	var l Lock
	if !l.unpack(c.Value) {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	now := n.env.Now()
	sv, err := n.leasedLocked(s, now)
	if err != nil {
		return err
	}
	var ready []waiter
	defer func() { finish(ready, nil) }()
	defer s.mu.Unlock()
	if s.hold != nil {
		return errNotYet
	}
	if len(sv.claim.Backups) < n.cfg.MinBackups {
		return ErrNotEnoughBackups
	}
	if err := n.roomLocked(s, c); err != nil {
		return err
	}
	it, err := n.lookUp(nil, s.no, kindLock, c.Key, "", n.slotTime(now))
	if err != nil {
		return engineError(err)
	}
	*r = Result{}
	switch holder := n.holderLocked(&it, sv); {
	case holder == l.Token && l.How != LockRenew:
		r.Found, r.Version = true, it.Version
		n.answerAtLocked(s, it.Version, nil, done)
	case holder != l.Token && (l.How == LockRenew || l.How == LockTry && (holder != 0 || len(n.lineLocked(s, c.Key)) > 0)):
		n.answerAtLocked(s, it.Version, ErrLocked, done)
	case holder != 0 && holder != l.Token, len(n.lineLocked(s, c.Key)) > 0 && l.How == LockWait:
		return n.lineUpLocked(s, l.Token, c, req, r, done)
	default:
		version, err := n.takeLockLocked(s, c.Key, &l, n.slotTime(now))
		if err != nil {
			return err
		}
		r.Found, r.Version = true, version
		n.answerAtLocked(s, version, nil, done)
		ready = n.advanceLocked(s)
	}
	return nil
}

// answerAtLocked answers with err once a version is acknowledged.
func (n *Node) answerAtLocked(s *slot, version uint64, err error, done func(error)) {
	if version <= s.acked.Load() {
		done(err)
		return
	}
	s.insertWaiterLocked(version, func(lost error) {
		if lost != nil {
			done(errNotYet)
			return
		}
		done(err)
	})
}

func (n *Node) lineLocked(s *slot, key string) []*guest {
	if s.guests == nil {
		return nil
	}
	return s.guests.lines[key]
}

// lineUpLocked parks a caller behind those who came before. One that asks again
// keeps its place.
func (n *Node) lineUpLocked(s *slot, token uint64, c *Call, req *transport.Request, r *Result, done func(error)) error {
	g := n.guestsLocked(s)
	line := g.lines[c.Key]
	if i := inLine(line, token); i >= 0 {
		line[i] = n.newGuest(c, req, r, done)
		return nil
	}
	if !n.checkIn(len(line)) {
		return ErrOverloaded
	}
	g.setLine(c.Key, append(line, n.newGuest(c, req, r, done)))
	return nil
}

// setLine says who waits for a lock, in order.
func (g *guests) setLine(key string, line []*guest) {
	switch {
	case len(line) == 0:
		delete(g.lines, key)
		return
	case g.lines == nil:
		g.lines = map[string][]*guest{}
	}
	g.lines[strings.Clone(key)] = line // a map takes over the key that it is assigned by
}

func inLine(line []*guest, token uint64) int {
	return slices.IndexFunc(line, func(w *guest) bool {
		f := fields{b: w.call.Value}
		return f.num() == token
	})
}

// takeLockLocked writes the record of a lock.
func (n *Node) takeLockLocked(s *slot, key string, l *Lock, now int64) (version uint64, err error) {
	return n.putLocked(s, store.Record{
		Kind: kindLock, Key: key, Expiry: now + (l.TTL + lockKeep).Milliseconds(),
		Value: n.held(l.Token, int64(l.TTL)),
	})
}

// putLocked gives a record of the primary's own the next version and sends it
// to the copies.
func (n *Node) putLocked(s *slot, rec store.Record) (version uint64, err error) {
	if s.last&(1<<seqBits-1) == 1<<seqBits-1 {
		n.renew(s.no, s.view.Known.Epoch)
		return 0, errNotYet
	}
	rec.Version = s.last + 1
	if err := n.applyLocked(s, []store.Record{rec}); err != nil {
		return 0, err
	}
	s.last = rec.Version
	n.appendLocked(s, entry{version: rec.Version, records: []store.Record{own(rec)}})
	n.pollsLocked(s, rec.Version)
	return rec.Version, nil
}

// unlock answers OpUnlock. Result.Found says whether the caller had the lock.
func (n *Node) unlock(c *Call, r *Result, done func(error)) error {
	f := fields{b: c.Value}
	token := f.num()
	if f.bad || token == 0 {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	now := n.env.Now()
	if _, err := n.leasedLocked(s, now); err != nil {
		return err
	}
	var ready []waiter
	defer func() { finish(ready, nil) }()
	defer s.mu.Unlock()
	if s.hold != nil {
		return errNotYet
	}
	*r = Result{}
	if line := n.lineLocked(s, c.Key); line != nil {
		if i := inLine(line, token); i >= 0 {
			n.lobby.count.Add(-1)
			s.guests.setLine(c.Key, slices.Delete(line, i, i+1))
		}
	}
	it, err := n.lookUp(nil, s.no, kindLock, c.Key, "", n.slotTime(now))
	if err != nil {
		return engineError(err)
	}
	if lockOf(&it).token != token {
		n.answerAtLocked(s, it.Version, nil, done)
		return nil
	}
	version, err := n.putLocked(s, store.Record{Kind: kindLock, Key: c.Key, Tombstone: true})
	if err != nil {
		return err
	}
	r.Found = true
	n.answerAtLocked(s, version, nil, done)
	n.grantLocked(s, c.Key)
	ready = n.advanceLocked(s)
	return nil
}

// grantLocked gives a lock that is free to the first in line that still waits.
func (n *Node) grantLocked(s *slot, key string) {
	line := n.lineLocked(s, key)
	if len(line) == 0 {
		return
	}
	now := n.now()
	for len(line) > 0 {
		w := line[0]
		line = line[1:]
		s.guests.setLine(key, line)
		n.lobby.count.Add(-1)
		var l Lock
		if now >= w.deadline || !l.unpack(w.call.Value) {
			continue // nobody waits for it
		}
		version, err := n.takeLockLocked(s, key, &l, n.slotTime(n.env.Now()))
		if err != nil {
			n.answerAtLocked(s, s.last, errNotYet, w.done) // it asks again
			continue
		}
		*w.r = Result{Found: true, Version: version}
		n.answerAtLocked(s, version, nil, w.done)
		return
	}
}
