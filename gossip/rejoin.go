package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	rejoinFirst   = 100 * time.Millisecond // pause after the first attempt; it doubles
	rejoinKnown   = 12                     // an address that answers and is no member's (a load balancer) is tried this much less often
	maxAtOnce     = 3                      // addresses of one name that are joined in one attempt
	lookupTimeout = 5 * time.Second
	forgetFor     = 10 // failure timeouts after which a forgotten member that memberlist holds is shown again
)

// attempt is when one seed or vanished address is tried next. Each has its
// own, so that those that never answer hold up nobody.
type attempt struct {
	next  time.Time
	pause time.Duration
	busy  bool
}

// rejoiner tries seeds and vanished members for ever: memberlist joins once,
// and forgets whoever was dead for half a minute, so that the halves of a
// cluster that was split for longer would never meet again. Only the
// goroutine of rejoin uses it, but for what mu guards.
type rejoiner struct {
	g       *Gossip
	seeds   []string
	seedsAt time.Time
	seedErr bool // the last call of Seeds failed

	mu       sync.Mutex // guards attempts
	attempts map[string]*attempt
}

func (g *Gossip) rejoin() {
	r := &rejoiner{g: g, attempts: make(map[string]*attempt)}
	for {
		wait := r.round()
		select {
		case <-time.After(wait):
		case <-g.hurry:
		case <-g.stop:
			return
		}
	}
}

// rejoinSoon has the join loop look at the list of members again.
func (g *Gossip) rejoinSoon() {
	select {
	case g.hurry <- struct{}{}:
	default:
	}
}

// round starts what is due and returns how long to wait for the rest.
func (r *rejoiner) round() time.Duration {
	g := r.g
	now := time.Now()
	g.roll.recall(NodeID{}, now.Add(-forgetFor*g.cfg.FailureTimeout))
	r.refreshSeeds(now)
	names := append(g.roll.vanishedAddrs(), r.seeds...)
	wanted := make(map[string]bool, len(names))
	next := now.Add(g.cfg.RejoinInterval)

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if wanted[name] {
			continue
		}
		wanted[name] = true
		a := r.attempts[name]
		if a == nil {
			a = &attempt{next: now}
			r.attempts[name] = a
		}
		if a.busy {
			continue
		}
		if a.next.After(now) {
			next = earlier(next, a.next)
			continue
		}
		a.busy = true
		g.wg.Go(func() { r.try(name, a) }) // ends with g.ctx, or when the join does
	}
	for name, a := range r.attempts {
		if !wanted[name] && !a.busy {
			delete(r.attempts, name)
		}
	}
	if !r.seedsAt.IsZero() {
		next = earlier(next, r.seedsAt)
	}
	return max(time.Until(next), rejoinFirst/10)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// refreshSeeds asks for the seeds again, which may have moved.
func (r *rejoiner) refreshSeeds(now time.Time) {
	g := r.g
	if g.cfg.Seeds == nil || now.Before(r.seedsAt) {
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	seeds, err := g.cfg.Seeds(ctx)
	if err != nil && !r.seedErr && g.ctx.Err() == nil {
		g.logs.add(slog.LevelWarn, "no seeds found", slog.Any("err", err))
	}
	if r.seedErr = err != nil; err == nil {
		r.seeds = seeds
	}
	r.seedsAt = time.Now().Add(jitter(g.cfg.RejoinInterval))
	if err != nil && len(r.seeds) == 0 {
		r.seedsAt = time.Now().Add(jitter(min(time.Second, g.cfg.RejoinInterval)))
	}
}

// try joins one name once and says when to try again.
func (r *rejoiner) try(name string, a *attempt) {
	g := r.g
	asked, err := g.joinName(g.ctx, name)
	r.mu.Lock()
	limit := g.cfg.RejoinInterval
	switch {
	case err != nil:
		g.logs.add(slog.LevelDebug, "join failed", slog.String("addr", name), slog.Any("err", err))
		a.pause = min(max(2*a.pause, rejoinFirst), limit)
	case asked == 0: // all its addresses are living members'
		a.pause = limit
	default:
		a.pause = min(max(2*a.pause, limit), rejoinKnown*limit)
	}
	a.next = time.Now().Add(jitter(a.pause))
	a.busy = false
	r.mu.Unlock()
	g.rejoinSoon()
}

// jitter is d, a quarter more or less.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// Join tries once to join any of addrs, each host:port or host, a host being an
// IP or a name that stands for all its addresses. It returns nil when one of
// them answered, or is a living member; else an error that names each and why.
// The background loop goes on regardless.
func (g *Gossip) Join(ctx context.Context, addrs []string) error {
	if len(addrs) == 0 {
		return nil
	}
	errs := make([]error, len(addrs))
	done := make(chan int, len(addrs))
	for i, addr := range addrs {
		go func() { // ends with ctx, or when the join does
			_, errs[i] = g.joinName(ctx, addr)
			done <- i
		}()
	}
	var failed []error
	for range addrs {
		if i := <-done; errs[i] == nil {
			return nil
		} else {
			failed = append(failed, errs[i])
		}
	}
	return errors.Join(failed...)
}

// joinName joins up to maxAtOnce addresses of name that are no living
// member's, and returns how many it asked.
func (g *Gossip) joinName(ctx context.Context, name string) (asked int, err error) {
	advertised, at := g.roll.places()
	if advertised[name] || name == g.cfg.Self.Addr {
		return 0, nil
	}
	addrs, err := g.resolve(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("join %s: %w", name, err)
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	results := make(chan error, maxAtOnce)
	for _, addr := range addrs {
		if at[addr] || addr == g.addr || asked == maxAtOnce {
			continue
		}
		asked++
		if !g.calls.enter() {
			return asked, net.ErrClosed
		}
		go func() { // ends with the stream, which Close closes and waits for
			defer g.calls.leave()
			_, err := g.ml.Join([]string{addr.String()})
			results <- err
		}()
	}
	var errs []error
	for range asked {
		select {
		case err := <-results:
			if err == nil {
				return asked, nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return asked, fmt.Errorf("join %s: %w", name, errors.Join(append(errs, ctx.Err())...))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return asked, fmt.Errorf("join %s: %w", name, err)
	}
	return asked, nil
}

// resolve returns all addresses of host:port, or of host with this node's port.
func (g *Gossip) resolve(ctx context.Context, name string) ([]netip.AddrPort, error) {
	host, port := name, g.addr.Port()
	if h, p, err := net.SplitHostPort(name); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("port %q", p)
		}
		host, port = h, uint16(n)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := lookup(ctx, &g.cfg, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip, port)
	}
	return addrs, nil
}

// lookup asks a resolver for names only.
func lookup(ctx context.Context, cfg *Config, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ips, err := cfg.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, nil
}
