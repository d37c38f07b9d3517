//go:build !race || slow

package simcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// TestFollowMissesNothing has random faults befall a cluster in which counters
// in many slots go up by one, and are watched from a node that lives. Every
// number comes, in order and once, unless a gap is told.
func TestFollowMissesNothing(t *testing.T) {
	t.Parallel()
	const keys = 40
	for i := range max(1, *seeds/2) {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Policy: node.Majority, Seed: seed, Adjust: patient}, func(sc *Cluster) {
				ctx, cancel := context.WithCancel(context.Background())
				fo := sc.Node("n3").Follow(ctx, "counter", false)
				for !fo.Begun() {
					if _, err := fo.Next(); err != nil {
						t.Fatal(err)
					}
				}
				var wg sync.WaitGroup
				stop := make(chan struct{})
				defer wg.Wait()
				end := sync.OnceFunc(func() { close(stop) })
				defer end()
				defer cancel()
				for c := range 4 {
					r := rand.New(rand.NewPCG(seed, uint64(c)))
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							case <-time.After(time.Duration(1+r.IntN(20)) * time.Millisecond):
							}
							ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
							key := fmt.Sprint("counter", r.IntN(keys))
							if r.IntN(4) == 0 {
								key = "other" + key
							}
							_, _ = sc.Do(ctx, fmt.Sprint("n", 1+r.IntN(3)), node.Call{Op: transport.OpIncr, Key: key, Delta: 1})
							cancel()
						}
					})
				}
				var mu sync.Mutex // guards seen, events and gaps
				seen, events, gaps := map[string]int{}, 0, 0
				wg.Go(func() {
					for {
						news, err := fo.Next()
						if err != nil {
							return
						}
						mu.Lock()
						if news.Gap {
							gaps++
							clear(seen)
						}
						for _, e := range news.Events {
							n, _ := strconv.Atoi(string(e.Value))
							if last := seen[e.Key]; !strings.HasPrefix(e.Key, "counter") || last != 0 && n != last+1 || last == 0 && gaps == 0 && n != 1 {
								t.Errorf("%s: %d after %d", e.Key, n, last)
							}
							seen[e.Key] = n
							events++
						}
						mu.Unlock()
					}
				})
				nm := &nemesis{sc: sc, r: rand.New(rand.NewPCG(seed, 4)), t: t, begin: time.Now(), spared: "n3"}
				for range 4 {
					nm.step()
				}
				nm.end()
				end()
				sc.Advance(5 * time.Second) // those under way are told
				cancel()
				fo.Close()
				wg.Wait()
				for k := range keys {
					key := fmt.Sprint("counter", k)
					got, _, err := sc.Get("n1", key)
					if n, _ := strconv.Atoi(got); err != nil || n != seen[key] && (gaps == 0 || seen[key] != 0) {
						t.Errorf("%s ends at %q, %v; the last event was %d", key, got, err, seen[key])
					}
				}
				t.Logf("%d events, %d gaps", events, gaps)
				if events < 500 {
					t.Error("too few events")
				}
			})
			if t.Failed() {
				t.Logf("go test ./internal/simcluster -run Follow -seeds 1 -seed %d", seed)
			}
		})
	}
}
