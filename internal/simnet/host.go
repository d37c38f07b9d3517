package simnet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
)

// maxHeld bounds the datagrams held for a paused host, each way.
const maxHeld = 1024

// machine is a computer: it keeps its name, address and links when the process
// on it dies.
type machine struct {
	n        *Net
	name     string
	ip       netip.Addr
	isolated bool
	off      bool // answers nothing, not even with a reset
	paused   bool
	life     chan struct{} // closed when the process running on it dies
	port     uint16        // the last ephemeral one given
	tcp      map[uint16]*listener
	udp      map[uint16]*packetConn
	held     []func() // datagrams, to be sent or delivered at resume
}

func newMachine(n *Net, name string, ip netip.Addr) *machine {
	return &machine{
		n: n, name: name, ip: ip, life: make(chan struct{}), port: 40000,
		tcp: make(map[uint16]*listener), udp: make(map[uint16]*packetConn),
	}
}

// Host is one process on a host. After a crash its methods fail, so that what
// is left of it in the test can do no harm; Net.Host then gives the next one.
type Host struct {
	m    *machine
	life chan struct{}
}

// Host returns a process on the host of that name, or IP address, which is
// added at first use. A name is given the next address of 10.0.0.0/16.
func (n *Net) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machineLocked(name)
	return &Host{m: m, life: m.life}
}

// Crash kills the process: its sockets vanish and its kernel resets its
// connections, and refuses new ones.
func (n *Net) Crash(host string) { n.crash(host, false) }

// CrashSilent pulls the plug: nothing answers until Boot. Then connections
// that were open are reset when something is sent on them.
func (n *Net) CrashSilent(host string) { n.crash(host, true) }

func (n *Net) crash(host string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machineLocked(host)
	close(m.life)
	m.life = make(chan struct{})
	m.off, m.paused, m.held = silent, false, nil
	for _, l := range m.tcp {
		l.closeLocked()
	}
	for _, p := range m.udp {
		p.closeLocked()
	}
	for c := range n.conns {
		if c.m == m {
			c.killLocked()
		}
	}
	n.openedLocked()
}

// Boot undoes CrashSilent.
func (n *Net) Boot(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machineLocked(host).off = false
	n.openedLocked()
}

// Pause holds all that the host sends and all that arrives for it, until
// Resume; connections stay open and the kernel still accepts them. The code of
// the host itself goes on: a test cannot stop goroutines.
func (n *Net) Pause(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machineLocked(host).paused = true
}

// Resume undoes Pause.
func (n *Net) Resume(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machineLocked(host)
	m.paused = false
	held := m.held
	m.held = nil
	for _, deliver := range held {
		deliver()
	}
	for _, l := range m.tcp {
		l.ready.Broadcast()
	}
	n.openedLocked()
}

// Reset ends all connections between two hosts with a reset at both ends.
func (n *Net) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ma, mb := n.machineLocked(a), n.machineLocked(b)
	for c := range n.conns {
		if c.m == ma && c.peer.m == mb || c.m == mb && c.peer.m == ma {
			c.failLocked(syscall.ECONNRESET)
		}
	}
}

// IP returns the host's address.
func (h *Host) IP() netip.Addr { return h.m.ip }

// Name returns the host's name.
func (h *Host) Name() string { return h.m.name }

// Env returns the surroundings of a node on this host. A nil clock is exact.
func (h *Host) Env(c *Clock) env.Env {
	h.m.n.mu.Lock()
	dice := &dice{rng: rand.New(rand.NewPCG(h.m.n.rng.Uint64(), h.m.n.rng.Uint64()))}
	h.m.n.mu.Unlock()
	now := time.Now
	if c != nil {
		now = c.Now
	}
	return env.Env{Now: now, Listen: h.Listen, ListenPacket: h.ListenPacket, Dial: h.Dial, Resolve: resolve, Uint64: dice.Uint64}
}

// dice are random numbers for many goroutines.
type dice struct {
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (d *dice) Uint64() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Uint64()
}

// deadLocked reports whether the process has crashed.
func (h *Host) deadLocked() bool { return h.life != h.m.life }

// Listen opens a TCP listener. Port 0 is the next free one.
func (h *Host) Listen(_ context.Context, addr string) (net.Listener, error) {
	n := h.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	port, err := h.bindLocked(addr, func(p uint16) bool { return h.m.tcp[p] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	l := &listener{m: h.m, addr: tcpAddr(h.m.ip, port), ready: sync.NewCond(&n.mu)}
	h.m.tcp[port] = l
	return l, nil
}

// ListenPacket opens a UDP socket.
func (h *Host) ListenPacket(_ context.Context, addr string) (net.PacketConn, error) {
	n := h.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	port, err := h.bindLocked(addr, func(p uint16) bool { return h.m.udp[p] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Err: err}
	}
	p := &packetConn{m: h.m, addr: udpAddr(h.m.ip, port), ready: sync.NewCond(&n.mu)}
	h.m.udp[port] = p
	return p, nil
}

// bindLocked checks a local address and picks a port.
func (h *Host) bindLocked(addr string, used func(uint16) bool) (uint16, error) {
	if h.deadLocked() {
		return 0, net.ErrClosed
	}
	host, port, err := splitHostPort(addr)
	if err != nil {
		return 0, err
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) && h.m.n.findLocked(host) != h.m {
		return 0, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	if port == 0 {
		return h.m.ephemeralLocked(used), nil
	}
	if used(port) {
		return 0, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	return port, nil
}

func (m *machine) ephemeralLocked(used func(uint16) bool) uint16 {
	for {
		if m.port++; m.port < 40000 {
			m.port = 40000
		}
		if !used(m.port) {
			return m.port
		}
	}
}

// Dial connects to host:port. It takes a round trip; where no packet passes it
// tries until ctx ends, or TCPTimeout.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := h.dial(ctx, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: err}
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, addr string) (*conn, error) {
	host, port, err := splitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n := h.m.n
	n.mu.Lock()
	to := n.findLocked(host)
	timeout := n.TCPTimeout
	n.mu.Unlock()
	if _, err := netip.ParseAddr(host); to == nil && err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	giveUp := time.NewTimer(timeout)
	defer giveUp.Stop()
	wait := func(d time.Duration, opened <-chan struct{}) error {
		var arrived <-chan time.Time
		if opened == nil {
			t := time.NewTimer(d)
			defer t.Stop()
			arrived = t.C
		}
		select {
		case <-arrived:
			return nil
		case <-opened:
			return nil
		case <-giveUp.C:
			return os.NewSyscallError("connect", syscall.ETIMEDOUT)
		case <-ctx.Done():
			return ctx.Err()
		case <-h.life:
			return net.ErrClosed
		}
	}
	for {
		n.mu.Lock()
		if h.deadLocked() {
			n.mu.Unlock()
			return nil, net.ErrClosed
		}
		opened := n.topology
		blocked := to == nil || to.off || h.m.paused || !n.openLocked(h.m, to) || !n.openLocked(to, h.m)
		var there, back time.Duration
		if !blocked {
			there, back = n.travelLocked(h.m, to, 0), n.travelLocked(to, h.m, 0)
			if n.chanceLocked(n.linkLocked(h.m, to).Loss) {
				there += time.Second // a SYN is sent again after a second
			}
		}
		n.mu.Unlock()
		if blocked {
			if err := wait(0, opened); err != nil {
				return nil, err
			}
			continue
		}
		if err := wait(there, nil); err != nil {
			return nil, err
		}
		c, err := h.connect(to, port)
		if errors.Is(err, errLost) {
			continue
		}
		if err2 := wait(back, nil); err2 != nil {
			if c != nil {
				_ = c.Close()
			}
			return nil, err2
		}
		return c, err
	}
}

var errLost = errors.New("simnet: segment lost")

// connect is the arrival of a SYN.
func (h *Host) connect(to *machine, port uint16) (*conn, error) {
	n := h.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.deadLocked() || to.off || !n.openLocked(h.m, to) {
		return nil, errLost
	}
	l := to.tcp[port]
	if l == nil || len(l.queue) >= maxBacklog {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	local := tcpAddr(h.m.ip, h.m.ephemeralLocked(func(uint16) bool { return false }))
	c := newConn(n, h.m, local, l.addr)
	s := newConn(n, to, l.addr, local)
	c.peer, s.peer = s, c
	n.conns[c], n.conns[s] = struct{}{}, struct{}{}
	l.queue = append(l.queue, s)
	l.ready.Broadcast()
	return c, nil
}

// address is a net.Addr for errors.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func splitHostPort(addr string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, err
	}
	return host, uint16(p), nil
}

func tcpAddr(ip netip.Addr, port uint16) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}

func udpAddr(ip netip.Addr, port uint16) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}

// resolve knows no names: simulated hosts go by address.
func resolve(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
