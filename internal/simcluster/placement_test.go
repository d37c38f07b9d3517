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
	"github.com/slotmesh/slotmesh/shard"
)

// People pin slots, change weights, fail slots over and pause balance while
// nodes join, leave and die under load: every key's history is linearizable, and
// once it is over slots are where the settings want them, with equal copies.
func TestPlacementChangesUnderLoad(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var hist History
			r := rand.New(rand.NewPCG(seed, 7))
			Run(t, Config{Nodes: 3, Policy: node.Majority, Seed: seed, Adjust: patient}, func(sc *Cluster) {
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for c := range 4 {
					wg.Go(func() { load(sc, &hist, c, 3, seed, stop) })
				}
				p := &people{sc: sc, r: r, t: t}
				for range 8 {
					p.decide()
					p.sc.Advance(time.Duration(r.IntN(3000)) * time.Millisecond)
					p.upset()
				}
				p.set("end the pause", func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) { return s.WithPause(false, by) })
				if p.down != "" {
					sc.Start(p.down)
				}
				sc.AwaitStable(90 * time.Second)
				close(stop)
				wg.Wait()
				sc.AwaitStable(60 * time.Second)
				p.check()
				if !t.Failed() {
					sc.AwaitCopies()
				}
			})
			hist.Check(t)
		})
	}
}

// people decide where slots are.
type people struct {
	sc   *Cluster
	r    *rand.Rand
	t    *testing.T
	down string // at most one node
}

func (p *people) any() *node.Node {
	up := p.sc.Up()
	return p.sc.Node(up[p.r.IntN(len(up))].Name)
}

func (p *people) set(what string, edit func(*shard.Settings, shard.NodeID) (*shard.Settings, error)) {
	p.t.Helper()
	n := p.any()
	p.t.Logf("%s, on %s", what, n.Self().Name)
	if err := n.Change(func(s *shard.Settings) (*shard.Settings, error) { return edit(s, n.Self().ID) }); err != nil {
		p.t.Errorf("%s: %v", what, err)
	}
}

func (p *people) decide() {
	name := fmt.Sprintf("n%d", 1+p.r.IntN(4))
	first, count := p.r.IntN(shard.Slots/2), 1+p.r.IntN(shard.Slots/2)
	var slots []uint16
	for i := range count {
		slots = append(slots, uint16(first+i))
	}
	switch p.r.IntN(6) {
	case 0, 1:
		p.set(fmt.Sprintf("pin %d slots to %s", count, name), func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) {
			return s.WithPins(slots, name, by)
		})
	case 2:
		p.set(fmt.Sprintf("keep %d slots from %s", count, name), func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) {
			return s.WithAway(slots, name, by)
		})
	case 3:
		p.set("unpin", func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) { return s.WithPins(slots, "", by) })
	case 4:
		weight := p.r.IntN(3)
		p.set(fmt.Sprintf("weight %d for n3", weight), func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) {
			return s.WithWeight("n3", weight, by)
		})
	case 5:
		on := p.r.IntN(2) == 0
		p.set(fmt.Sprint("pause ", on), func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) { return s.WithPause(on, by) })
	}
}

// upset has a node come, go or die while slots move. One dies only while every
// slot has all its copies: more than that is not promised.
func (p *people) upset() {
	if p.down != "" {
		p.sc.Start(p.down)
		p.t.Logf("start %s", p.down)
		p.down = ""
		return
	}
	switch p.r.IntN(4) {
	case 0:
		if len(p.sc.Up()) == 3 {
			p.t.Log("start n4")
			p.sc.Start("n4")
			return
		}
		p.t.Log("shut down n4")
		if err := p.sc.Shutdown("n4", 60*time.Second); err != nil {
			p.t.Errorf("shutdown of n4: %v", err)
		}
	case 1:
		for range 600 { // repaired, though perhaps not balanced
			short := 0
			for _, h := range p.sc.Up() {
				is := p.sc.Node(h.Name).Health()
				short += is.ShortBackups + is.NoPrimary + is.Unclaimed
			}
			if short == 0 {
				p.down = p.sc.Up()[p.r.IntN(3)].Name
				p.t.Logf("kill %s", p.down)
				p.sc.Kill(p.down)
				return
			}
			p.sc.Advance(100 * time.Millisecond)
		}
		p.t.Error("slots stay without their copies")
	}
}

// check reports slots that are not where they are pinned to.
func (p *people) check() {
	n := p.any()
	for slot, name := range n.Settings().Pins() {
		m, ok := n.FindMember(name)
		if cl := n.Table().Claim(slot); ok && m.Weight > 0 && cl.Primary != m.ID {
			p.t.Fatalf("slot %d is pinned to %s (%v) and served by %v", slot, name, m.ID, cl.Primary)
		}
	}
}
