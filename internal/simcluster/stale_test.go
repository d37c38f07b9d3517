//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// TestStaleReadsAreOfTheirAge has random faults befall a cluster in which
// counters go up. A stale read gives at least what was acknowledged when its
// copy was as old as it says, and nothing that is lost later.
func TestStaleReadsAreOfTheirAge(t *testing.T) {
	t.Parallel()
	for i := range max(1, *seeds/2) {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Policy: node.Majority, Seed: seed, Adjust: patient}, func(sc *Cluster) {
				stop := make(chan struct{})
				var wg sync.WaitGroup
				var stale atomic.Int64
				counters := make([]*counter, 4)
				for k := range counters {
					c := &counter{key: fmt.Sprint("counter", k)}
					counters[k] = c
					wg.Go(func() { c.count(sc, seed, stop) })
					for from := range 3 {
						wg.Go(func() { stale.Add(c.watch(sc, fmt.Sprint("n", from+1), stop)) })
					}
				}
				nm := &nemesis{sc: sc, r: rand.New(rand.NewPCG(seed, 2)), t: t, begin: time.Now()}
				for range 5 {
					nm.step()
				}
				nm.end()
				close(stop)
				wg.Wait()
				for _, c := range counters {
					got, _, err := sc.Get("n1", c.key)
					if n, _ := strconv.ParseInt(got, 10, 64); err != nil || n < c.seen {
						t.Errorf("%s ends at %q, %v; a stale read gave %d", c.key, got, err, c.seen)
					}
				}
				if stale.Load() < 200 {
					t.Errorf("%d stale reads, want more", stale.Load())
				}
				t.Logf("%d stale reads", stale.Load())
			})
			if t.Failed() {
				t.Logf("go test ./internal/simcluster -run StaleReads -seeds 1 -seed %d", seed)
			}
		})
	}
}

// counter is a key that is incremented, with what was acknowledged when.
type counter struct {
	key string

	mu    sync.Mutex // guards below
	acked []reached
	seen  int64 // the most that a stale read gave
}

type reached struct {
	n  int64
	at time.Time
}

func (c *counter) count(sc *Cluster, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, 3))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+r.IntN(30)) * time.Millisecond):
		}
		n, err := sc.DoWithin(2*time.Second, fmt.Sprint("n", 1+r.IntN(3)), node.Call{Op: transport.OpIncr, Key: c.key, Delta: 1})
		if err == nil {
			c.mu.Lock()
			c.acked = append(c.acked, reached{n.Int, time.Now()})
			c.mu.Unlock()
		}
	}
}

// least is what was acknowledged at a time.
func (c *counter) least(at time.Time) (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.acked) - 1; i >= 0; i-- {
		if !c.acked[i].at.After(at) {
			return c.acked[i].n
		}
	}
	return 0
}

// watch makes stale reads of the counter and returns how many were.
func (c *counter) watch(sc *Cluster, from string, stop <-chan struct{}) (stale int64) {
	for {
		select {
		case <-stop:
			return stale
		case <-time.After(13 * time.Millisecond):
		}
		begin := time.Now()
		r, err := sc.DoWithin(time.Second, from, node.Call{Op: transport.OpGet, Key: c.key, MaxAge: int64(2 * time.Second)})
		if err != nil || r.Age == 0 {
			continue
		}
		stale++
		got, _ := strconv.ParseInt(string(r.Value), 10, 64)
		if r.Age > int64(2*time.Second) {
			sc.T.Errorf("a read of age %v", time.Duration(r.Age))
		}
		if least := c.least(begin.Add(-time.Duration(r.Age))); got < least {
			sc.T.Errorf("%s on %s gives %d, at most %v old; %d was acknowledged then", c.key, from, got, time.Duration(r.Age), least)
		}
		c.mu.Lock()
		c.seen = max(c.seen, got)
		c.mu.Unlock()
	}
}
