package slotmesh_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// While a slot has no living primary, either only its calls fail or all do.
func TestFullCoverageIsRequiredWhereAskedFor(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			opts := []slotmesh.Option{slotmesh.WithBackups(0), slotmesh.WithOrphanWait(time.Hour), slotmesh.WithRequireFullCoverage(required)}
			slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1, Options: opts}, func(t *testing.T, c *slotmeshtest.Cluster) {
				key, n2 := c.KeyServedBy("n2"), c.Node("n2")
				set(t, n2, key, "v")
				wantErr(t, "Close", c.Node("n1").Close(), nil)
				c.Await("the loss is noticed", func() error {
					if n2.Cluster().Health().NoPrimary == 0 {
						return errors.New("all slots have a living primary")
					}
					return nil
				})
				if !required {
					wantValue(t, n2, key, "v")
					return
				}
				c.Await("a slot that is served is refused too", func() error {
					if _, err := n2.Get(t.Context(), key); !errors.Is(err, slotmesh.ErrNoPrimary) {
						return fmt.Errorf("Get = %v", err)
					}
					return nil
				})
			})
		})
	}
}
