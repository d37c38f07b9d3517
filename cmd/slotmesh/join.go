package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/cmd/internal/flags"
)

const (
	defaultPort = "7946"
	// readyWait bounds how long a visitor waits to know all slots: in a cluster
	// that is not well it never does.
	readyWait  = 3 * time.Second
	reportWait = 2 * time.Second
	byeWait    = 2 * time.Second
)

// with joins, does do and leaves.
func (a *app) with(ctx context.Context, do func(ctx context.Context, c *slotmesh.Cache) error) error {
	c, err := a.visit(ctx)
	if err != nil {
		return err
	}
	err = do(ctx, c)
	// Saying goodbye spares the nodes the question where it has gone. It holds
	// nothing, so nothing is lost where that fails.
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeWait)
	defer cancel()
	_ = c.Shutdown(bye)
	return errors.Join(err, c.Close())
}

// visit opens a visitor. Where it came by loopback to nodes that know each other
// by other addresses, it comes again by one of those: over loopback they would
// not reach it.
func (a *app) visit(ctx context.Context) (*slotmesh.Cache, error) {
	c, err := a.open(ctx, a.join)
	if err != nil || a.addr != "" || !isLoopback(c.Cluster().Self().Addr) {
		return c, err
	}
	for _, n := range others(c) {
		if !isLoopback(n.Addr) {
			if err := c.Close(); err != nil {
				return nil, err
			}
			return a.open(ctx, []string{n.Addr})
		}
	}
	return c, nil
}

func (a *app) open(ctx context.Context, join []string) (*slotmesh.Cache, error) {
	addr := a.addr
	if addr == "" {
		addr = net.JoinHostPort(routeTo(join), "0")
	}
	opts := []slotmesh.Option{
		slotmesh.WithName("cli-" + strings.ToLower(rand.Text()[:10])),
		slotmesh.WithCluster(a.cluster), slotmesh.WithAddr(addr), slotmesh.WithSeeds(withPorts(join)...),
		slotmesh.WithVisitor(), slotmesh.WithOpTimeout(a.timeout), slotmesh.WithMaxMemory(64 << 20),
	}
	if a.verbose {
		opts = append(opts, slotmesh.WithLogger(slog.New(slog.NewTextHandler(a.err, nil))))
	}
	secured, err := a.tls.Options()
	if err != nil {
		return nil, usageError{err}
	}
	opts = append(opts, secured...)
	if a.secretFile != "" {
		keys, err := flags.Secrets(a.secretFile)
		if err != nil {
			return nil, usageError{err}
		}
		opts = append(opts, slotmesh.WithSecret(keys...))
	}
	opening, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	c, err := slotmesh.Open(opening, opts...)
	if err != nil {
		if errors.Is(err, slotmesh.ErrInvalid) {
			return nil, usageError{err}
		}
		return nil, fmt.Errorf("%w %s: %w", errNoJoin, strings.Join(join, ","), err)
	}
	ready, cancel := context.WithTimeout(ctx, min(readyWait, a.timeout))
	defer cancel()
	if err := c.Ready(ready); err != nil && len(others(c)) == 0 {
		return nil, errors.Join(fmt.Errorf("%w %s: it answers, and tells of no member: is this machine (%s) within its reach, TCP and UDP?",
			errNoJoin, strings.Join(join, ","), c.Cluster().Self().Addr), c.Close())
	}
	return c, nil
}

// routeTo is the address of this machine that leads to the first of the seeds
// that can be resolved. Nothing is sent.
func routeTo(join []string) string {
	for _, seed := range withPorts(join) {
		if conn, err := net.Dial("udp", seed); err == nil {
			host, _, err := net.SplitHostPort(conn.LocalAddr().String())
			_ = conn.Close()
			if err == nil {
				return host
			}
		}
	}
	return "0.0.0.0"
}

func withPorts(join []string) []string {
	seeds := make([]string, len(join))
	for i, s := range join {
		if seeds[i] = s; !strings.Contains(s, ":") || net.ParseIP(s) != nil {
			seeds[i] = net.JoinHostPort(s, defaultPort)
		}
	}
	return seeds
}

func isLoopback(hostport string) bool {
	a, err := netip.ParseAddrPort(hostport)
	return err == nil && a.Addr().IsLoopback()
}

// others are the members that are no visitors, by name.
func others(c *slotmesh.Cache) (nodes []slotmesh.Node) {
	for _, n := range c.Cluster().Nodes() {
		if !n.Visitor {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// report is what a node answered, or why it did not.
type report struct {
	slotmesh.Report
	took time.Duration
	at   time.Time // by the clock here, halfway between question and answer
	err  error
}

// reports asks all nodes at once. Node is set in each, also with an error.
func reports(ctx context.Context, c *slotmesh.Cache, wait time.Duration) []report {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	nodes := others(c)
	answers := make([]report, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { // as long as ctx
			began := time.Now()
			r, err := c.Cluster().Report(ctx, n.Name)
			took := time.Since(began)
			answers[i] = report{r, took, began.Add(took / 2), err}
			if err != nil {
				answers[i].Node = n
			}
			answers[i].Node.State = n.State
		})
	}
	wg.Wait()
	return answers
}

// knowsNode refuses a name that no node has.
func knowsNode(c *slotmesh.Cache, name string) error {
	var names []string
	for _, n := range others(c) {
		if n.Name == name {
			return nil
		}
		names = append(names, n.Name)
	}
	return usagef("there is no node %q: there are %s", name, strings.Join(names, ", "))
}

// version is what the build knows of itself.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
