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
)

// TestCrashBesideADeparture has one node of a cluster with two backups depart, or crash,
// and another crash or stall at about the same time: every key's history is linearizable,
// and the cluster comes to rest.
func TestCrashBesideADeparture(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var hist History
			r := rand.New(rand.NewPCG(seed, 1))
			nodes := 4 + r.IntN(3)
			cfg := Config{Nodes: nodes, Backups: 2, Policy: node.Majority, Seed: seed, Disks: Disks(r.IntN(3)), Adjust: patient}
			Run(t, cfg, func(sc *Cluster) {
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for client := range 4 {
					wg.Go(func() { load(sc, &hist, client, nodes, seed, stop) })
				}
				nm := &nemesis{sc: sc, r: r, t: t, disks: cfg.Disks, begin: time.Now()}
				for range *steps {
					nm.rest()
					nm.twoAtOnce(nodes)
				}
				nm.rest()
				close(stop)
				wg.Wait()
				if !t.Failed() {
					sc.AwaitCopies()
				}
			})
			hist.Check(t)
			if t.Failed() {
				t.Log(again("CrashBesideADeparture", seed))
			}
		})
	}
}

// twoAtOnce has one of the first nodes depart and another end, and both come back.
func (nm *nemesis) twoAtOnce(nodes int) {
	sc, r := nm.sc, nm.r
	a := r.IntN(nodes)
	departs, ends := fmt.Sprint("n", 1+a), fmt.Sprint("n", 1+(a+1+r.IntN(nodes-1))%nodes)
	gone, how := make(chan struct{}), r.IntN(3)
	go func() {
		defer close(gone)
		var err error
		switch how {
		case 0:
			nm.log("shut down %s", departs)
			err = sc.Shutdown(departs, 30*time.Second)
		case 1:
			nm.log("step down %s", departs)
			err = sc.StepDown(departs, 30*time.Second)
		case 2:
			nm.log("kill %s", departs)
			sc.Kill(departs)
		}
		nm.log("%s has gone: %v", departs, err)
	}()
	sc.Advance(time.Duration(r.IntN([]int{20, 200, 2000}[r.IntN(3)])) * time.Millisecond)
	back := func() { sc.Start(ends) }
	switch r.IntN(3) {
	case 0:
		nm.log("kill %s", ends)
		sc.Kill(ends)
	case 1:
		nm.log("pull the plug of %s", ends)
		sc.KillSilent(ends)
	case 2:
		nm.log("pause %s", ends)
		sc.Pause(ends)
		back = func() { sc.Resume(ends) }
	}
	<-gone
	nm.wait(0, 6*time.Second)
	sc.Start(departs)
	back()
}
