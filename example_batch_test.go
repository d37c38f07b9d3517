package slotmesh_test

import (
	"context"
	"fmt"
)

func ExampleBatch() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	b := c.Batch()
	b.Set("name", []byte("Ann"))
	name := b.Get("name") // calls on one key keep their order
	visits := b.Incr("visits", 1)
	fmt.Println(b.Do(ctx))
	fmt.Println(string(name.Value), visits.Int)
	// Output:
	// <nil>
	// Ann 1
}

func ExampleCluster_Explain() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "{user:42}cart", []byte("3 apples"))
	e, err := c.Cluster().Explain(ctx, "{user:42}cart")
	fmt.Println(e.State, e.Size, e.Tag, e.Slot, err)
	_, _ = c.Delete(ctx, "{user:42}cart")
	e, err = c.Cluster().Explain(ctx, "{user:42}cart")
	fmt.Println(e.State, err)
	// Output:
	// present 8 user:42 15880 <nil>
	// deleted <nil>
}
