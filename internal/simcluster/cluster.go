// Package simcluster runs whole clusters of the real node code in one bubble
// of testing/synctest, over the simulated network of internal/simnet: minutes
// of a cluster's life pass in a second, and hosts crash, stall and part ways
// as a test says.
//
// Only network, clocks and disks are simulated; nothing of the node is replaced. Code that a killed or paused host was running goes on,
// since nobody can stop a goroutine, but nothing it does leaves the host; what
// its own callers were told after a kill counts for nothing.
//
// The seed decides the dice of the network and of the nodes. The scheduler is
// not simulated, so runs with one seed are alike and not always the same.
package simcluster

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/store"
)

const (
	port         = "7946"
	startTimeout = 60 * time.Second
)

var simlog = flag.Bool("simlog", false, "log what simulated nodes log to stderr")

// Config describes a cluster.
type Config struct {
	Nodes   int  // n1, n2 ... are the names known as seeds; all are started unless Idle
	Idle    bool // start none
	Backups int  // 0: one; below 0: none
	Policy  node.PartitionPolicy
	Seed    uint64
	Disks   Disks
	// Adjust changes the configuration of a node before it starts.
	Adjust func(name string, c *node.Config)
}

// Cluster is hosts and the nodes on them. Its methods are for the goroutines
// of the test's bubble.
type Cluster struct {
	T   *testing.T
	Net *simnet.Net

	cfg Config
	log *slog.Logger

	mu    sync.Mutex // guards hosts
	hosts map[string]*Host
}

// Host is a place where a node runs, and the node's latest start.
type Host struct {
	Name  string
	Clock *simnet.Clock
	disk  *disk

	mu     sync.Mutex // guards below
	node   *node.Node // of the latest start
	engine store.Engine
	up     bool
	life   chan struct{} // closed when that start is killed or shut down
}

// Run makes a cluster in a bubble and calls f. The nodes are closed after that.
func Run(t *testing.T, cfg Config, f func(sc *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(New(t, cfg)) })
}

// New makes a cluster in the bubble that a test runs in, and waits until it is
// stable. The nodes are closed at the end of the test, if not by Close.
func New(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	switch {
	case cfg.Backups == 0:
		cfg.Backups = 1
	case cfg.Backups < 0:
		cfg.Backups = 0
	}
	sc := &Cluster{T: t, Net: simnet.New(cfg.Seed), cfg: cfg, hosts: map[string]*Host{}, log: slog.New(slog.DiscardHandler)}
	if *simlog {
		sc.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	begin := time.Now()
	t.Cleanup(func() {
		sc.Close()
		if t.Failed() {
			t.Logf("seed %d, after %v", cfg.Seed, time.Since(begin))
		}
	})
	var names []string
	for i := range cfg.Nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
		sc.Host(names[i])
	}
	if !cfg.Idle {
		sc.Start(names...)
		sc.AwaitStable(startTimeout)
	}
	return sc
}

// Host returns the host of a name, and adds it at first use.
func (sc *Cluster) Host(name string) *Host {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	h := sc.hosts[name]
	if h == nil {
		h = &Host{Name: name, Clock: simnet.NewClock(), disk: newDisk(sc.cfg.Seed + uint64(len(sc.hosts)))}
		sc.hosts[name] = h
	}
	return h
}

// Hosts lists all hosts by name.
func (sc *Cluster) Hosts() []*Host {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	var list []*Host
	for _, h := range sc.hosts {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *Host) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Up lists the hosts whose nodes run.
func (sc *Cluster) Up() []*Host {
	return slices.DeleteFunc(sc.Hosts(), func(h *Host) bool { return !h.isUp() })
}

// Node returns the running node of that name.
func (sc *Cluster) Node(name string) *node.Node {
	h := sc.Host(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.up {
		sc.T.Fatalf("%s does not run", name)
	}
	return h.node
}

func (h *Host) isUp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up
}

// Start starts nodes at once, and returns when all have joined.
func (sc *Cluster) Start(names ...string) {
	sc.T.Helper()
	sc.StartEvery(0, names...)
}

// StartEvery starts nodes one after another, each a while after the one before
// but without waiting for it to join, and returns when all have joined.
func (sc *Cluster) StartEvery(pause time.Duration, names ...string) {
	sc.T.Helper()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			sc.Advance(time.Duration(i) * pause)
			errs[i] = sc.start(sc.Host(name))
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			sc.T.Fatalf("start %s: %v", names[i], err)
		}
	}
}

func (sc *Cluster) start(h *Host) error {
	if h.isUp() {
		return fmt.Errorf("%s runs", h.Name)
	}
	sc.Net.Boot(h.Name)
	var engine store.Engine = store.NewMemory(store.MemoryOptions{})
	if sc.cfg.Disks != NoDisks {
		var err error
		if engine, err = h.disk.open(sc.cfg.Disks); err != nil {
			return err
		}
	}
	cfg := node.Config{
		Name: h.Name, Cluster: "sim", Addr: ":" + port, Weight: 1, Seeds: sc.seeds,
		Backups: sc.cfg.Backups, Policy: sc.cfg.Policy,
		FailureTimeout: 1500 * time.Millisecond, ReplicationTimeout: 500 * time.Millisecond,
		RepairDelay: 2 * time.Second, SettleDelay: time.Second, PartitionWait: 3 * time.Second,
		OrphanWait: 10 * time.Second, ColdStartWait: 30 * time.Second, OpTimeout: 5 * time.Second,
		Lease: 250 * time.Millisecond, MaxKey: 64 << 10, MaxValue: 16 << 20,
		SyncWrites: sc.cfg.Disks == SyncedDisks,
		Engine:     engine, Env: sc.Net.Host(h.Name).Env(h.Clock),
		Logger: sc.log.With("on", h.Name),
	}
	if sc.cfg.Adjust != nil {
		sc.cfg.Adjust(h.Name, &cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.node, h.engine, h.up, h.life = n, engine, true, make(chan struct{})
	h.mu.Unlock()
	return nil
}

// seeds are the addresses of the hosts first named, running or not.
func (sc *Cluster) seeds(context.Context) ([]string, error) {
	var list []string
	for i := range sc.cfg.Nodes {
		list = append(list, sc.Net.Host(fmt.Sprintf("n%d", i+1)).IP().String()+":"+port)
	}
	return list, nil
}

// Advance lets time pass.
func (sc *Cluster) Advance(d time.Duration) { <-time.After(d) }

// Close closes all nodes.
func (sc *Cluster) Close() {
	sc.Net.HealAll()
	var wg sync.WaitGroup
	for _, h := range sc.Hosts() {
		sc.Net.Resume(h.Name)
		if n := h.stop(); n != nil {
			wg.Go(func() { _ = n.Close() })
		}
	}
	wg.Wait()
}

// stop marks the host as down and returns the node that ran there.
func (h *Host) stop() *node.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.up {
		return nil
	}
	h.up = false
	close(h.life)
	return h.node
}

// Node returns the node of the latest start.
func (h *Host) Node() *node.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node
}
