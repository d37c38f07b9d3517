package slotmesh

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Option sets one thing about a cache at Open. Where an option is given twice
// the later one counts. Open reports everything wrong with all of them at
// once, as ErrInvalid.
type Option func(*options)

// options is what the Option functions fill. newOptions gives constant
// defaults, so that a zero that was asked for differs from one that was not;
// ensureDefaults fills what depends on the machine and on other options.
type options struct {
	cfg       node.Config
	maxMemory int64 // bytes; 0: a quarter of what the process may use
	seeds     []string
	discover  func(context.Context) ([]string, error)
	limits    Limits
	ack       Ack
	evict     Eviction

	secured    bool // WithSecret was given, if only without a key
	tlsConfig  func() (*tls.Config, error)
	allowPeers func(names []string) error
	picky      bool // WithAllowedPeers was given

	dataDir      string
	fsync        Fsync
	recoverEmpty bool

	merge func(key string, newer, older Item) Item
}

// PartitionPolicy says what a slot does when most of its nodes are out of
// reach.
type PartitionPolicy = node.PartitionPolicy

const (
	// Available lets a slot go on after WithPartitionWait without a majority.
	// Two sides of a cut may then both serve it; when they meet again their
	// writes are merged, the newer one of each key wins (see WithMerge). The
	// default.
	Available = node.Available
	// Majority lets a slot wait until most of its nodes are back: within reach, or
	// started anew under their names. Calls give ErrNoPrimary when their time is up.
	Majority = node.Majority
)

// Ack says when a write is acknowledged.
type Ack uint8

const (
	// AckBackups acknowledges when the primary and all in-sync backups have
	// the write. The default.
	AckBackups Ack = iota
	// AckPrimary acknowledges when the primary has it: faster by a round trip,
	// and the last writes are lost with it.
	AckPrimary
)

// Eviction says what happens to a write when the memory limit is reached.
type Eviction uint8

const (
	// EvictAuto removes the keys that are likely to be missed least. The
	// default.
	EvictAuto Eviction = iota
	// EvictNone refuses the write with ErrNoMemory.
	EvictNone
)

// Limits bounds what one call may carry. A zero field means its default.
type Limits struct {
	MaxKey   int // bytes, up to 64 KiB; default 64 KiB
	MaxValue int // bytes, up to 64 MiB; default 16 MiB, or an eighth of the memory limit if that is less
}

// WithName sets the node's name: unique in the cluster, the same after a
// restart, at most 96 bytes of printable UTF-8 without blanks, as are all names.
// Default: host name and port, as in "orders-0:7946".
func WithName(name string) Option { return func(o *options) { o.cfg.Name = name } }

// WithCluster sets the name of the cluster; nodes of another one are refused, and
// clusters of one name that reach each other become one. At most 64 bytes. Default
// "slotmesh".
func WithCluster(name string) Option { return func(o *options) { o.cfg.Cluster = name } }

// WithAddr sets the host:port to listen on, TCP and UDP. Default "0.0.0.0:7946".
// Port 0 takes a free one; Cluster().Self().Addr then tells which.
func WithAddr(hostport string) Option { return func(o *options) { o.cfg.Addr = hostport } }

// WithAdvertiseAddr sets the host:port at which the other nodes reach this one.
// Default: WithAddr, with the machine's first private address, else its first
// address that is not loopback, in the place of a host like 0.0.0.0.
func WithAdvertiseAddr(hostport string) Option {
	return func(o *options) { o.cfg.AdvertiseAddr = hostport }
}

// WithSeeds names nodes of the cluster to join, as host:port or as DNS name,
// whose addresses are all tried; without a port that of WithAddr is taken. A
// node's own address among them does no harm, so that all replicas can have
// the same list. Default none: the node founds a cluster of its own.
func WithSeeds(addrs ...string) Option { return func(o *options) { o.seeds = addrs } }

// WithDiscovery sets a function that returns seeds, in the form of WithSeeds
// and added to those. It is called again whenever seeds are needed, from one
// goroutine at a time.
func WithDiscovery(find func(ctx context.Context) ([]string, error)) Option {
	return func(o *options) { o.discover = find }
}

// WithBootstrapExpect lets a new cluster share out its slots only once n nodes
// have met: 0 to 1000, default 0 for not waiting. It is of no effect on a
// cluster that has slots.
func WithBootstrapExpect(n int) Option { return func(o *options) { o.cfg.BootstrapExpect = n } }

// WithBackups sets how many copies of each slot there are beside the primary's,
// 0 to 5, as far as there are nodes. Default 1. All nodes should agree.
func WithBackups(n int) Option { return func(o *options) { o.cfg.Backups = n } }

// WithMinBackups lets a write fail with ErrNotEnoughBackups, before it does
// anything, where its slot has fewer than n in-sync backups. 0 up to
// WithBackups, default 0.
func WithMinBackups(n int) Option { return func(o *options) { o.cfg.MinBackups = n } }

// WithAck says when a write is acknowledged. Default AckBackups.
func WithAck(a Ack) Option { return func(o *options) { o.ack = a } }

// WithMaxMemory limits the bytes of all records held here, backups' copies and
// overhead included: 8 MiB to 60 GiB, and at least 16 MiB with WithDataDir.
// Default: a quarter of GOMEMLIMIT or of the container's limit, whichever is
// less, and 256 MiB where there is neither; 0 asks for the default.
func WithMaxMemory(bytes int64) Option { return func(o *options) { o.maxMemory = bytes } }

// WithEviction says what happens at the memory limit. Default EvictAuto.
func WithEviction(e Eviction) Option { return func(o *options) { o.evict = e } }

// WithWeight sets this node's share of the slots relative to the others', 0 to
// 1000. Default 1. A node of weight 0 uses the cache and holds no data.
func WithWeight(w int) Option { return func(o *options) { o.cfg.Weight = w } }

// WithVisitor makes this node one that comes and goes, such as a tool: it uses
// the cache and holds no data, as with WithWeight(0), and has no vote either, so
// that its coming and going moves nothing and delays nothing. It founds no
// cluster. It excludes WithDataDir.
func WithVisitor() Option { return func(o *options) { o.cfg.Visitor = true } }

// WithZone names the failure domain this node is in, at most 64 bytes: backups
// go to another zone than their primary where there is one. Default "".
func WithZone(zone string) Option { return func(o *options) { o.cfg.Zone = zone } }

// WithSeat sets the name by which slots are placed, at most 96 bytes: a node
// that takes over another's seat gets its slots and no others move. While the
// other is there the newcomer, ready to take calls, holds nothing: it waits for
// the seat. So in a rollout start the newcomer with the seat of the node that is to
// leave, then shut that one down, and each record moves once. Default:
// the node's name.
func WithSeat(seat string) Option { return func(o *options) { o.cfg.Seat = seat } }

// WithFailureTimeout sets how long a silent node is waited for before it counts
// as gone: 200ms to 1m, default 1.5s. A crashed process is noticed at once, by
// its connections; this is for cut cables and stalled machines.
func WithFailureTimeout(d time.Duration) Option {
	return func(o *options) { o.cfg.FailureTimeout = d }
}

// WithRepairDelay sets how long a slot may lack a backup before another node
// starts copying it: 0 to 24h, default 5s. Longer spares traffic in a rolling
// restart.
func WithRepairDelay(d time.Duration) Option { return func(o *options) { o.cfg.RepairDelay = d } }

// WithMoveBudget limits what this node sends to fill copies on others, for moves
// and repairs together, in bytes of records a second: at least 256 KiB. Default
// 0: it adapts, from 16 MB/s up, so that the slowest hundredth of the calls takes
// at most about twice as long as while nothing is copied, whichever node makes
// them; slots that move for the sake of balance begin no faster than that either, 64
// KiB being counted for each. A slot that is added to faster than its copy may go is
// copied without a limit towards its end, so that every move ends.
func WithMoveBudget(bytesPerSecond int64) Option {
	return func(o *options) { o.cfg.MoveBudget = bytesPerSecond }
}

// WithPartitionPolicy says what a slot does when most of its nodes are out of
// reach. Default Available.
func WithPartitionPolicy(p PartitionPolicy) Option { return func(o *options) { o.cfg.Policy = p } }

// WithPartitionWait sets how long a slot waits for a majority before it goes on
// without one under the policy Available: WithFailureTimeout to 24h. Default 3s,
// so that calls with the default WithOpTimeout outlive it, or WithFailureTimeout
// where that is longer; 0 asks for the default.
func WithPartitionWait(d time.Duration) Option { return func(o *options) { o.cfg.PartitionWait = d } }

// WithMerge sets how two values of a key become one when a cut cluster, whose
// sides both wrote the key under the policy Available, is whole again. merge gets
// the value that was written later, by Item.Version, and the other one; it returns
// one of them or a combination, of which Value and Expires count. Versions are
// those the writers were told. Default nil: the newer value stands.
//
// The slot's primary calls it, under no lock, on the goroutine that takes in what
// the other side wrote: a slow one delays the healing and nothing else. It must
// not call the cache, and of a typed view it gets the encoded values.
// Give all nodes the same function, one to which order and repetition are no
// matter, such as a union or a maximum: a pair whose result was lost with a node,
// or whose slot has another primary meanwhile, is merged again, and a node that
// came back with its disk alone may bring a value of before the cut. It is not called for keys that one side deleted, nor
// where one side wrote: then what was done later stands. If it panics, or returns
// more than a value may have, the newer value stands, and that is logged.
func WithMerge(merge func(key string, newer, older Item) Item) Option {
	return func(o *options) { o.merge = merge }
}

// WithReplicationTimeout sets how long a write waits for a backup before the
// primary goes on without that backup. 10ms to 1m, default 500ms.
func WithReplicationTimeout(d time.Duration) Option {
	return func(o *options) { o.cfg.ReplicationTimeout = d }
}

// WithOrphanWait sets how long a slot whose holders are all lost waits for one
// of them before it starts again from the best copy left, or empty: 0 to 24h,
// default 10s. With Majority, holders that are silent are not lost: it takes proof
// that their processes are gone, or a majority of the slot's group.
func WithOrphanWait(d time.Duration) Option { return func(o *options) { o.cfg.OrphanWait = d } }

// WithColdStartWait sets how long a slot that is recovered after a start of the
// whole cluster waits for holders that do not answer: 0 to 24h, default 30s.
func WithColdStartWait(d time.Duration) Option { return func(o *options) { o.cfg.ColdStartWait = d } }

// WithRequireFullCoverage lets every call fail with ErrNoPrimary while any slot
// has no live primary, as Redis Cluster does. Default false.
func WithRequireFullCoverage(require bool) Option {
	return func(o *options) { o.cfg.RequireFullCoverage = require }
}

// WithNearCache keeps values of keys that this node reads often and another
// serves, up to so many bytes beside WithMaxMemory: 0, the default, for none, or
// 1 MiB to 64 GiB. Reads of them need no network, and see every write
// acknowledged before they began all the same: the primary grants the right to
// answer for a quarter of a second at a time, and acknowledges no write of the
// key before it has taken the right back or its time is over. So a write of such
// a key takes a round trip to those who hold it, and where one of them has just
// fallen silent up to a quarter of a second. Misses are kept too, values above
// 256 KiB are not.
func WithNearCache(bytes int64) Option { return func(o *options) { o.cfg.NearBytes = bytes } }

// WithLimits bounds the keys and values that calls may carry. All nodes should
// agree.
func WithLimits(l Limits) Option { return func(o *options) { o.limits = l } }

// WithOpTimeout bounds calls whose context has no deadline, of those that ask several
// times, such as Txn and Scan, each question: 1ms to 24h, default 5s.
func WithOpTimeout(d time.Duration) Option { return func(o *options) { o.cfg.OpTimeout = d } }

// WithSlowCalls lets calls made here be logged that take d or longer, with the
// operation, slot, node asked, attempts and error, and without the key: 0 to 24h,
// default 1s; with 0 none are. At most ten a second are logged; the last 64 are kept
// for SlowCalls and the page of Handler. Calls that wait for a lock, for a load or
// for news are never slow ones.
func WithSlowCalls(d time.Duration) Option { return func(o *options) { o.cfg.SlowCall = d } }

// WithTracer has calls followed across nodes, as metrics/otel does.
func WithTracer(t Tracer) Option { return func(o *options) { o.cfg.Trace = newTrace(t) } }

// WithLogger sets where state changes are logged. Default nil: nowhere. Keys
// and values are never logged.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.cfg.Logger = l } }
