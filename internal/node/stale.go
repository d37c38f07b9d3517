package node

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// A backup may answer reads that allow for some age. What it needs to know is
// up to which version the slot's writes are acknowledged, and since when its
// copy may lack newer ones; both come from the primary. While stale reads are
// made here, the heartbeats of this node ask for that (confirm), and a primary
// answers with the marks of the slots in which acknowledgements wait for this
// node, of those that changed since its last answer. What was acknowledged
// before a heartbeat left is then in this node's copy, at or below the mark.

// shadows is what primaries have confirmed of this node's copies.
type shadows struct {
	marks [shard.Slots]atomic.Uint64 // of a claim's epoch, as all versions
	from  [shard.Slots]atomic.Pointer[peer]
}

// freshness is both ends of confirmations between this node and a peer.
type freshness struct {
	// Of what the peer confirms: mono and wall are when the heartbeat left that
	// it answered last, by this node's clocks.
	mono, wall atomic.Int64
	have       atomic.Uint64 // number of its last answer; 0: none that counts
	askedAt    atomic.Int64  // and not answered since; 0: answered
	// Of what this node confirms to the peer, guarded by peer.mu.
	number uint64
	told   *[shard.Slots]uint64
}

const staleFor = int64(time.Minute) // marks are asked for so long after a stale read

// wantMarks notes that a stale read is made.
func (n *Node) wantMarks() *shadows {
	if now := n.now(); now-n.staleAt.Load() > int64(time.Second) {
		n.staleAt.Store(now)
	}
	sh := n.shadows.Load()
	if sh == nil {
		n.shadows.CompareAndSwap(nil, new(shadows))
	}
	return sh
}

// readStale answers Get and Peek from a backup's copy that is at most
// c.MaxAge old; false: it can't.
func (n *Node) readStale(c *Call, r *Result) bool {
	sh := n.wantMarks()
	if sh == nil {
		return false
	}
	p := sh.from[c.Slot].Load()
	if p == nil {
		return false
	}
	// The time before the mark: both may get newer meanwhile.
	wall := p.fresh.wall.Load()
	mono := p.fresh.mono.Load()
	mark := sh.marks[c.Slot].Load()
	now := n.env.Now()
	byMono, byWall := int64(now.Sub(n.start))-mono, now.UnixNano()-wall
	age := max(byMono, byWall, 1)
	if age > c.MaxAge || byWall < byMono-clockSlack { // see passed
		return false
	}
	s := &n.slots[c.Slot]
	session, acked, ok := s.shadows(p.id, mark>>seqBits)
	if !ok {
		return false
	}
	var dst []byte
	if c.Op == transport.OpGet {
		dst = c.Value
	}
	at := n.slotTime(now)
	it, err := n.lookUp(dst, c.Slot, c.Kind, c.Key, c.Field, at)
	if err != nil || it.State == store.Expired || it.Version > max(mark, acked) {
		return false // the primary decides what has expired, and what is acknowledged
	}
	if again, _, ok := s.shadows(p.id, mark>>seqBits); !ok || again != session {
		return false // it may be of another generation
	}
	*r = Result{Local: true, Age: age, Found: exists(&it), Schema: it.Schema & SchemaAbsent}
	if r.Found {
		r.Version, r.Expiry, r.Schema = it.Version, it.Expiry, it.Schema
		if it.Expiry > 0 {
			r.Int = max(it.Expiry-at, 1)
		}
		if c.Op == transport.OpGet {
			r.Value = it.Value
		}
	}
	n.looked(SourceLocal, c, r.Found, int64(now.Sub(n.start)))
	n.stats.stale.Add(1)
	return true
}

// shadows reports whether this node's copy follows that primary under that
// epoch, in which session, and what the stream says is acknowledged.
func (s *slot) shadows(primary shard.NodeID, epoch uint64) (session, acked uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, k := &s.stream, s.view.Known
	ok = st.primary == primary && st.epoch == epoch && !st.filling && s.duty == nil && k != nil && !s.view.Primary
	return st.session, s.acked.Load(), ok
}

// askMarks adds to a heartbeat that this node wants marks.
func (n *Node) askMarks(p *peer, b []byte, now int64) []byte {
	if n.shadows.Load() == nil || now-n.staleAt.Load() > staleFor {
		return b
	}
	if asked := p.fresh.askedAt.Load(); asked != 0 && now-asked < 4*int64(n.cfg.Lease) {
		return b // one question at a time
	}
	p.fresh.askedAt.Store(max(now, 1))
	return binary.AppendUvarint(b, p.fresh.have.Load())
}

// confirm answers a heartbeat that asked for marks: have is the number of the
// last answer that the peer took in.
func (n *Node) confirm(tp *transport.Peer, p *peer, beat, have uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.fresh
	all := uint64(0)
	if f.told == nil || have == 0 || have != f.number {
		all = 1
		f.told = new([shard.Slots]uint64)
	}
	f.number++
	b := body(ctlMarks, beat, f.number, all)
	now, last := n.env.Now(), 0 // before any mark is read
	for i := range n.slots {
		mark := n.markFor(&n.slots[i], p, now)
		if mark == f.told[i] {
			continue
		}
		f.told[i] = mark
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, mark>>seqBits)
		b = binary.AppendUvarint(b, mark&(1<<seqBits-1))
		last = i
	}
	if tp.SendControl(b) != nil {
		f.number++ // it is not the one the peer has: all is told next time
	}
}

// markFor is the acknowledged mark of a slot served here whose writes wait for
// p; 0 if there is none.
func (n *Node) markFor(s *slot, p *peer, now time.Time) uint64 {
	sv := s.serving.Load()
	if sv == nil {
		return 0
	}
	for _, l := range sv.lenders {
		if l == p && n.licensed(sv, now) {
			if mark := s.acked.Load(); mark>>seqBits == sv.claim.Epoch {
				return mark
			}
		}
	}
	return 0
}

// onMarks takes in what confirm sent.
func (n *Node) onMarks(from shard.NodeID, fs *fields) {
	beat, number, all := fs.num(), fs.num(), fs.num() == 1
	p, sh := n.peer(from), n.shadows.Load()
	if fs.bad || sh == nil {
		return
	}
	f := &p.fresh
	f.askedAt.Store(0)
	if !all && number != f.have.Load()+1 {
		f.have.Store(0)
		return
	}
	f.have.Store(0)
	if all {
		for i := range sh.from {
			if sh.from[i].Load() == p {
				sh.from[i].Store(nil)
			}
		}
	}
	for slot := uint64(0); fs.more(); {
		slot += fs.num()
		epoch, seq := fs.num(), fs.num()
		if fs.bad || slot >= shard.Slots || epoch >= 1<<(64-seqBits) || seq >= 1<<seqBits {
			return
		}
		if epoch == 0 && seq == 0 {
			if sh.from[slot].Load() == p {
				sh.from[slot].Store(nil)
			}
			continue
		}
		sh.marks[slot].Store(epoch<<seqBits | seq)
		sh.from[slot].Store(p)
	}
	p.mu.Lock()
	b := p.beats[beat%uint64(len(p.beats))]
	p.mu.Unlock()
	if b.number != beat {
		return
	}
	f.mono.Store(b.mono)
	f.wall.Store(b.wall)
	f.have.Store(number)
}
