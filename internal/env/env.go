// Package env is the seam through which time, network and randomness reach a
// node, so that the same code runs in production and in a simulated cluster.
//
// It is one struct of functions. Timers and tickers are the time package's:
// a simulation runs in testing/synctest, where those are virtual. Now is a
// function so that a simulated node's clock may be off.
package env

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Env is a node's surroundings. All functions are set.
type Env struct {
	// Now reads the clock, wall and monotonic.
	Now func() time.Time
	// Listen opens the TCP side and ListenPacket the UDP side of an address.
	Listen       func(ctx context.Context, addr string) (net.Listener, error)
	ListenPacket func(ctx context.Context, addr string) (net.PacketConn, error)
	// Dial opens a TCP connection.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Resolve gives all addresses of a DNS name.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Uint64 gives random bits: identities, jitter, lineage numbers.
	Uint64 func() uint64
	// Protocols are the lowest and the highest protocol version that the node says
	// it speaks, for a test of another release beside this one; zero: its own.
	Protocols [2]uint8
}

// System is the real thing.
func System() Env {
	var lc net.ListenConfig
	var d net.Dialer
	return Env{
		Now:    time.Now,
		Listen: func(ctx context.Context, addr string) (net.Listener, error) { return lc.Listen(ctx, "tcp", addr) },
		ListenPacket: func(ctx context.Context, addr string) (net.PacketConn, error) {
			return lc.ListenPacket(ctx, "udp", addr)
		},
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) },
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		Uint64: rand.Uint64,
	}
}

type key struct{}

// With returns a context in which the public package opens nodes in e: the road
// by which a simulation outside of this module's internals reaches them.
func With(ctx context.Context, e Env) context.Context { return context.WithValue(ctx, key{}, e) }

// From returns what With was given.
func From(ctx context.Context) (Env, bool) {
	e, ok := ctx.Value(key{}).(Env)
	return e, ok
}
