// Package resp lets clients of Redis Cluster talk to a fleet: each node opens
// a second port, on which it behaves as a node of a Redis Cluster does. It
// speaks RESP2 and RESP3, serves the keys of its own slots and names the right
// node for all others (MOVED, ASK), so that redis-cli -c and the cluster
// clients of every language find their way.
//
//	listener, err := net.Listen("tcp", ":6379")
//	...
//	err = resp.Serve(ctx, cache, listener)
//
// It is a translation and nothing else: what a command promises is what the
// method of slotmesh.Cache behind it promises, and docs/redis.md says of each
// command where that differs from Redis. It uses the public interface alone.
//
// A connection is one goroutine, which reads, runs commands one by one and
// writes; one that is subscribed has a second one, and a third one for keyspace
// notifications. What a client may send is bounded in every length. A client that
// does not read its answers is read from until 64 MiB of requests wait, 256 MiB of
// all clients together, and sent away after a minute.
package resp

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
)

// Attribute is the key of the member attribute (slotmesh.Node.Attributes)
// under which a node tells the others its host:port for RESP.
const Attribute = "resp"

// Option sets one thing about a Serve.
type Option func(*options)

type options struct {
	advertise  string
	forward    bool
	users      map[string]string
	tls        *tls.Config
	maxClients int
	maxBulk    int
	shutdown   func()
	stale      time.Duration
	logger     *slog.Logger
}

// WithAdvertiseAddr sets the host:port at which clients reach this node.
// Default: the listener's, with the host of the node's own address in the
// place of one like 0.0.0.0.
func WithAdvertiseAddr(hostport string) Option { return func(o *options) { o.advertise = hostport } }

// WithForwarding answers for every slot, by asking the node that serves it, for
// clients that do not know of clusters. GET, MGET, MSET, DEL, UNLINK, EXISTS and
// TOUCH then take keys of different slots, each by itself.
func WithForwarding() Option { return func(o *options) { o.forward = true } }

// WithUser demands that clients name a user with its password. It may be given
// several times; AUTH with a password alone means the user "default". An empty name or
// password gives ErrInvalid, so that a variable that is not set leaves no door open.
// Default: everybody may do everything.
func WithUser(name, password string) Option {
	return func(o *options) {
		if o.users == nil {
			o.users = map[string]string{}
		}
		o.users[name] = password
	}
}

// WithTLS serves TLS alone.
func WithTLS(cfg *tls.Config) Option { return func(o *options) { o.tls = cfg } }

// WithMaxClients sets how many clients may be connected, at least 1. Default
// 10000, as in Redis.
func WithMaxClients(n int) Option { return func(o *options) { o.maxClients = n } }

// WithMaxBulk sets how many bytes one argument may have, at least 1024. Default
// 64 MiB, the largest value there can be.
func WithMaxBulk(n int) Option { return func(o *options) { o.maxBulk = n } }

// WithStaleness sets how old an answer may be that a client gets which said
// READONLY, from a backup on this node, above 0: see slotmesh.AllowStale. Default 1s.
func WithStaleness(d time.Duration) Option { return func(o *options) { o.stale = d } }

// WithShutdown lets clients end the program: SHUTDOWN calls f once, on a
// goroutine that Serve waits for. Default: SHUTDOWN is refused.
func WithShutdown(f func()) Option { return func(o *options) { o.shutdown = f } }

// WithLogger tells of the start and of connections that failed to be accepted.
// Default: nothing is told.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// defaultOptions are those that nobody has set.
func defaultOptions() options {
	return options{maxClients: 10000, maxBulk: 64 << 20, stale: time.Second}
}

func (o *options) validate() error {
	var faults []error
	if o.maxClients < 1 {
		faults = append(faults, fmt.Errorf("WithMaxClients(%d): want at least 1", o.maxClients))
	}
	if o.maxBulk < 1024 || o.maxBulk > maxCommandBytes {
		faults = append(faults, fmt.Errorf("WithMaxBulk(%d): want 1024 to %d", o.maxBulk, maxCommandBytes))
	}
	if o.stale <= 0 {
		faults = append(faults, fmt.Errorf("WithStaleness(%v): want more than 0", o.stale))
	}
	for name, password := range o.users {
		if name == "" || password == "" {
			faults = append(faults, fmt.Errorf("WithUser(%q): want a name and a password", name))
		}
	}
	if o.advertise != "" && !reachable(o.advertise) {
		faults = append(faults, fmt.Errorf("WithAdvertiseAddr(%q): want a host:port that clients can reach", o.advertise))
	}
	if len(faults) > 0 {
		return fmt.Errorf("resp: %w: %w", slotmesh.ErrInvalid, errors.Join(faults...))
	}
	return nil
}

// reachable reports whether clients could reach hostport, as far as it tells: they
// take no names of ports.
func reachable(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	n, badPort := strconv.ParseUint(port, 10, 16)
	ip := net.ParseIP(host)
	return err == nil && badPort == nil && n > 0 && host != "" && (ip == nil || !ip.IsUnspecified())
}

// Serve takes clients from the listener until ctx is done, the cache is closed
// or the listener fails, and tells the other nodes where it listens. It closes
// the listener. When it returns, every connection is closed and every
// goroutine has ended.
//
// After Shutdown has handed all slots to others, Serve redirects clients to those
// until none has come for half a second, for three seconds at most: a client looks
// where slots are about a second after it was redirected, and a connection that
// ends before is an error to it. So wait for Serve to return before the program ends.
//
// Errors: slotmesh.ErrInvalid; slotmesh.ErrClosed; the listener's; nil after
// ctx is done.
func Serve(ctx context.Context, cache *slotmesh.Cache, listener net.Listener, opts ...Option) error {
	defer listener.Close()
	o := defaultOptions()
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
	}
	if err := o.validate(); err != nil {
		return err
	}
	s, err := newServer(ctx, cache, listener, o)
	if err != nil {
		return err
	}
	return s.serve()
}

// server is a Serve under way.
type server struct {
	options
	cache      *slotmesh.Cache
	self       string // this node's name
	listener   net.Listener
	addr       string // advertised
	started    time.Time
	runID      string
	ctx        context.Context // ends with the serving
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	stats      stats
	backlogs   atomic.Int64 // bytes read from clients that take no answers
	answers    atomic.Int64 // bytes of large answers that are not sent yet
	topology   shared
	departed   atomic.Pointer[topology] // set once the cache has left, while clients are sent on
	settled    chan struct{}            // closed when it is known whether they are
	redirected atomic.Bool              // since the last tick, see sendAway
	notices    notifier

	shutdownOnce sync.Once
	failed       error // why the serving ended by itself; set before cancel

	mu      sync.Mutex // guards below
	clients map[int64]*conn
	nextID  int64
	shut    bool
	subs    subscribers
}

func newServer(ctx context.Context, cache *slotmesh.Cache, listener net.Listener, o options) (*server, error) {
	view := cache.Cluster()
	s := &server{
		options: o, cache: cache, self: view.Self().Name, listener: listener, started: time.Now(),
		clients: map[int64]*conn{}, subs: newSubscribers(), settled: make(chan struct{}),
	}
	s.runID = nodeID(view.Self().ID)
	if s.addr = o.advertise; s.addr == "" {
		host, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("resp: %w: the listener's address: %w", slotmesh.ErrInvalid, err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, _, err = net.SplitHostPort(view.Self().Addr); err != nil {
				return nil, fmt.Errorf("resp: the node's address: %w", err)
			}
		}
		s.addr = net.JoinHostPort(host, port)
	}
	if err := view.SetAttribute(Attribute, s.addr); err != nil {
		return nil, fmt.Errorf("resp: tell the others the address: %w", err)
	}
	if o.tls != nil {
		s.listener = tls.NewListener(listener, o.tls)
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s, nil
}

func (s *server) serve() error {
	s.logger.Info("redis clients are served", "addr", s.addr)
	s.wg.Go(s.watchCache) // ends with s.ctx
	stop := context.AfterFunc(s.ctx, func() { s.listener.Close() })
	var err error
	for pause := time.Millisecond; ; {
		var nc net.Conn
		if nc, err = s.listener.Accept(); err == nil {
			pause = time.Millisecond
			s.admit(nc)
			continue
		}
		if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			break
		}
		// Out of file descriptors, above all: others may close some.
		s.logger.Warn("accept failed", "err", err)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
		pause = min(2*pause, time.Second)
	}
	stop()
	ended := s.ctx.Err() != nil
	s.cancel()
	s.mu.Lock()
	s.shut = true
	for _, c := range s.clients {
		c.nc.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	_ = s.cache.Cluster().SetAttribute(Attribute, "") // a closed cache has told the others that it is gone
	switch {
	case s.failed != nil:
		return fmt.Errorf("resp: %w", s.failed)
	case ended:
		return nil
	}
	return fmt.Errorf("resp: accept: %w", err)
}

// admit starts the goroutine of a connection.
func (s *server) admit(nc net.Conn) {
	s.stats.connections.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
		nc.Close()
	case len(s.clients) >= s.maxClients:
		s.stats.rejected.Add(1)
		if _, encrypted := nc.(*tls.Conn); !encrypted { // else it would first have to be listened to
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n"))
		}
		nc.Close()
	default:
		s.nextID++
		c := newConn(s, counted{nc, &s.stats}, s.nextID)
		s.clients[c.id] = c
		s.wg.Go(c.run) // ends when nc is closed
	}
}

func (s *server) forget(c *conn) {
	s.mu.Lock()
	delete(s.clients, c.id)
	s.mu.Unlock()
}

// password checks a user's; without users the default one has any.
func (s *server) password(user, password string) bool {
	if len(s.users) == 0 {
		return user == defaultUser
	}
	want, ok := s.users[user]
	same := subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
	return ok && same
}

func pid() int { return os.Getpid() }
