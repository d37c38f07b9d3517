package slotmeshtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

const simPort = "7946"

// Simulation describes a cluster on a simulated network.
type Simulation struct {
	// Nodes is how many are started, named "n1" to "n<Nodes>". Default 3.
	Nodes int
	// Seed decides the dice of the network and of the nodes. Runs with one seed
	// are alike, though not always the same: the scheduler is Go's.
	Seed uint64
	// Options are given to every node after its name, address and seeds.
	Options []slotmesh.Option
}

// Cluster is a cluster of real nodes on hosts of a simulated network, in one bubble
// of testing/synctest by Simulate or in real time by Live. Its methods name hosts by
// the names of their nodes. A call with an unknown name, or one for a node that would
// have to run and does not (or the other way round), fails the test. In a bubble they
// are for its goroutines.
type Cluster struct {
	t    testing.TB
	net  *simnet.Net
	sim  Simulation
	mu   sync.Mutex // guards hosts
	host map[string]*simHost
}

type simHost struct {
	name  string
	clock *simnet.Clock
	cache *slotmesh.Cache // nil: it does not run
}

// Simulate runs f in a bubble of testing/synctest with a cluster that is ready
// and at rest. Minutes of its life pass in seconds: time goes on when every
// goroutine waits. f must not use goroutines, channels or sockets of outside, and
// those that it starts have to end; its t is the bubble's. The nodes are closed after
// f; a failed test logs the seed.
func Simulate(t *testing.T, sim Simulation, f func(t *testing.T, c *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, sim)
		defer c.closeAll()
		c.begin()
		f(t, c)
	})
}

// Live starts a cluster in real time, ready and at rest, whose nodes can be killed,
// paused and cut off like Simulate's. The test's own code may use sockets,
// databases and goroutines as it likes: the network in between, a simulated one in
// memory, takes neither ports nor privileges. The end of the test closes the nodes;
// a failed test logs the seed.
func Live(t testing.TB, sim Simulation) *Cluster {
	t.Helper()
	c := newCluster(t, sim)
	t.Cleanup(c.closeAll)
	c.begin()
	return c
}

func newCluster(t testing.TB, sim Simulation) *Cluster {
	if sim.Nodes <= 0 {
		sim.Nodes = 3
	}
	return &Cluster{t: t, net: simnet.New(sim.Seed), sim: sim, host: map[string]*simHost{}}
}

// begin starts the first nodes.
func (c *Cluster) begin() {
	c.t.Helper()
	var names []string
	for i := range c.sim.Nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	c.Start(names...)
	c.AwaitRest()
}

func (c *Cluster) closeAll() {
	c.Heal()
	var wg sync.WaitGroup
	for _, name := range c.Names() {
		c.net.Resume(name)
		wg.Go(func() { _ = c.Node(name).Close() })
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.Logf("slotmeshtest: seed %d", c.sim.Seed)
	}
}

// at returns the host of a name, added at first use.
func (c *Cluster) at(name string) *simHost {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.host[name]
	if h == nil {
		h = &simHost{name: name, clock: simnet.NewClock()}
		c.host[name] = h
	}
	return h
}

// Names lists the nodes that run.
func (c *Cluster) Names() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, h := range c.host {
		if h.cache != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Node returns the running node of a name.
func (c *Cluster) Node(name string) *slotmesh.Cache {
	c.t.Helper()
	h := c.at(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.cache == nil {
		c.t.Fatalf("slotmeshtest: %s does not run", name)
	}
	return h.cache
}

// Start starts nodes side by side, under new or under earlier names, and returns
// when all have joined.
func (c *Cluster) Start(names ...string) {
	c.t.Helper()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = c.start(c.at(name), [2]uint8{}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatalf("slotmeshtest: %v", err)
	}
}

// StartRelease starts a node that says it speaks the protocol versions from low to
// high, 1 to 255, as a node of an earlier or a later release does beside those of
// this one. It returns the error of Open: slotmesh.ErrIncompatible where the ranges
// have no version in common. The node's code is this release's all the same.
func (c *Cluster) StartRelease(name string, low, high uint8) error {
	c.t.Helper()
	if low < 1 || low > high {
		c.t.Fatalf("slotmeshtest: protocol versions %d to %d", low, high)
	}
	return c.start(c.at(name), [2]uint8{low, high})
}

// Protocols returns the lowest and the highest protocol version of this release.
func Protocols() (low, high uint8) {
	p := node.Protocols()
	return uint8(p[0]), uint8(p[1])
}

func (c *Cluster) start(h *simHost, protocols [2]uint8) error {
	c.mu.Lock()
	runs := h.cache != nil
	c.mu.Unlock()
	if runs {
		return fmt.Errorf("start %s: it runs", h.name)
	}
	c.net.Boot(h.name)
	host := c.net.Host(h.name)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var seeds []string
	for i := range c.sim.Nodes {
		seeds = append(seeds, net.JoinHostPort(c.net.Host(fmt.Sprintf("n%d", i+1)).IP().String(), simPort))
	}
	opts := append([]slotmesh.Option{
		slotmesh.WithName(h.name),
		slotmesh.WithCluster("simulation"),
		slotmesh.WithAddr(net.JoinHostPort(host.IP().String(), simPort)),
		slotmesh.WithSeeds(seeds...),
		slotmesh.WithMaxMemory(64 << 20),
	}, c.sim.Options...)
	surroundings := host.Env(h.clock)
	surroundings.Protocols = protocols
	cache, err := slotmesh.Open(env.With(ctx, surroundings), opts...)
	if err != nil {
		return fmt.Errorf("start %s: %w", h.name, err)
	}
	c.mu.Lock()
	h.cache = cache
	c.mu.Unlock()
	return nil
}

// stop marks a node as gone and returns it.
func (c *Cluster) stop(name string) *slotmesh.Cache {
	c.t.Helper()
	cache := c.Node(name)
	h := c.at(name)
	c.mu.Lock()
	h.cache = nil
	c.mu.Unlock()
	return cache
}

// Kill ends a node's process: its connections are reset and its port refuses.
// What it held in memory is lost, and its calls under way get errors.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	cache := c.stop(name)
	c.net.Crash(name)
	_ = cache.Close() // of sockets that are dead
}

// PowerOff is Kill of the whole machine: nothing answers any more.
func (c *Cluster) PowerOff(name string) {
	c.t.Helper()
	cache := c.stop(name)
	c.net.CrashSilent(name)
	_ = cache.Close()
}

// Restart kills a node and starts it again at once.
func (c *Cluster) Restart(name string) {
	c.t.Helper()
	c.Kill(name)
	c.Start(name)
}

// Shutdown has a node hand over what it holds and leave, as a deploy does.
func (c *Cluster) Shutdown(name string) error {
	c.t.Helper()
	return c.depart(name, (*slotmesh.Cache).Shutdown)
}

// StepDown has a node hand its slots to their backups and end, as a restart does.
func (c *Cluster) StepDown(name string) error {
	c.t.Helper()
	return c.depart(name, (*slotmesh.Cache).StepDown)
}

func (c *Cluster) depart(name string, how func(*slotmesh.Cache, context.Context) error) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := how(c.Node(name), ctx)
	c.stop(name)
	return err
}

// Pause lets nothing leave a node and nothing reach it until Resume, when all of
// it arrives late, as when a process or its machine stalls. Its own code goes on.
func (c *Cluster) Pause(name string) { c.net.Pause(name) }

// Resume ends Pause.
func (c *Cluster) Resume(name string) { c.net.Resume(name) }

// Cut lets no packet pass between two nodes, until Heal.
func (c *Cluster) Cut(a, b string) { c.net.Cut(a, b) }

// CutOneWay lets no packet pass from one node to another, until Heal.
func (c *Cluster) CutOneWay(from, to string) { c.net.CutOneWay(from, to) }

// Isolate cuts a node off from all others, until Heal.
func (c *Cluster) Isolate(name string) { c.net.Isolate(name) }

// Heal ends all cuts and isolations.
func (c *Cluster) Heal() { c.net.HealAll() }

// Link says how packets travel between two nodes.
type Link struct {
	Delay, Jitter  time.Duration // each packet takes Delay and up to Jitter more
	BytesPerSecond int           // 0: no limit
	Loss           float64       // chance that a packet is lost, 0 to 1
}

// SetLink sets how packets travel between two nodes, both ways. At first that
// takes 200 to 300 microseconds and loses nothing.
func (c *Cluster) SetLink(a, b string, l Link) {
	c.net.SetLink(a, b, simnet.Link{Delay: l.Delay, Jitter: l.Jitter, BytesPerSecond: l.BytesPerSecond, Loss: l.Loss})
}

// StepClock sets a node's wall clock forward, or with a negative d back.
func (c *Cluster) StepClock(name string, d time.Duration) { c.at(name).clock.Step(d) }

// DriftClock lets a node's clocks gain so much: 0.01 for a hundredth of the time
// that passes. They lose with a negative gain.
func (c *Cluster) DriftClock(name string, gain float64) { c.at(name).clock.SetDrift(gain) }

// Advance lets time pass.
func (c *Cluster) Advance(d time.Duration) { <-time.After(d) }

// Await lets time pass until holds returns nil, and fails the test with its last
// error after a minute. what says what is waited for.
func (c *Cluster) Await(what string, holds func() error) {
	c.t.Helper()
	await(c.t, what, 100*time.Millisecond, startTimeout, holds)
}

// AwaitRest waits until all running nodes know each other and every slot is where
// it should be, with its copies.
func (c *Cluster) AwaitRest() {
	c.t.Helper()
	c.Await("the cluster is at rest", func() error {
		var caches []*slotmesh.Cache
		for _, name := range c.Names() {
			caches = append(caches, c.Node(name))
		}
		return atRest(caches)
	})
}

// Owner names the node that serves a key, as another one sees it.
func (c *Cluster) Owner(asSeenBy, key string) string {
	c.t.Helper()
	owner, err := c.Node(asSeenBy).Cluster().Owner(key)
	if err != nil {
		c.t.Fatalf("slotmeshtest: owner of %q: %v", key, err)
	}
	return owner.Name
}

// KeyServedBy returns a key that a node serves.
func (c *Cluster) KeyServedBy(name string) string {
	c.t.Helper()
	for i := range 100_000 {
		key := fmt.Sprintf("key%d", i)
		if owner, err := c.Node(name).Cluster().Owner(key); err == nil && owner.Name == name {
			return key
		}
	}
	c.t.Fatalf("slotmeshtest: %s serves nothing", name)
	return ""
}
