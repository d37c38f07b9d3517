package node

import (
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// peer is another node as this one deals with it.
type peer struct {
	id      shard.NodeID
	knownAt int64
	t       atomic.Pointer[transport.Peer]
	up      atomic.Bool

	// leaseMono and leaseWall say until when the peer's lease is held, by this
	// node's monotonic and wall clocks: it is lost when either has passed.
	leaseMono, leaseWall atomic.Int64
	except               atomic.Pointer[slotSet] // slots without the lease; nil: none
	roundTrip            atomic.Int64            // of the last heartbeat, in nanoseconds
	slowTrip             atomic.Int64            // of the slowest heartbeat lately
	took                 meter.Histogram         // of calls that it answered at the first attempt
	upSince              atomic.Int64
	tableSeen            atomic.Bool  // its whole table has arrived since it came up
	heardAt              atomic.Int64 // when it last sent or answered a heartbeat, or had something to say of claims
	clockAhead           atomic.Int64 // its slot clock as of its last heartbeat, in milliseconds ahead of this node's monotonic one; 0: none came
	hearsay              atomic.Pointer[hearsay]
	cut                  atomic.Bool  // set by the control loop: only others hear it
	silent               atomic.Bool  // likewise: nobody does, it counts as dead
	pastSeen             atomic.Bool  // and what it knows from disks
	lostDisk             atomic.Bool  // it can store nothing any more
	stepping             atomic.Bool  // it is about to be away for a while
	stalledAt            atomic.Int64 // when it last had taken in no chunk for chunkStall; 0: never
	fresh                freshness
	idleSince            atomic.Int64 // since when nothing needs it, to houseLoop; 0: something does

	mu      sync.Mutex // guards below
	beat    uint64     // number of the last heartbeat
	beats   [32]beat   // the last heartbeats by number
	replied uint64     // the last heartbeat that was answered
}

// lends reports whether the peer's lease for a slot is held at the given times.
func (p *peer) lends(slot uint16, mono, wall int64) bool {
	untilWall := p.leaseWall.Load() // before the other: of a lease made longer meanwhile it would seem set back
	if passed(p.leaseMono.Load(), untilWall, mono, wall) {
		return false
	}
	except := p.except.Load()
	return except == nil || !except.has(slot)
}

type slotSet [shard.Slots / 64]uint64

func (s *slotSet) add(slot uint16)      { s[slot/64] |= 1 << (slot % 64) }
func (s *slotSet) has(slot uint16) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

type beat struct {
	number     uint64
	mono, wall int64
}

// str views bytes as a string; they must not change while it is used.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (n *Node) peer(id shard.NodeID) *peer {
	n.peersMu.RLock()
	p := n.peers[id]
	n.peersMu.RUnlock()
	if p != nil {
		return p
	}
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	return n.peerLocked(id)
}

// knownPeer is peer for IDs that somebody may have made up: nil if it is not known.
func (n *Node) knownPeer(id shard.NodeID) *peer {
	n.peersMu.RLock()
	defer n.peersMu.RUnlock()
	return n.peers[id]
}

func (n *Node) peerLocked(id shard.NodeID) *peer {
	p := n.peers[id]
	if p == nil {
		p = &peer{id: id, knownAt: n.now()}
		n.peers[id] = p
	}
	return p
}

// peerUp notes a peer's connection, under the lock: a peer that is up is not
// forgotten.
func (n *Node) peerUp(tp *transport.Peer) *peer {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	p := n.peerLocked(shard.NodeID(tp.ID()))
	p.t.Store(tp)
	p.tableSeen.Store(false)
	p.pastSeen.Store(false)
	p.upSince.Store(n.now())
	p.stalledAt.Store(0)
	p.up.Store(true)
	return p
}

// live returns the stream end of a peer that is up, else nil.
func (p *peer) live() *transport.Peer {
	if !p.up.Load() {
		return nil
	}
	return p.t.Load()
}

// control sends a control body to a peer that is up.
func (p *peer) control(b []byte) {
	if t := p.live(); t != nil {
		_ = t.SendControl(b)
	}
}

// muchQueued is how many bytes wait for a link that is slower than what is sent.
const muchQueued = 64 << 10

// behind reports whether what this node has to say of claims waits for the link to a
// peer: what would be repeated may not have left yet.
func (p *peer) behind() bool {
	t := p.live()
	return t != nil && t.ControlQueued() > muchQueued
}

// told reports whether all it knows of claims has arrived.
func (p *peer) told() bool { return p.tableSeen.Load() && p.pastSeen.Load() }

// allHeard lists the peers that this node reaches.
func (n *Node) allHeard() []*peer {
	return slices.DeleteFunc(n.allPeers(), func(p *peer) bool { return p.live() == nil || p.cut.Load() })
}

func (n *Node) allPeers() []*peer {
	n.peersMu.RLock()
	defer n.peersMu.RUnlock()
	ps := make([]*peer, 0, len(n.peers))
	for _, p := range n.peers {
		ps = append(ps, p)
	}
	return ps
}
