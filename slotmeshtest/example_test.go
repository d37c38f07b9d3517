package slotmeshtest_test

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// cart is what the program under test keeps in its cache.
type cart struct {
	c   *slotmesh.Cache
	key string
}

func (s cart) add(t *testing.T, what string) {
	if _, err := s.c.Append(t.Context(), s.key, []byte(what)); err != nil {
		t.Error(err)
	}
}

// Three nodes on loopback.
func ExampleStart() {
	_ = func(t *testing.T) { // a test of yours
		caches := slotmeshtest.Start(t, 3, slotmesh.WithOpTimeout(time.Second))
		cart{caches[0], "cart"}.add(t, "shoes")
	}
}

// A crash in virtual time.
func ExampleSimulate() {
	_ = func(t *testing.T) { // a test of yours
		slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
			shop := cart{c.Node("n1"), c.KeyServedBy("n2")}
			shop.add(t, "shoes")
			c.Kill("n2")
			shop.add(t, "hat")
		})
	}
}

// A slow link and a pause in real time.
func ExampleLive() {
	_ = func(t *testing.T) { // a test of yours
		c := slotmeshtest.Live(t, slotmeshtest.Simulation{Nodes: 3})
		c.SetLink("n1", "n2", slotmeshtest.Link{Delay: 5 * time.Millisecond})
		c.Pause("n3")
		cart{c.Node("n1"), c.KeyServedBy("n2")}.add(t, "shoes")
		c.Resume("n3")
	}
}
