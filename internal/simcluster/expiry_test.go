//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// TestWhatHasExpiredStaysGone has nodes stop and be cut off whose clocks differ by up to
// 50 seconds, with near caches and without: a key that was read and found expired is
// not found again anywhere.
func TestWhatHasExpiredStaysGone(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		for _, near := range []int64{0, 8 << 20} {
			t.Run(fmt.Sprint(seed, " near ", near > 0), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				adjust := func(name string, c *node.Config) {
					patient(name, c)
					c.NearBytes = near
				}
				cfg := Config{Nodes: 3, Policy: node.Majority, Seed: seed, Disks: Disks(r.IntN(2)), Adjust: adjust}
				Run(t, cfg, func(sc *Cluster) {
					for i := range 3 {
						sc.Host(fmt.Sprint("n", i+1)).Clock.Step(time.Duration(r.IntN(50)-25) * time.Second)
					}
					sc.Advance(time.Second)
					stop := make(chan struct{})
					var wg sync.WaitGroup
					for client := range 12 {
						wg.Go(func() { expiries(sc, client, seed, stop) })
					}
					nm := &nemesis{sc: sc, r: r, t: t, disks: cfg.Disks, begin: time.Now()}
					for range *steps {
						nm.wait(100*time.Millisecond, 2*time.Second)
						switch r.IntN(4) {
						case 0, 1:
							nm.stop()
						case 2:
							nm.restart()
						case 3:
							end := nm.trouble()
							nm.wait(100*time.Millisecond, 6*time.Second)
							end()
						}
					}
					nm.end()
					close(stop)
					wg.Wait()
				})
				if t.Failed() {
					t.Log(again("WhatHasExpiredStaysGone", seed))
				}
			})
		}
	}
}

// expiries sets one key after another with a short time to live, and reads it from all
// nodes until a while after that is over.
func expiries(sc *Cluster, client int, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, uint64(client)+300))
	do := func(c node.Call) (node.Result, error) {
		return sc.DoWithin(time.Second, fmt.Sprint("n", 1+r.IntN(3)), c)
	}
	for i := 0; ; i++ {
		key, ttl := fmt.Sprintf("key%d-%d", client, i), time.Duration(200+r.IntN(1200))*time.Millisecond
		_, err := do(node.Call{Op: transport.OpSet, Key: key, Value: []byte("v"), Flags: transport.FlagRelative, Expiry: ttl.Milliseconds()})
		gone := false
		for end := time.Now().Add(ttl + 2*time.Second); err == nil && time.Now().Before(end); {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(1+r.IntN(25)) * time.Millisecond):
			}
			switch r, err := do(get(key)); {
			case err != nil:
			case !r.Found:
				gone = true
			case gone:
				sc.T.Errorf("%s, which had expired, is found again; in the near cache: %v", key, r.Near)
				return
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
