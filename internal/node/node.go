package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// The range of protocol versions this release speaks.
const (
	protoMin = 1
	protoMax = protoClaims

	protoClaims = 2 // claims in force travel on the control stream
)

// protocols is the range that this node says it speaks.
func (n *Node) protocols() (low, high uint8) {
	if p := n.env.Protocols; p[1] != 0 {
		return p[0], p[1]
	}
	return protoMin, protoMax
}

// speaks reports whether this node and a peer both speak a protocol version.
func (n *Node) speaks(tp *transport.Peer, version uint8) bool {
	_, high := n.protocols()
	return min(high, tp.Identity().MaxProto) >= version
}

// Node is one member of the cluster.
type Node struct {
	slots  [shard.Slots]slot  // first, so that they begin cache lines
	fronts [shard.Slots]front // of the slots, each by its number

	cfg    Config
	id     shard.NodeID
	addr   string // advertised
	env    env.Env
	engine store.Engine
	jam    jammer // the engine; nil: it never waits for a disk
	log    *slog.Logger
	start  time.Time
	ctx    context.Context // ends with the node
	cancel context.CancelFunc
	stop   chan struct{}
	wg     sync.WaitGroup

	secretMu  sync.Mutex // serializes RotateSecret
	guard     *transport.Guard
	mux       *transport.Mux
	transport *transport.Transport
	gossip    *gossip.Gossip

	licencesMu sync.Mutex
	licences   []*licence              // that slots are served under; guarded by licencesMu
	clock      atomic.Int64            // highest slot time heard of
	shadows    atomic.Pointer[shadows] // nil until a stale read is made
	staleAt    atomic.Int64            // when one was made last, to the second
	ringBytes  atomic.Int64
	callNo     atomic.Uint64
	cells      sync.Pool // of *waitCell
	flights    sync.Pool // of *flight
	answers    sync.Pool // of *answering
	queueLimit int
	headroom   int64 // bytes that eviction keeps free
	openedAt   int64
	resend     time.Duration // after which what was not answered is said again

	table   atomic.Pointer[shard.Table]
	tableMu sync.Mutex // serializes writes to table

	peersMu sync.RWMutex // guards peers
	peers   map[shard.NodeID]*peer

	membersMu  sync.Mutex // guards members, vanished, gone, met and past
	members    map[shard.NodeID]gossip.Member
	vanished   map[shard.NodeID]gossip.Member // suspected, and may be back
	gone       map[shard.NodeID]int64         // when there was proof of it
	met        bool                           // another node is or was a member
	past       past                           // its names and claims are guarded too
	namesDirty bool                           // names were added since they were saved

	settings          atomic.Pointer[shard.Settings]
	settingsMu        sync.Mutex      // serializes writes to settings
	settingsWake      chan struct{}   // there are new ones to publish
	publishing        chan struct{}   // held by who publishes
	publishedSettings *shard.Settings // guarded by publishing

	// coreMu guards core and strangers. Only the control loop takes the core's
	// output; others lend leases and hand slots over.
	coreMu    sync.Mutex
	core      *shard.Core
	strangers map[shard.NodeID]int64 // holders that never were members, and since when they are known

	listMu       sync.Mutex // serializes setPeers
	attributesMu sync.Mutex // serializes what changes selfMember, and telling of it
	attributes   atomic.Pointer[map[string]string]

	eventsMu   sync.Mutex // guards events and their size
	events     []event
	eventsSize int
	wake       chan struct{}

	pacer    *pacer         // of copies
	paced    meter.Snapshot // of the calls at houseLoop's last tick; its own
	jobsMu   sync.Mutex     // guards jobs
	jobs     []copyJob
	jobsWake chan struct{}

	offersMu sync.Mutex // guards offers
	offers   map[offerKey]uint64
	merger   merger

	toldClock   atomic.Bool // what is wrong with this node's place, each once
	toldAddress atomic.Bool
	toldPackets bool  // of houseLoop alone, like the two below
	metAt       int64 // since when there are other members and no packet
	forgotAt    int64 // when it was last looked whom to forget
	probes      atomic.Int32

	lobby      lobby
	near       *nearCache // nil: none
	granting   granting
	feeds      feeds
	hub        hub
	scans      chan *scanJob
	plannedFor atomic.Pointer[[]shard.Member] // whom planShared is for
	planShared atomic.Pointer[shard.Assignment]
	planFor    atomic.Pointer[shard.Settings] // that it was made with
	awaited    atomic.Pointer[awaited]        // whose disks are waited for; nil: nobody's
	uncovered  atomic.Int64                   // slots without a living primary, as of the last pass
	beatNo     int                            // of beatLoop alone
	cuts       atomic.Int64                   // peers that only others hear
	owed       atomic.Int64                   // slots whose records are owed to the winner of a fork
	evictWake  chan struct{}
	relief     atomic.Int64          // evictions that a copy asks for
	joined     atomic.Bool           // the seeds were asked, or there are none
	wasReady   atomic.Bool           // Ready would have returned
	alone      atomic.Bool           // no seed but this node itself
	leaving    atomic.Bool           // for good
	stepping   atomic.Bool           // for a while
	departing  atomic.Bool           // that was so of a peer since this node started
	jammedAt   atomic.Int64          // since when the disk is behind; 0: it is not, as far as is known
	missed     atomic.Bool           // copies could not take something meanwhile
	lostDisk   atomic.Pointer[error] // why the disk takes nothing any more; nil: it does
	lostDisks  atomic.Bool           // that was so of a peer since this node started
	asked      atomic.Int64          // questions of peers being answered
	closing    atomic.Bool
	closeOnce  sync.Once
	closeErr   error
	failure    atomic.Pointer[error]

	filling atomic.Int64 // copies being filled here

	stats counters
	hot   *meter.Hot

	slowCalls             *meter.Ring[SlowCall]
	slowLines, panicLines lines

	tending
}

// tending is what the control loop keeps from one step to the next, for itself alone.
type tending struct {
	plan          *shard.Assignment
	planNear      *shard.Assignment      // without the members in aside; nil if there are none
	aside         map[shard.NodeID]int64 // members to which nothing is given, since when; see isAside
	cutAt         int64                  // when one was cut off last
	planBefore    *shard.Assignment      // the plan before the last member went
	planned       []shard.Member
	leavers       []shard.NodeID  // of planned
	plannedWith   *shard.Settings // of the plan
	planDue       bool            // it is not for the members as they are
	planRests     int64           // until when none is made
	downNow       map[shard.NodeID]bool
	settlesAt     int64          // when the member list counts as settled
	plannedBefore []shard.Member // those it was made for
	settlesBefore int64          // settlesAt as it was then
	failedAt      int64          // when a node that counted for the plan last died
	agenda        agenda
	copies        window          // under way
	handovers     window          // likewise
	outlook       outlook         // as of the last pass
	lapsedAt      int64           // when all were looked at because a lease had run out
	coveredAt     int64           // when slots that nobody serves were looked for
	surveyed      int             // up to here slots were looked at in the present round
	lookedAt      int64           // when those under way were
	unclaimed     bool            // there are slots to found
	begins        []copyBegin     // copies to begin in this step
	leaveOuts     int             // how many more copies of who steps down this step may give up
	moved         bool            // slots were on their way since that was told last
	opened        int             // slots opened since Open
	steppedAt     int64           // when the loop last ran
	stepTook      int64           // how long that took
	lostDiskTold  bool            // the others know
	unspread      []uint16        // slots whose new claims in force the others have not been sent
	spreadAt      int64           // when they are to be; 0: there are none
	savingTook    int64           // how long claims take to be on disk, of late
	resumedAt     int64           // when it last ran again after being late by a lease
	dutyAt        int64           // when duties were last gone through
	leftoversAt   int64           // when leftovers were last looked for
	settling      []uint16        // slots that this node is to open once it has the union
	duties        []uint16        // slots whose records are owed to the winner of a fork
	owes          map[uint16]bool // slots whose disk says what they owe
	gatherAt      int64           // when those were last gone through
	gathering     []uint16        // slots recovered here that may wait for others
	told          told
}

// Open starts a node; ctx bounds the start only. cfg.Engine is the node's
// from now on, also when Open fails.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if seeds := cfg.Seeds; seeds != nil {
		var turn sync.Mutex // gossip asks for them too
		cfg.Seeds = func(ctx context.Context) ([]string, error) {
			turn.Lock()
			defer turn.Unlock()
			return seeds(ctx)
		}
	}
	n := &Node{
		cfg: cfg, env: cfg.Env, engine: cfg.Engine, log: cfg.Logger,
		stop: make(chan struct{}), wake: make(chan struct{}, 1), jobsWake: make(chan struct{}, 1), evictWake: make(chan struct{}, 1),
		settingsWake: make(chan struct{}, 1), publishing: make(chan struct{}, 1),
		peers: map[shard.NodeID]*peer{}, members: map[shard.NodeID]gossip.Member{}, vanished: map[shard.NodeID]gossip.Member{}, gone: map[shard.NodeID]int64{},
		offers: map[offerKey]uint64{}, merger: newMerger(), tending: tending{owes: map[uint16]bool{}, downNow: map[shard.NodeID]bool{}}, strangers: map[shard.NodeID]int64{},
		resend: max(cfg.Lease, 50*time.Millisecond), queueLimit: 8 << 20,
		headroom: cfg.Engine.Stats().Limit / 32, hot: meter.NewHot(shard.Slots), slowCalls: meter.NewRing[SlowCall](maxSlowKept), lobby: newLobby(), granting: newGranting(), near: newNearCache(cfg.NearBytes), hub: newHub(), scans: make(chan *scanJob, maxScans),
	}
	n.pacer, n.copies, n.handovers = newPacer(cfg.MoveBudget), newWindow(maxCopies), newWindow(maxHandovers)
	n.jam, _ = cfg.Engine.(jammer)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.start = n.env.Now()
	n.table.Store(shard.Empty)
	n.attributes.Store(&cfg.Attributes)
	for i := range n.slots {
		n.slots[i].no, n.slots[i].front = uint16(i), &n.fronts[i]
	}
	if err := n.open(ctx); err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

// now is the node's monotonic clock.
func (n *Node) now() int64 { return int64(n.env.Now().Sub(n.start)) }

func (n *Node) open(ctx context.Context) (err error) {
	n.guard, err = transport.NewGuard(transport.GuardConfig{
		Cluster: n.cfg.Cluster, TLS: n.cfg.TLS, Secrets: n.cfg.Secret, Logger: n.cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	pc, err := n.listenAt(ctx, n.cfg.Addr)
	if err != nil {
		return err
	}
	n.warnOpen()
	if err := n.identify(max(uint64(max(n.env.Now().UnixNano(), 1)), n.savedCounter()+1)); err != nil {
		pc.Close()
		return err
	}
	answered, used, err := n.askSeeds(ctx)
	if err == nil && used >= n.id.Counter() && used < math.MaxUint64 {
		// The clock was set back: peers know a later start of this name. This
		// one has to order after it.
		n.log.Warn(eventLaterID, "counter", used)
		pc, err = n.identifyAnew(ctx, pc, used+1)
	}
	if err != nil {
		pc.Close()
		return err
	}
	n.core = shard.NewCore(shard.CoreConfig{
		Self: n.id, Rand: n.env.Uint64, Majority: n.cfg.Policy == Majority,
		Resend: n.resend, BackOff: max(n.cfg.Lease/4, 20*time.Millisecond), Failure: n.cfg.FailureTimeout, Settle: n.cfg.ReplicationTimeout,
		PartitionWait: n.cfg.PartitionWait, OrphanWait: n.cfg.OrphanWait, CanList: n.canList, Stray: n.stray,
		Awake: n.awake, Hears: n.hears, Back: n.isBack, OffForce: n.cfg.Off.Force,
	})
	n.readPast()
	n.readSettings()
	if n.cfg.SyncWrites {
		n.engine.OnDurable(n.onDurable)
	}
	n.engine.OnParked(n.loseDisk)
	n.openedAt = n.now()
	n.settlesAt = n.now() + int64(n.cfg.SettleDelay)
	n.wg.Go(n.loop)     // ends when n.stop closes
	n.wg.Go(n.beatLoop) // likewise
	n.wg.Go(n.copyLoop) // likewise
	n.wg.Go(n.copyLoop)
	n.wg.Go(n.evictLoop)
	n.wg.Go(n.houseLoop)
	n.wg.Go(n.guestLoop)
	n.wg.Go(n.grantLoop)
	n.wg.Go(n.scanLoop)
	n.gossip, err = gossip.Start(ctx, gossip.Config{
		Cluster: n.cfg.Cluster, Self: n.selfMember(), Listener: n.mux.Gossip(), Packet: countedPackets{pc, &n.stats},
		Dial: transport.DialGossip(n.guard.Dial(n.env.Dial)), FailureTimeout: n.cfg.FailureTimeout,
		Seeds: n.cfg.Seeds, Resolve: n.env.Resolve, Secrets: n.cfg.Secret, Events: n.onMember, State: n.gossipState, Merge: n.mergeState, MaxState: shard.MaxSettings,
		Logger: n.cfg.Logger,
	})
	switch {
	case errors.Is(err, gossip.ErrConfig):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case err != nil:
		return fmt.Errorf("start gossip: %w", err)
	}
	n.wg.Go(n.settingsLoop) // ends when n.stop closes
	if len(answered) > 0 {
		if err := n.gossip.Join(ctx, answered); err != nil {
			n.log.Warn(eventJoinFailed, "err", err)
		}
		n.wg.Go(n.joinLate) // ends when n.stop closes, or another node was met
	}
	n.joined.Store(true)
	n.log.Info(eventOpened, "node", n.cfg.Name, "id", n.id, "addr", n.addr, "cluster", n.cfg.Cluster)
	n.poke()
	return nil
}

// background runs f and reports true unless the node is closing; Close waits
// for it.
func (n *Node) background(f func()) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	if n.closing.Load() {
		return false
	}
	n.wg.Go(f) // f looks at n.stop
	return true
}

// stray: see shard.CoreConfig. It is called by the core, like canList.
func (n *Node) stray(cl *shard.Claim) []uint64 {
	if s := &n.slots[cl.Slot]; s.strays(cl) {
		return s.standing.Load().Lineage
	}
	return nil
}

// canList: see shard.CoreConfig.
func (n *Node) canList(cl *shard.Claim) bool {
	if f := n.slots[cl.Slot].fitness.Load(); f != nil {
		if f.learned == (shard.Ballot{Epoch: cl.Epoch, To: cl.Primary}) {
			return n.lostDisk.Load() == nil
		}
		if f.unfit {
			return false
		}
	}
	if n.stray(cl) != nil {
		return false
	}
	newest, known := n.core.Newest(cl.Slot), n.core.Known(cl.Slot)
	if newest == nil {
		return n.engine.SlotStats(cl.Slot).Records == 0
	}
	return newest.Holds(n.id) && cl.Inherits(newest) || known.Holds(n.id) && cl.Inherits(known)
}

// Ready returns when the node has joined and every slot has its primary.
func (n *Node) Ready(ctx context.Context) error { return n.await(ctx, n.ready) }

func (n *Node) ready() bool {
	if !n.joined.Load() || n.uncovered.Load() > 0 {
		return false
	}
	ok := true
	n.inspect(func(_ uint16, is condition) bool { // a fleet that starts asks this hundreds of times
		ok = !is.unclaimed && !is.noPrimary && !is.passes
		return ok
	})
	if ok {
		n.wasReady.Store(true)
	}
	return ok
}

// IsReady reports whether Ready would return, or did once and every slot has its
// primary, but for those that pass to another one now.
func (n *Node) IsReady() bool {
	if !n.wasReady.Load() {
		return n.ready()
	}
	h := n.tally()
	return h.Unclaimed+h.NoPrimary == 0
}

// await polls a condition that the control loop brings about, and leaves it most of the
// time where looking takes long.
func (n *Node) await(ctx context.Context, ok func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for began := n.now(); !ok(); began = n.now() {
		timer.Reset(max(5*time.Millisecond, min(16*time.Duration(n.now()-began), 250*time.Millisecond)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.stop:
			return n.closedErr()
		}
	}
	return nil
}

// Close stops at once. Peers see the connections end and take over.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		// Serve nothing from here on: the closed port is proof that this
		// node is gone.
		n.membersMu.Lock()
		n.closing.Store(true)
		n.membersMu.Unlock()
		for i := range n.slots {
			s := &n.slots[i]
			s.mu.Lock()
			s.shut()
			failed := s.takeWaitersLocked()
			sent := n.takeGuestsLocked(s)
			s.wakeLocked()
			s.mu.Unlock()
			finish(failed, errRepeat)
			n.callAgain(sent)
		}
		n.leaveFeeds(n.id)
		close(n.stop)
		n.cancel()
		// The connections first: their end tells the peers.
		if n.transport != nil {
			n.transport.Close()
		}
		if n.mux != nil {
			n.mux.Close()
		}
		if n.gossip != nil {
			_ = n.gossip.Close()
		}
		n.wg.Wait()
		n.log.Info(eventClosed, "node", n.cfg.Name)
		if err := n.engine.Close(); err != nil {
			n.closeErr = fmt.Errorf("%w: %w", ErrDisk, err)
		}
	})
	return n.closeErr
}

// supersede closes this node, for a newer start of its name lives.
func (n *Node) supersede(by shard.NodeID) {
	n.log.Error(eventSuperseded, "peer", n.who(by), "id", by)
	err := ErrSuperseded
	n.failure.Store(&err)
	go n.Close() // a callback of gossip's, which Close waits for
}

// Done is closed when the node begins to close.
func (n *Node) Done() <-chan struct{} { return n.stop }

// Err is ErrSuperseded once the node has closed itself for that, else nil.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}
