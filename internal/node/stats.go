package node

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Source says who answered a call, and for whom.
type Source uint8

const (
	SourceLocal  Source = iota // made here and answered here
	SourceRemote               // made here and answered by another node
	SourceServed               // answered here for another node
	SourceNone                 // made here and answered by nobody within its time
	sources
)

var sourceNames = [...]string{SourceLocal: "local", SourceRemote: "remote", SourceServed: "served", SourceNone: "none"}

func (s Source) String() string { return sourceNames[s] }

// opNames are the names of operations in statistics; an op without one is not
// counted.
var opNames = [...]string{
	transport.OpGet: "get", transport.OpSet: "set", transport.OpDelete: "delete", transport.OpExpire: "expire",
	transport.OpIncr: "incr", transport.OpCompare: "compare_and_swap", transport.OpPeek: "exists", transport.OpScan: "scan",
	transport.OpAppend: "append", transport.OpTxn: "txn", transport.OpLoad: "load", transport.OpRelease: "load_release",
	transport.OpLock: "lock", transport.OpUnlock: "unlock", transport.OpWatch: "watch", transport.OpExplain: "explain", transport.OpFeed: "watch_all", transport.OpAsk: "ask", transport.OpPublish: "publish",
}

// counters are what a node counts. What a look-up answered here touches is
// spread over stripes; the rest comes with costs of its own that hide it.
type counters struct {
	looks [meter.Stripes]lookStripe
	calls [sources][len(opNames)]callCount

	slow                                 atomic.Uint64
	redirected, detours, stale           atomic.Uint64
	heals                                atomic.Uint64
	evictions, expiries, copied          atomic.Uint64
	leaseRefusals                        atomic.Uint64
	loads                                loadCounts
	copies, copiesDone, copiesStopped    atomic.Uint64
	handovers, handoversDone             atomic.Uint64
	joins, departures, failures, returns atomic.Uint64

	// Gauges, set by the control loop.
	moves [progresses]atomic.Int64

	gossipIn, gossipOut, gossipInBytes, gossipOutBytes atomic.Uint64
}

type loadCounts struct{ granted, waited, failed atomic.Uint64 }

// lookStripe counts look-ups answered here: by source (here or served), op
// (OpGet or OpPeek) and whether there was something.
type lookStripe struct {
	counts [8]atomic.Uint64
	_      [64]byte
}

type callCount struct {
	count, failed atomic.Uint64
	took          meter.Histogram
}

func lookIndex(src Source, op transport.Op, found bool) int {
	i := 0
	if src == SourceServed {
		i = 4
	}
	if op == transport.OpPeek {
		i += 2
	}
	if found {
		i++
	}
	return i
}

// looked counts a look-up that was answered here, begun at the given time of
// the node's clock. It is on the hot path: one addition, and for one call in
// meter.SampleRate a look at how long it took and at the key.
func (n *Node) looked(src Source, c *Call, found bool, began int64) {
	k := n.stats.looks[meter.Stripe()%meter.Stripes].counts[lookIndex(src, c.Op, found)&7].Add(1)
	if meter.Sampled(k, lookSamples) {
		n.sampled(src, c, began)
	}
}

// One in so many is looked at for its duration and its key: of look-ups
// answered here, and of other calls answered here without waiting for anybody.
const (
	lookSamples = 64
	callSamples = 8
)

func (n *Node) sampled(src Source, c *Call, began int64) {
	n.stats.calls[src][c.Op].took.Add(time.Duration(n.now()-began), lookSamples)
	n.touch(c, lookSamples)
}

// touch notes a sampled call for what is hot.
func (n *Node) touch(c *Call, weight float64) {
	key := c.Key
	switch c.Op {
	case transport.OpScan, transport.OpTxn, transport.OpWatch, transport.OpLock, transport.OpUnlock, transport.OpRelease, transport.OpExplain:
		key = "" // no key of the user's, or not one alone
	}
	n.hot.Touch(c.Slot, key, weight)
}

// count counts a call whose end is known.
func (n *Node) count(src Source, op transport.Op, err error) (nth uint64) {
	k := &n.stats.calls[src][op]
	if isFailure(err) {
		k.failed.Add(1)
	}
	return k.count.Add(1)
}

// ended counts a call of this node's callers. now is the zero time where the
// clock is to be read, if that is needed.
func (n *Node) ended(t *trip, c *Call, found bool, began, now time.Time, err error) {
	if int(c.Op) >= len(opNames) || parks(c.Op) && err != nil && t.source == SourceNone {
		return // whoever waits for a lock, a load or news may stop waiting
	}
	weight := uint64(1)
	switch {
	case t.source == SourceLocal && looks(c.Op) && err == nil:
		n.stats.looks[meter.Stripe()].counts[lookIndex(SourceLocal, c.Op, found)].Add(1)
		n.touch(c, 1)
	case t.source == SourceLocal:
		nth := n.count(SourceLocal, c.Op, err)
		sampled := meter.Sampled(nth, callSamples)
		if sampled {
			n.touch(c, callSamples)
		}
		if !t.waited {
			if weight = callSamples; !sampled {
				return
			}
		}
	default:
		n.count(t.source, c.Op, err)
	}
	if now.IsZero() {
		now = time.Now()
	}
	took := now.Sub(began)
	if n.tooLong(c.Op, took) {
		n.slowCall(c.Op, c.Slot, t, took, err)
	}
	n.stats.calls[t.source][c.Op].took.Add(took, weight)
	if t.source == SourceRemote && t.attempts == 1 && !parks(c.Op) {
		t.peer.took.Add(took, 1)
	}
}

// isFailure tells errors from answers: that a key is missing, a condition does
// not hold or somebody else has the lock is what was asked.
func isFailure(err error) bool {
	if err == nil {
		return false
	}
	for _, answer := range [...]error{ErrNotFound, ErrConditionFailed, ErrVersionMismatch, ErrConflict, ErrLocked, ErrNotInteger} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}

// Stats counts what a node has done since Open; all fields but the gauges
// only grow.
type Stats struct {
	Calls                        []CallStats
	Local, Forwarded, Redirected uint64 // calls of this node's callers: answered here, by a peer, after a MOVED or ASK
	Detours                      uint64 // attempts sent by way of a third node
	Served                       uint64 // calls answered for peers
	Hits, Misses                 uint64
	Slow                         uint64 // calls that took longer than Config.SlowCall
	StaleReads                   uint64 // reads answered from a backup's copy
	NearHits                     uint64 // reads answered from the near cache
	NearRejected, NearEvicted    uint64 // values not kept there, or not kept on, for others that are read more
	Revocations                  uint64 // of read leases granted here
	Promotions                   uint64 // claims this node brought in force by succession
	Forks, Heals, Orphans        uint64
	BackupsDropped               uint64
	LeaseRefusals, FenceRefusals uint64
	Evictions, Expiries          uint64
	BytesCopied                  uint64 // record bytes sent to learners

	Copies, CopiesDone, CopiesStopped      uint64 // to learners
	Handovers, HandoversDone               uint64
	LoadsGranted, LoadsWaited, LoadsFailed uint64
	Joins, Departures, Failures, Returns   uint64 // of other members
	GossipIn, GossipOut                    uint64 // packets
	GossipInBytes, GossipOutBytes          uint64

	// Gauges.
	Primaries, Backups, Learners  int
	Copying, HandingOver, Waiting int // slots served here that are on their way, or wait for their turn
	Owed                          int // slots held here whose records the winner of a fork lacks
	Pending                       int // slots served here with writes not yet acknowledged
	Lag                           time.Duration
	Leases, Guests                int
	NearEntries, NearGrants       int // values in the near cache, keys of which others hold read leases
	NearBytes                     int64
	Alive, Suspect, Leaving       int // members, this node included
	RingBytes                     int64
	Peers                         []PeerStats
	HotSlots                      []meter.HotSlot // rates are per second
	HotKeys                       []meter.HotKey
	Store                         store.Stats
	EvictNone                     bool // as configured
}

// CallStats counts the calls of one operation from one source.
type CallStats struct {
	Op            string
	Source        Source
	Count, Failed uint64
	Took          meter.Snapshot
}

// PeerStats says how it goes with another node.
type PeerStats struct {
	ID        shard.NodeID
	Name      string
	Up        bool
	RoundTrip time.Duration // of the last heartbeat
	Queued    int           // bytes that wait to be sent
	Took      meter.Snapshot
}

// Stats counts since Open.
func (n *Node) Stats() Stats {
	c := &n.stats
	st := Stats{
		Redirected: c.redirected.Load(), Detours: c.detours.Load(), StaleReads: c.stale.Load(), Slow: c.slow.Load(), Heals: c.heals.Load(),
		Evictions: c.evictions.Load(), Expiries: c.expiries.Load(), BytesCopied: c.copied.Load(), LeaseRefusals: c.leaseRefusals.Load(),
		Copies: c.copies.Load(), CopiesDone: c.copiesDone.Load(), CopiesStopped: c.copiesStopped.Load(),
		Handovers: c.handovers.Load(), HandoversDone: c.handoversDone.Load(),
		LoadsGranted: c.loads.granted.Load(), LoadsWaited: c.loads.waited.Load(), LoadsFailed: c.loads.failed.Load(),
		Joins: c.joins.Load(), Departures: c.departures.Load(), Failures: c.failures.Load(), Returns: c.returns.Load(),
		GossipIn: c.gossipIn.Load(), GossipOut: c.gossipOut.Load(), GossipInBytes: c.gossipInBytes.Load(), GossipOutBytes: c.gossipOutBytes.Load(),
		Copying: int(c.moves[copying].Load()), HandingOver: int(c.moves[handing].Load()),
		Waiting: int(c.moves[toRepair].Load() + c.moves[toMove].Load()),
		Owed:    int(n.owed.Load()), Leases: int(n.lobby.leases.Load()), Guests: int(n.lobby.count.Load()),
		RingBytes: n.ringBytes.Load(), Store: n.engine.Stats(), EvictNone: n.cfg.EvictNone,
	}
	n.coreMu.Lock()
	if n.core != nil {
		core := n.core.Stats()
		st.Promotions, st.Forks, st.Orphans, st.BackupsDropped, st.FenceRefusals = core.Promotions, core.Forks, core.Orphans, core.Drops, core.Refusals
	}
	n.coreMu.Unlock()
	st.Revocations, st.NearGrants = n.granting.revoked.Load(), int(n.granting.keys.Load())
	n.near.stats(&st)
	n.callStats(&st)
	n.slotStats(&st)
	n.peerStats(&st)
	st.HotSlots, st.HotKeys = n.hot.Top(hottest)
	return st
}

const hottest = 20

func (n *Node) callStats(st *Stats) {
	var looked [8]uint64
	for i := range n.stats.looks {
		for j := range looked {
			looked[j] += n.stats.looks[i].counts[j].Load()
		}
	}
	for i, count := range looked {
		if i%2 == 0 {
			st.Misses += count
		} else {
			st.Hits += count
		}
	}
	for src := range sources {
		for op, name := range opNames {
			if name == "" {
				continue
			}
			k := &n.stats.calls[src][op]
			s := CallStats{Op: name, Source: src, Count: k.count.Load(), Failed: k.failed.Load()}
			if (src == SourceLocal || src == SourceServed) && looks(transport.Op(op)) {
				i := lookIndex(src, transport.Op(op), false)
				s.Count += looked[i] + looked[i+1]
			}
			if s.Count == 0 {
				continue
			}
			s.Took = k.took.Snapshot()
			st.Calls = append(st.Calls, s)
			switch src {
			case SourceLocal:
				st.Local += s.Count
			case SourceRemote:
				st.Forwarded += s.Count
			case SourceServed:
				st.Served += s.Count
			}
		}
	}
}

// slotStats looks at every slot; it takes no lock.
func (n *Node) slotStats(st *Stats) {
	for cl := range n.Table().All() {
		switch {
		case cl.Primary == n.id:
			st.Primaries++
		case cl.Holds(n.id):
			st.Backups++
		}
	}
	st.Learners = int(n.filling.Load())
	now := n.now()
	for i := range n.fronts {
		if waited, pending := n.fronts[i].pending(now); pending {
			st.Pending++
			st.Lag = max(st.Lag, waited)
		}
	}
}

func (n *Node) peerStats(st *Stats) {
	for _, m := range n.Members() {
		switch m.State {
		case "suspect":
			st.Suspect++
		case "leaving":
			st.Leaving++
		default:
			st.Alive++
		}
		if m.Self {
			continue
		}
		p := n.peer(m.ID)
		ps := PeerStats{ID: m.ID, Name: m.Name, Up: p.up.Load(), RoundTrip: time.Duration(p.roundTrip.Load()), Took: p.took.Snapshot()}
		if t := p.live(); t != nil {
			ps.Queued = t.Queued()
		}
		st.Peers = append(st.Peers, ps)
	}
}

// countMoves publishes how many slots are on their way. Control loop only.
func (n *Node) countMoves() {
	for i := range n.stats.moves {
		n.stats.moves[i].Store(int64(n.agenda.counts[i]))
	}
}

// countedPackets counts the datagrams of gossip.
type countedPackets struct {
	net.PacketConn
	stats *counters
}

func (c countedPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	size, from, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		c.stats.gossipIn.Add(1)
		c.stats.gossipInBytes.Add(uint64(size))
	}
	return size, from, err
}

func (c countedPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	size, err := c.PacketConn.WriteTo(b, to)
	if err == nil {
		c.stats.gossipOut.Add(1)
		c.stats.gossipOutBytes.Add(uint64(size))
	}
	return size, err
}
