package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

// service is the name of Replica in calls.
const service = "Replica"

// Replica is what every replica's process does for its driver.
type Replica struct {
	cache   *slotmesh.Cache
	profile *os.File
	copied  atomic.Uint64 // bytes, as of its shutdown
}

// Serve runs a replica until its driver hangs up or dies. The driver may call
// what load returns, once the cache is open, as the service "Load".
func Serve(load func(cache func() *slotmesh.Cache) any) {
	r := &Replica{}
	err := process.Serve(map[string]any{
		service: r,
		"Load":  load(func() *slotmesh.Cache { return r.cache }),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
}

// OpenArgs says how to open a replica's cache.
type OpenArgs struct {
	Addr    string
	Seeds   []string
	Expect  int
	Backups int
	Dir     string // data directory; empty: none
	Guest   bool   // holds no data
	Near    int64  // bytes of a near cache
	Relaxed bool   // the disk is synced once a second, not for every write
	Seat    string // empty: its name
	Budget  int64  // bytes a second of its copies; 0: adaptive
	Verbose bool
}

// Open opens the cache and returns its address.
func (r *Replica) Open(a OpenArgs, addr *string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	opts := []slotmesh.Option{
		slotmesh.WithName(process.Name()),
		slotmesh.WithCluster("benchmarks"),
		slotmesh.WithAddr(a.Addr),
		slotmesh.WithSeeds(a.Seeds...),
		slotmesh.WithBootstrapExpect(a.Expect),
		slotmesh.WithBackups(a.Backups),
		slotmesh.WithMaxMemory(512 << 20),
		slotmesh.WithEviction(slotmesh.EvictNone),
	}
	if a.Budget > 0 {
		opts = append(opts, slotmesh.WithMoveBudget(a.Budget))
	}
	if a.Guest {
		opts = append(opts, slotmesh.WithWeight(0))
	}
	if a.Near > 0 {
		opts = append(opts, slotmesh.WithNearCache(a.Near))
	}
	if a.Dir != "" {
		opts = append(opts, slotmesh.WithDataDir(a.Dir))
		if !a.Relaxed {
			opts = append(opts, slotmesh.WithFsync(slotmesh.FsyncAlways))
		}
	}
	if a.Seat != "" {
		opts = append(opts, slotmesh.WithSeat(a.Seat))
	}
	if a.Verbose {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", process.Name())
		opts = append(opts, slotmesh.WithLogger(log))
	}
	c, err := slotmesh.Open(ctx, opts...)
	if err != nil {
		return err
	}
	r.cache, *addr = c, c.Cluster().Self().Addr
	return nil
}

// Shutdown hands over everything and leaves.
func (r *Replica) Shutdown(timeout time.Duration, _ *struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := r.cache.Shutdown(ctx)
	r.copied.Store(r.cache.Stats().BytesCopied)
	return err
}

// StepDown has the cache step down; it returns how many bytes of records the replica
// had sent.
func (r *Replica) StepDown(timeout time.Duration, copied *uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := r.cache.StepDown(ctx)
	*copied = r.cache.Stats().BytesCopied
	return err
}

// Copied is how many bytes of records it had sent when it had shut down.
func (r *Replica) Copied(_ struct{}, copied *uint64) error {
	*copied = r.copied.Load()
	return nil
}

// View is the cluster as one replica sees it.
type View struct {
	Nodes     int
	Health    slotmesh.Health
	Primaries []string   // by slot
	Backups   [][]string // by slot
}

// Look returns what the replica sees.
func (r *Replica) Look(_ struct{}, v *View) error {
	cluster := r.cache.Cluster()
	*v = View{Nodes: len(cluster.Nodes()), Health: cluster.Health()}
	for slot := range cluster.Slots() {
		v.Primaries = append(v.Primaries, slot.Primary)
		v.Backups = append(v.Backups, slot.Backups)
	}
	return nil
}

// Rest is whether the replica sees everything in place.
type Rest struct {
	Nodes  int
	Health slotmesh.Health
}

// AtRest is Look without the slots: it is asked often.
func (r *Replica) AtRest(_ struct{}, v *Rest) error {
	cluster := r.cache.Cluster()
	*v = Rest{len(cluster.Nodes()), cluster.Health()}
	return nil
}

// Stats returns the replica's counters.
func (r *Replica) Stats(_ struct{}, s *slotmesh.Stats) error {
	*s = r.cache.Stats()
	return nil
}

// Profile writes the CPU profile of the next while to a file.
func (r *Replica) Profile(path string, _ *struct{}) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	r.profile = f
	return pprof.StartCPUProfile(f)
}

// EndProfile completes the file of Profile.
func (r *Replica) EndProfile(_ struct{}, _ *struct{}) error {
	pprof.StopCPUProfile()
	return r.profile.Close()
}

// startTimeout bounds the start of one replica.
const startTimeout = 10 * time.Second
