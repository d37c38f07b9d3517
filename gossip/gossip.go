// Package gossip keeps the list of living members and spreads small opaque
// messages and larger opaque state among them.
//
// It is a thin layer over memberlist (SWIM with Lifeguard) that adds what a
// user of memberlist otherwise writes: a transport over listeners of the
// caller's, a loop that joins for ever, goodbyes that are told apart from
// failures, and events that arrive one by one, in order and never under
// memberlist's locks. It knows nothing of slots or entries.
//
// Its one rule: nothing that memberlist calls may wait. Delegates copy,
// enqueue and return; one goroutine, the dispatcher, calls the user.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// ErrConfig means that what Start was given is out of bounds.
var ErrConfig = errors.New("gossip: invalid configuration")

// Config configures a Gossip. Cluster, Self, Listener, Packet and Dial are
// needed.
type Config struct {
	// Cluster is the name of the cluster, 1 to MaxCluster bytes. Packets and
	// streams of another cluster are dropped unread.
	Cluster string
	// Self is this node. The host of its address may be a name; it is
	// resolved once, by Start.
	Self Member

	// Listener accepts gossip streams and Packet carries the datagrams. Both
	// are owned by the Gossip from Start on and closed by Close, and by a
	// Start that fails.
	Listener net.Listener
	Packet   net.PacketConn
	// Dial opens a stream that arrives at the Listener of the node at addr.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Resolve looks up the addresses of a host name. Default: the system's.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// FailureTimeout is about how long a silent member stays a member.
	// Default 1.5s, at least 50ms. Packets lost and processes paused for a
	// fraction of it do no harm.
	FailureTimeout time.Duration
	// StateInterval is how often state is exchanged with a random member.
	// Default 10s. It grows with the cluster beyond 32 members.
	StateInterval time.Duration
	// RejoinInterval is the longest pause between two attempts to reach a
	// seed, or a member that failed. Default 5s.
	RejoinInterval time.Duration

	// Seeds lists nodes to join: host:port, or host with the port of
	// Self.Addr. A name stands for all its addresses. It is asked again and
	// again, so it may change its answer. nil: this node waits to be joined.
	Seeds func(ctx context.Context) ([]string, error)
	// Secrets encrypt and authenticate all gossip. The first one seals; each
	// of them opens, so that they can be changed one node at a time.
	Secrets [][]byte

	// State gives what a peer is sent when two nodes join or compare notes;
	// Merge is given the peer's. Both are called from several goroutines, not
	// under a lock. join: this is a first meeting. nil: nothing is exchanged.
	State func(join bool) []byte
	Merge func(state []byte, join bool)
	// MaxState bounds such a state, in bytes; a larger one is not sent, not
	// merged, and logged. Default and maximum 16 MiB: memberlist refuses
	// streams beyond 20.
	MaxState int

	// Message is given each broadcast of another node once, Events each
	// change of another member. Both are called by one goroutine, which must
	// not call Close. While it is kept waiting events coalesce, and messages
	// beyond the newest 1024 are lost.
	Message func(b []byte)
	Events  func(Event)

	Logger *slog.Logger // nil: nothing is logged
}

const (
	// MaxCluster bounds the name of a cluster, in bytes.
	MaxCluster = 128
	// MaxMembers bounds the members known. Beyond it new ones are refused.
	MaxMembers = 4096
	// MaxBroadcast bounds a broadcast, in bytes: it travels in one datagram.
	MaxBroadcast = 1024

	defaultFailureTimeout = 1500 * time.Millisecond
	minFailureTimeout     = 50 * time.Millisecond
	maxState              = 16 << 20
)

func (c *Config) ensureDefaults() {
	if c.FailureTimeout == 0 {
		c.FailureTimeout = defaultFailureTimeout
	}
	if c.StateInterval == 0 {
		c.StateInterval = 10 * time.Second
	}
	if c.RejoinInterval == 0 {
		c.RejoinInterval = 5 * time.Second
	}
	if c.MaxState == 0 {
		c.MaxState = maxState
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
}

func (c *Config) validate() error {
	var errs []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(c.Cluster == "" || len(c.Cluster) > MaxCluster, "cluster name has %d bytes, want 1 to %d", len(c.Cluster), MaxCluster)
	add(c.Listener == nil || c.Packet == nil || c.Dial == nil, "Listener, Packet and Dial are needed")
	add(c.FailureTimeout < minFailureTimeout, "failure timeout %v is below %v", c.FailureTimeout, minFailureTimeout)
	add(c.StateInterval < 0 || c.RejoinInterval < 0, "an interval is negative")
	add(c.MaxState < 0 || c.MaxState > maxState, "MaxState %d is not in [0, %d]", c.MaxState, maxState)
	for _, s := range c.Secrets {
		add(len(s) == 0, "a secret is empty")
	}
	if err := c.Self.validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Gossip is a node's part in its cluster. Methods may be called by any
// goroutine until Close.
type Gossip struct {
	cfg  Config
	self NodeID
	addr netip.AddrPort // where others reach this node

	ml    *memberlist.Memberlist
	ring  *memberlist.Keyring // nil: nothing is sealed
	net   *network
	roll  *roll
	inbox *inbox
	logs  *logs
	casts *casts

	stop     chan struct{} // closed by Close
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	hurry    chan struct{} // capacity 1: the join loop is to look again
	announce chan struct{} // capacity 1: held by who announces self; a channel, because it is held for a while
	calls    gate          // callbacks on memberlist's goroutines

	closeOnce sync.Once
	closed    chan struct{} // closed when Close is done
}

// Start makes this node a member of a cluster of its own, and begins to join
// the others. ctx bounds the start only. It does not wait for a seed.
func Start(ctx context.Context, cfg Config) (*Gossip, error) {
	g, err := start(ctx, cfg)
	if err != nil {
		if cfg.Listener != nil {
			_ = cfg.Listener.Close()
		}
		if cfg.Packet != nil {
			_ = cfg.Packet.Close()
		}
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	return g, nil
}

func start(ctx context.Context, cfg Config) (*Gossip, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	addr, err := selfAddr(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg:      cfg,
		self:     cfg.Self.ID,
		addr:     addr,
		inbox:    newInbox(),
		logs:     newLogs(cfg.Logger),
		stop:     make(chan struct{}),
		hurry:    make(chan struct{}, 1),
		announce: make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.roll = newRoll(cfg.Self, g.inbox.addEvent)
	g.casts = newCasts(g.roll.len)
	mc, err := g.memberlistConfig()
	if err != nil {
		g.cancel()
		return nil, err
	}
	g.net = newNetwork(&cfg, addr)
	mc.Transport = g.net
	if g.logs.to != nil {
		g.wg.Go(func() { g.logs.run(g.stop) }) // ends when g.stop closes
	}
	if g.ml, err = memberlist.Create(mc); err != nil {
		_ = g.net.Shutdown()
		g.cancel()
		close(g.stop)
		g.wg.Wait()
		return nil, err
	}
	g.wg.Go(g.dispatch) // ends when g.stop closes
	g.wg.Go(g.rejoin)   // ends when g.stop closes
	return g, nil
}

// selfAddr is the address that others are told to send to.
func selfAddr(ctx context.Context, cfg *Config) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(cfg.Self.Addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := lookup(ctx, cfg, host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve the advertised address: %w", err)
	}
	if len(ips) == 0 || ips[0].IsUnspecified() || ips[0].IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("advertised address %s cannot be reached by others", cfg.Self.Addr)
	}
	return netip.AddrPortFrom(ips[0], uint16(n)), nil
}

// probeInterval is how often memberlist probes a member, and how long a probe takes.
func (c *Config) probeInterval() time.Duration { return min(c.FailureTimeout/5, time.Second) }

// memberlistConfig tunes memberlist to the failure timeout T = 5 probe
// intervals. A silent member is probed after half an interval on average, the
// probe takes one, and suspicion 3 (where another member confirms it, or there
// is none to ask) to 6, times log10 of the cluster beyond 10 members. Of a long T
// suspicion takes what the others leave: news is to go round as fast as ever.
func (g *Gossip) memberlistConfig() (*memberlist.Config, error) {
	d := &delegate{g: g, refused: make(map[string]struct{})}
	c := memberlist.DefaultLANConfig()
	c.ProtocolVersion = protocol
	c.Name = formatID(g.self)
	c.Label = g.cfg.Cluster
	c.BindPort = int(g.addr.Port())

	c.ProbeInterval = g.cfg.probeInterval()
	c.ProbeTimeout = c.ProbeInterval / 2
	c.SuspicionMult = int(g.cfg.FailureTimeout/c.ProbeInterval) - 2
	c.SuspicionMaxTimeoutMult = 2
	// A node that finds itself slow probes up to 4 times slower, not the
	// default 8: one that is cut off is to notice within seconds.
	c.AwarenessMaxMultiplier = 4
	// Of the default 4 a cluster of three sends two to each member. Where 5% are lost a
	// node that answered an accusation at once was failed all the same now and then.
	c.RetransmitMult = 6
	c.GossipInterval = min(max(c.ProbeInterval/3, 10*time.Millisecond), 200*time.Millisecond)
	c.PushPullInterval = g.cfg.StateInterval
	c.EnableCompression = false // LZW costs more than it saves on a LAN

	// Names are IDs, so none is ever reclaimed; conflicts cannot happen.
	c.Delegate, c.Events, c.Alive, c.Merge, c.Ping = d, d, d, d, d
	c.Logger = g.logs.logger()
	if len(g.cfg.Secrets) > 0 {
		keys, err := sealKeys(g.cfg.Secrets)
		if err != nil {
			return nil, err
		}
		if g.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
			return nil, err
		}
		c.Keyring = g.ring
	}
	return c, nil
}

// Members returns the living members, this one included, in no order.
func (g *Gossip) Members() []Member { return g.roll.living() }

// Health is memberlist's opinion of this node: 0 is good; more means that its
// probes fail more than those of others, so that it had better doubt itself.
func (g *Gossip) Health() int { return g.ml.GetHealthScore() }

// Forget removes a member at once, as Failed, where there is proof that it is
// gone. It returns as Joined when it answers a probe sent afterwards, or when
// ten failure timeouts later memberlist still takes it for living.
func (g *Gossip) Forget(id NodeID) {
	if g.roll.forget(id, time.Now()) {
		g.rejoinSoon()
	}
}

// dispatch calls the user.
func (g *Gossip) dispatch() {
	for {
		select {
		case <-g.inbox.wake:
		case <-g.stop:
			return
		}
		events, messages := g.inbox.take()
		for _, e := range events {
			if g.cfg.Events != nil && !g.stopped() {
				g.cfg.Events(e)
			}
		}
		for _, b := range messages {
			if g.cfg.Message != nil && !g.stopped() {
				g.cfg.Message(b)
			}
		}
	}
}

func (g *Gossip) stopped() bool {
	select {
	case <-g.stop:
		return true
	default:
		return false
	}
}

// Close ends gossip without a goodbye: the others will find this node failed,
// unless Leave came before. When it returns no callback runs and no goroutine
// is left. A probe of memberlist's cannot be cut short, so a node that has met
// others waits for one: a fifth of the failure timeout, at most a second, up to four
// times that where probes failed of late. Its sockets are closed at once.
func (g *Gossip) Close() error {
	g.closeOnce.Do(func() {
		close(g.stop)
		g.cancel()
		g.announce <- struct{}{} // for good: memberlist panics when it leaves after a shutdown
		_ = g.ml.Shutdown()      // closes the sockets and waits for the streams
		g.wg.Wait()
		g.calls.close()
		if g.roll.hasMet() {
			probe := g.cfg.probeInterval()
			<-time.After(probe*time.Duration(1+g.ml.GetHealthScore()) + probe/10)
		}
		close(g.closed)
	})
	<-g.closed
	return nil
}

// gate counts callbacks in progress, and lets none begin once closed.
type gate struct {
	mu     sync.Mutex // guards closed and the start of wg
	closed bool
	wg     sync.WaitGroup
}

func (t *gate) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Add(1)
	return true
}

func (t *gate) leave() { t.wg.Done() }

func (t *gate) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
