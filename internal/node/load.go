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

// SchemaAbsent marks a record that says that its key has no value: it reads as
// a miss, and spares a load until it expires.
const SchemaAbsent uint32 = 1 << 31

// loadLease is the right to load one key.
type loadLease struct {
	token   uint64
	grant   uint64 // goes with the value that was loaded
	holder  shard.NodeID
	until   int64 // on the node's clock
	waiters []*guest
}

const maxLoadLease = 10 * time.Minute

// Load asks for a key's value or for the lease to load it.
type Load struct {
	Token  uint64        // of the caller, chosen by it
	Lease  time.Duration // for how long, if it is granted
	Wait   bool          // for somebody else's load
	Look   bool          // with Wait: to take no lease after it
	Ignore uint64        // a value of this version counts as none
}

// LoadState is what a Load gives, in Result.Int.
const (
	LoadFound   int64 = 0 // Result has the value, or is not found and has SchemaAbsent
	LoadGranted int64 = 1 // the caller is to load, and to store with Result.Version as the call's
	LoadBusy    int64 = 2 // somebody else does; with Look nobody does any more
)

// LoadOvertaken is what a Release with a Grant gives, in Result.Int, where the lease has
// ended before: the key was written or deleted, or the load took too long. Earlier
// releases do not say it.
const LoadOvertaken int64 = 1

// Call returns the call that asks.
func (l Load) Call(slot uint16, key string) Call {
	b := binary.AppendUvarint(nil, l.Token)
	b = binary.AppendUvarint(b, uint64(l.Lease.Milliseconds()))
	wait := uint64(0)
	if l.Wait {
		wait = 1
	}
	b = binary.AppendUvarint(b, wait)
	b = binary.AppendUvarint(b, l.Ignore)
	if l.Look { // releases that know of none wait, and give the lease after it
		b = binary.AppendUvarint(b, 1)
	}
	return Call{Op: transport.OpLoad, Slot: slot, Key: key, Value: b}
}

func (l *Load) unpack(b []byte) bool {
	f := fields{b: b}
	l.Token = f.num()
	ms := f.num()
	l.Lease = time.Duration(min(ms, uint64(maxLoadLease/time.Millisecond))) * time.Millisecond
	l.Wait = f.num() == 1
	l.Ignore = f.num()
	l.Look = f.more() && f.num() == 1
	return !f.bad && l.Token != 0
}

// Release gives a lease back, or leaves the line for it.
type Release struct {
	Token uint64
	Grant uint64 // without it nobody is told anything
	How   uint8
	Text  string // of an error, for those who wait
}

// How a lease is given back.
const (
	ReleaseOnly   uint8 = 0 // somebody else may load
	ReleaseFailed uint8 = 1 // those who wait get the error
	ReleaseAbsent uint8 = 2 // those who wait get a miss
)

// Call returns the call that gives back.
func (l Release) Call(slot uint16, key string) Call {
	b := binary.AppendUvarint(nil, l.Token)
	b = binary.AppendUvarint(b, uint64(l.How))
	b = packString(b, l.Text[:min(len(l.Text), transport.MaxText)])
	b = binary.AppendUvarint(b, l.Grant)
	return Call{Op: transport.OpRelease, Slot: slot, Key: key, Value: b}
}

func (l *Release) unpack(b []byte) bool {
	f := fields{b: b}
	l.Token, l.How, l.Text = f.num(), uint8(f.num()), f.text(transport.MaxText)
	if f.more() {
		l.Grant = f.num()
	}
	return !f.bad
}

// LoadFailed is the error of somebody else's load, as told by its node.
type LoadFailed struct{ Text string }

func (e *LoadFailed) Error() string { return e.Text }

// load answers OpLoad: with the value, with the lease, or when the one who has
// the lease is done.
func (n *Node) load(c *Call, req *transport.Request, r *Result, done func(error)) error {
	var l Load
	if !l.unpack(c.Value) {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	now := n.env.Now()
	if _, err := n.leasedLocked(s, now); err != nil {
		return err
	}
	it, err := n.lookUp(nil, c.Slot, 0, c.Key, "", n.slotTime(now))
	if err != nil {
		s.mu.Unlock()
		return engineError(err)
	}
	*r = Result{}
	if it.State == store.Found && it.Version != l.Ignore {
		if r.Found = exists(&it); r.Found {
			r.Value, r.Version = it.Value, it.Version
		}
		r.Schema, r.Expiry = it.Schema, it.Expiry
		s.afterLocked(it.Version, done)
		return nil
	}
	if s.hold != nil { // the lease would not survive the hand-over
		s.mu.Unlock()
		return errNotYet
	}
	parked, err := n.leaseLoadLocked(s, &l, c, req, r, done)
	s.mu.Unlock()
	if err == nil && !parked {
		done(nil)
	}
	return err
}

// leaseLoadLocked gives a caller the lease to load a key, or says in r that somebody
// else has it. Where that one is waited for, the caller is parked.
func (n *Node) leaseLoadLocked(s *slot, l *Load, c *Call, req *transport.Request, r *Result, done func(error)) (parked bool, err error) {
	g := n.guestsLocked(s)
	now := n.now()
	have := g.loads[c.Key]
	taken := have != nil && have.token != l.Token && now < have.until
	switch {
	case taken && l.Wait:
		if !n.checkIn(len(have.waiters)) {
			return false, ErrOverloaded
		}
		have.waiters = append(have.waiters, n.newGuest(c, req, r, done))
		n.stats.loads.waited.Add(1)
		return true, nil
	case taken, l.Look, n.lobby.hasLeft(l.Token, c.Key): // it would keep from others what it makes no use of
		r.Int = LoadBusy
		return false, nil
	case have != nil:
	case n.lobby.leases.Load() >= maxLeases:
		return false, ErrOverloaded
	default:
		have = &loadLease{}
		n.lobby.leases.Add(1)
		if g.loads == nil {
			g.loads = map[string]*loadLease{}
		}
		g.loads[strings.Clone(c.Key)] = have
	}
	if have.token != l.Token || now >= have.until {
		// A repeat may come late, when the lease was taken away and what its
		// caller loads is stale: that has not the number of the new one.
		have.grant = n.Token()
	}
	have.token, have.holder, have.until = l.Token, shard.NodeID(req.CallID.Node), now+int64(l.Lease)
	r.Int, r.Version = LoadGranted, have.grant
	n.stats.loads.granted.Add(1)
	return false, nil
}

// LoadFailed counts a load made here whose loader failed: who granted the right to load
// may have moved, or granted it anew, before it hears of that.
func (n *Node) LoadFailed() { n.stats.loads.failed.Add(1) }

// panicLogEvery is how often panics of loaders are logged at most.
const panicLogEvery = 10 * time.Second

// LoaderPanicked logs where a loader panicked whose error nobody gets.
func (n *Node) LoaderPanicked(stack []byte) {
	if unlogged, ok := n.panicLines.due(n.now(), panicLogEvery); ok {
		n.log.Error("loader panics: the value was not loaded anew", "stack", string(stack), "unlogged", unlogged)
	}
}

// giveBack answers OpRelease. One that comes too late changes nothing.
func (n *Node) giveBack(c *Call, r *Result, done func(error)) error {
	var l Release
	if !l.unpack(c.Value) {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	s.mu.Lock()
	if _, err := n.openLocked(s); err != nil {
		return err
	}
	*r = Result{}
	if l.Grant != 0 && !n.grantedLocked(s, c.Key, l.Grant) {
		r.Int = LoadOvertaken
	}
	n.lobby.leave(l.Token, c.Key)
	var told []*guest
	if g := s.guests; g != nil {
		if have := g.loads[c.Key]; have != nil && have.token == l.Token {
			n.endLease(g, c.Key)
			if have.grant != l.Grant { // a load that was overtaken tells nobody anything
				l.How = ReleaseOnly
			}
			if l.How == ReleaseOnly {
				n.callAgain(have.waiters)
			} else {
				told = have.waiters
				n.lobby.count.Add(-int64(len(told)))
			}
		} else if have != nil {
			before := len(have.waiters) // it may have asked again
			have.waiters = slices.DeleteFunc(have.waiters, func(w *guest) bool {
				f := fields{b: w.call.Value}
				return f.num() == l.Token
			})
			n.lobby.count.Add(int64(len(have.waiters) - before))
		}
	}
	s.mu.Unlock()
	for _, w := range told {
		if l.How == ReleaseFailed {
			w.done(&LoadFailed{l.Text})
			continue
		}
		*w.r = Result{Schema: SchemaAbsent}
		w.done(nil)
	}
	done(nil)
	return nil
}

// holdsLoadLocked reports whether a write that needs the lease to load its key has
// it.
func (n *Node) holdsLoadLocked(s *slot, c *Call) bool {
	return n.grantedLocked(s, c.Key, c.Version)
}

// grantedLocked reports whether a lease to load a key is still good.
func (n *Node) grantedLocked(s *slot, key string, grant uint64) bool {
	if s.guests == nil {
		return false
	}
	l := s.guests.loads[key]
	return l != nil && l.grant == grant && n.now() < l.until
}

// unleaseLocked ends the lease on a key that somebody deleted though it was
// not there: what is being loaded may be what was deleted at its source.
func (n *Node) unleaseLocked(s *slot, key string) {
	if s.guests == nil {
		return
	}
	if l := s.guests.loads[key]; l != nil {
		n.endLease(s.guests, key)
		n.callAgain(l.waiters)
	}
}

// Forget makes a call whose outcome nobody waits for, once.
func (n *Node) Forget(c *Call) {
	if cl := n.table.Load().Claim(c.Slot); cl != nil {
		n.forgetAt(cl.Primary, c)
	}
}

// forgetAt is Forget of a call on a node.
func (n *Node) forgetAt(id shard.NodeID, c *Call) {
	if n.closing.Load() {
		return
	}
	req := transport.Request{Call: *c, CallID: transport.CallID{Node: n.id}}
	if id == n.id {
		_ = n.run(c, &req, &Result{}, func(error) {})
		return
	}
	if t := n.peer(id).live(); t != nil {
		t.Call(time.Now().Add(n.cfg.OpTimeout), &req, func(*transport.Response, error) {})
	}
}
