package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// helloWait bounds how long one seed is waited for.
const helloWait = 2 * time.Second

// listenAt opens the port, TCP and UDP.
func (n *Node) listenAt(ctx context.Context, addr string) (net.PacketConn, error) {
	ln, err := n.env.Listen(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	n.addr = n.cfg.AdvertiseAddr
	if n.addr == "" {
		n.addr = ln.Addr().String()
	}
	if n.cfg.TLS != nil && len(n.cfg.Secret) == 0 {
		// A datagram that nothing seals could be anybody's.
		n.mux = transport.NewMux(ln, n.guard)
		return transport.NewLines(n.mux.Packets(), n.guard.Dial(n.env.Dial)), nil
	}
	pc, err := n.env.ListenPacket(ctx, ln.Addr().String())
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen on %s (UDP): %w", ln.Addr(), err)
	}
	n.mux = transport.NewMux(ln, n.guard)
	return pc, nil
}

// identify takes a node ID with this counter and starts to talk under it.
func (n *Node) identify(counter uint64) (err error) {
	n.id = shard.NewNodeID(counter, n.env.Uint64()|1)
	low, high := n.protocols()
	n.transport, err = transport.New(transport.Config{
		Self: transport.Identity{
			Cluster: n.cfg.Cluster, ID: transport.NodeID(n.id), Name: n.cfg.Name, Addr: n.addr, MinProto: low, MaxProto: high,
		},
		Listener: n.mux.GRPC(), Dial: n.env.Dial, Handler: n, Guard: n.guard, Logger: n.cfg.Logger,
	})
	return err
}

// identifyAnew gives up an ID that nobody has dealt with yet, and takes one
// with this counter at the same address.
func (n *Node) identifyAnew(ctx context.Context, pc net.PacketConn, counter uint64) (net.PacketConn, error) {
	addr := pc.LocalAddr().String()
	n.transport.Close()
	n.mux.Close()
	pc.Close()
	anew, err := n.listenAt(ctx, addr)
	if err != nil {
		return pc, err
	}
	return anew, n.identify(counter)
}

// asked is what came of saying Hello to all seeds once.
type asked struct {
	answered []string
	used     uint64 // highest counter of an ID of this node's name that a seed knows
	self     int    // of the addresses, those of this node itself
	errs     []error
}

// askSeeds says Hello to every seed until one answers, and returns the
// addresses of those that did, and the highest counter of an ID of this node's
// name that they know. There are none where no seed but this node itself is
// listed.
func (n *Node) askSeeds(ctx context.Context) (answered []string, used uint64, err error) {
	if n.cfg.Seeds == nil {
		n.alone.Store(true)
		return nil, 0, nil
	}
	var a asked
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		seeds, err := n.cfg.Seeds(ctx)
		before := a.errs
		a = asked{}
		if err != nil {
			a.errs = append(a.errs, fmt.Errorf("list seeds: %w", err))
		}
		addrs := n.resolve(ctx, seeds, &a)
		n.helloAll(ctx, addrs, &a)
		switch {
		case len(a.answered) > 0:
			return a.answered, a.used, nil
		case a.self > 0 && a.self == len(addrs) && len(a.errs) == 0:
			n.alone.Store(true)
			return nil, 0, nil
		case len(seeds) == 0 && err == nil:
			a.errs = append(a.errs, errors.New("no seed is listed"))
		}
		if ctx.Err() != nil && before != nil { // cut short, this time tells less
			a.errs = before
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("%w: %w", ctx.Err(), errors.Join(a.errs...))
		}
	}
}

// joinLate goes on to ask the seeds where none that answered became a member: those may
// be gone for good by now, and this node alone.
func (n *Node) joinLate() {
	for pause := helloWait / 4; ; pause = min(2*pause, 4*helloWait) {
		select {
		case <-n.stop:
			return
		case <-time.After(pause):
		}
		n.membersMu.Lock()
		met := n.met
		n.membersMu.Unlock()
		if met {
			return
		}
		answered, _, err := n.askSeeds(n.ctx)
		if err != nil || len(answered) == 0 { // it closes, or is alone
			n.poke()
			return
		}
		_ = n.gossip.Join(n.ctx, answered) // tells of it by onMember
	}
}

// resolve replaces each DNS name by all of its addresses. The names are looked up side
// by side: one whose servers do not answer must not use up the time of the others.
func (n *Node) resolve(ctx context.Context, seeds []string, a *asked) (addrs []string) {
	ctx, cancel := context.WithTimeout(ctx, helloWait)
	defer cancel()
	found, errs := make([][]string, len(seeds)), make([]error, len(seeds))
	var wg sync.WaitGroup
	for i, seed := range seeds {
		wg.Go(func() { found[i], errs[i] = n.addresses(ctx, seed) }) // bounded by helloWait
	}
	wg.Wait()
	seen := map[string]bool{}
	for i, seed := range seeds {
		if errs[i] != nil {
			a.errs = append(a.errs, fmt.Errorf("seed %s: %w", seed, errs[i]))
		}
		for _, addr := range found[i] {
			if !seen[addr] {
				seen[addr] = true
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

func (n *Node) addresses(ctx context.Context, seed string) (addrs []string, err error) {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(host)
	ips := []netip.Addr{ip}
	if err != nil {
		if ips, err = n.env.Resolve(ctx, host); err != nil {
			return nil, err
		}
	}
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return addrs, nil
}

func (n *Node) helloAll(ctx context.Context, addrs []string, a *asked) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, addr := range addrs {
		wg.Go(func() { // bounded by helloWait
			c, cancel := context.WithTimeout(ctx, helloWait)
			defer cancel()
			began := n.env.Now()
			who, body, err := n.transport.HelloTo(c, addr, binary.AppendUvarint(nil, helloProbe))
			now := n.env.Now()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, transport.ErrCluster), errors.Is(err, transport.ErrProtocol):
				a.errs = append(a.errs, fmt.Errorf("seed %s: %w: %w", addr, ErrIncompatible, err))
			case errors.Is(err, transport.ErrUntrusted):
				a.errs = append(a.errs, fmt.Errorf("seed %s: %w: %w", addr, ErrUntrusted, err))
			case err != nil:
				a.errs = append(a.errs, fmt.Errorf("seed %s: %w", addr, err))
			case who.ID == transport.NodeID(n.id):
				a.self++
			default:
				a.answered = append(a.answered, addr)
				told := parseHello(body)
				a.used = max(a.used, told.used)
				n.surroundings(addr, told, began, now)
			}
		})
	}
	wg.Wait()
}

// Hello tells a starting node the highest counter of an ID of its name known
// here, the time, and whether it can be reached. (transport.Handler)
func (n *Node) Hello(from transport.Identity, asks []byte) ([]byte, error) {
	var used uint64
	see := func(id shard.NodeID, name string) {
		if name == from.Name && id != shard.NodeID(from.ID) {
			used = max(used, id.Counter())
		}
	}
	n.membersMu.Lock()
	for id, name := range n.past.names {
		see(id, name)
	}
	for id, m := range n.members {
		see(id, m.Name)
	}
	for id, m := range n.vanished {
		see(id, m.Name)
	}
	n.membersMu.Unlock()
	a := helloAnswer{used: used}
	if what, _ := binary.Uvarint(asks); what&helloProbe != 0 {
		a.probed = n.probe(&from)
	}
	a.clock = n.env.Now().UnixMilli()
	return a.append(nil), nil
}
