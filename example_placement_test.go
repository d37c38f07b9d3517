package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// A slot is pinned to a node, and let go again.
func ExampleCluster_MoveSlots() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	cluster := c.Cluster()
	slot, name := cluster.KeySlot("orders:hot"), cluster.Self().Name
	err := cluster.MoveSlots(ctx, []uint16{slot}, name, slotmesh.OnProgress(func(p slotmesh.Progress) {
		if p.Left == 0 {
			fmt.Println("moved")
		}
	}))
	fmt.Println(err, len(cluster.Placement().Pins), "pinned")
	err = cluster.Rebalance(ctx, slotmesh.DropPins())
	fmt.Println(err, len(cluster.Placement().Pins), "pinned")
	// Output:
	// moved
	// <nil> 1 pinned
	// <nil> 0 pinned
}

func ExampleCluster_Safe() {
	c := exampleCache()
	defer c.Close()

	// In a preStop hook, for instance.
	if safe, reasons := c.Cluster().Safe(); !safe {
		fmt.Println("wait:", reasons)
	} else {
		fmt.Println("nothing would be lost")
	}
	// Output:
	// nothing would be lost
}
