// Package simnet is a network in memory for tests in testing/synctest: hosts
// with TCP-like and UDP sockets, links that delay, lose, reorder and stall,
// cuts, crashes and pauses.
//
// Everything travels by timers, so a bubble's virtual time decides when it
// arrives. One lock guards the whole network and is never held while waiting,
// since a goroutine waiting for a mutex keeps a bubble's time from advancing.
//
// The same seed gives the same dice, in the order in which the goroutines of
// the test throw them; runs are alike and not always identical.
//
// TCP is modelled as far as a program can see it: ordered bytes, a finite
// window, FIN, RST, refusal, and retransmission, which turns loss into delay
// and a cut into a stall that ends with the heal, or with ETIMEDOUT.
package simnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Link is how packets travel one way between two hosts.
type Link struct {
	Delay  time.Duration // one way
	Jitter time.Duration // up to this much more, drawn for each packet
	// BytesPerSecond is shared by all that travels that way. 0: no limit.
	BytesPerSecond int
	// Loss is the share of packets lost; a lost TCP segment comes late. The
	// others are for datagrams: Duplicate is the share that arrives twice,
	// Reorder the share that is held back long enough to be overtaken.
	Loss, Duplicate, Reorder float64
}

const (
	loopDelay  = 10 * time.Microsecond  // between sockets of one host
	retransmit = 200 * time.Millisecond // until a lost segment is sent again
)

// Net is a network. The fields may be set before it is used.
type Net struct {
	// TCPTimeout is how long sent data may stay without acknowledgement, and
	// how long Dial tries, before ETIMEDOUT. Default 2 minutes.
	TCPTimeout time.Duration
	// Window is how many bytes a connection takes that were not read at the
	// other end. Default 256 KiB.
	Window int

	mu       sync.Mutex // guards the rest, and all of the package's other types
	rng      *rand.Rand
	byName   map[string]*machine
	byIP     map[netip.Addr]*machine
	order    []*machine // as added
	links    map[[2]*machine]*link
	standard Link
	conns    map[*conn]struct{} // those whose kernel still has something to do
	topology chan struct{}      // closed and replaced when a path may have opened
}

// link is one way between two machines.
type link struct {
	Link
	cut  bool
	busy time.Time // until then bytes queue for a slow link
}

// New returns an empty network with links of 200 to 300 microseconds.
func New(seed uint64) *Net {
	return &Net{
		TCPTimeout: 2 * time.Minute,
		Window:     256 << 10,
		rng:        rand.New(rand.NewPCG(seed, 0x51077e5)),
		byName:     make(map[string]*machine),
		byIP:       make(map[netip.Addr]*machine),
		links:      make(map[[2]*machine]*link),
		standard:   Link{Delay: 200 * time.Microsecond, Jitter: 100 * time.Microsecond},
		conns:      make(map[*conn]struct{}),
		topology:   make(chan struct{}),
	}
}

// SetDefault sets how packets travel on all links not set by SetLink.
func (n *Net) SetDefault(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.standard = l
	for _, k := range n.links {
		k.Link = l
	}
}

// SetLink sets how packets travel between a and b, both ways.
func (n *Net) SetLink(a, b string, l Link) {
	n.SetOneWay(a, b, l)
	n.SetOneWay(b, a, l)
}

// SetOneWay sets how packets travel from one host to another.
func (n *Net) SetOneWay(from, to string, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(n.machineLocked(from), n.machineLocked(to)).Link = l
}

// Cut stops all packets between a and b, both ways.
func (n *Net) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops all packets from one host to another.
func (n *Net) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(n.machineLocked(from), n.machineLocked(to)).cut = true
}

// Heal undoes the cuts between a and b, both ways.
func (n *Net) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ma, mb := n.machineLocked(a), n.machineLocked(b)
	n.linkLocked(ma, mb).cut = false
	n.linkLocked(mb, ma).cut = false
	n.openedLocked()
}

// Isolate cuts a host off from all others, also from those added later.
func (n *Net) Isolate(host string) { n.setIsolated(host, true) }

// Reconnect undoes Isolate; single cuts stay.
func (n *Net) Reconnect(host string) { n.setIsolated(host, false) }

func (n *Net) setIsolated(host string, isolated bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machineLocked(host).isolated = isolated
	n.openedLocked()
}

// Split cuts all links between hosts of different groups.
func (n *Net) Split(groups ...[]string) {
	for i, g := range groups {
		for _, h := range slices.Concat(groups[i+1:]...) {
			for _, a := range g {
				n.Cut(a, h)
			}
		}
	}
}

// HealAll undoes all cuts and isolations.
func (n *Net) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.cut = false
	}
	for _, m := range n.order {
		m.isolated = false
	}
	n.openedLocked()
}

// Resolve looks up a host by name or address, like a resolver would.
func (n *Net) Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.findLocked(host); m != nil {
		return []netip.Addr{m.ip}, nil
	}
	return nil, fmt.Errorf("simnet: no such host: %s", host)
}

func (n *Net) findLocked(host string) *machine {
	if m := n.byName[host]; m != nil {
		return m
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return n.byIP[ip.Unmap()]
}

// machineLocked finds a host of the test's, or adds it.
func (n *Net) machineLocked(name string) *machine {
	if m := n.findLocked(name); m != nil {
		return m
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		for i := len(n.order) + 1; ; i++ {
			ip = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			if n.byIP[ip] == nil {
				break
			}
		}
	}
	m := newMachine(n, name, ip.Unmap())
	n.byName[name], n.byIP[m.ip] = m, m
	n.order = append(n.order, m)
	return m
}

func (n *Net) linkLocked(from, to *machine) *link {
	l := n.links[[2]*machine{from, to}]
	if l == nil {
		l = &link{Link: n.standard}
		n.links[[2]*machine{from, to}] = l
	}
	return l
}

// openLocked reports whether a packet sent now would arrive.
func (n *Net) openLocked(from, to *machine) bool {
	if from == to {
		return true
	}
	return !from.isolated && !to.isolated && !n.linkLocked(from, to).cut
}

// travelLocked says how long a packet takes.
func (n *Net) travelLocked(from, to *machine, bytes int) time.Duration {
	if from == to {
		return loopDelay
	}
	l := n.linkLocked(from, to)
	d := l.Delay
	if l.Jitter > 0 {
		d += time.Duration(n.rng.Int64N(int64(l.Jitter)))
	}
	if l.BytesPerSecond > 0 {
		now := time.Now()
		if l.busy.Before(now) {
			l.busy = now
		}
		l.busy = l.busy.Add(time.Duration(bytes) * time.Second / time.Duration(l.BytesPerSecond))
		d += l.busy.Sub(now)
	}
	return d
}

func (n *Net) chanceLocked(p float64) bool { return p > 0 && n.rng.Float64() < p }

// openedLocked has everything that waits for a path look again.
func (n *Net) openedLocked() {
	close(n.topology)
	n.topology = make(chan struct{})
	for c := range n.conns {
		c.openedLocked()
	}
}
