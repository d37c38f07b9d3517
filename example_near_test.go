package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// A node that keeps up to 64 MiB of what it reads often from others. The calls
// stay as they are; Stats tells what it was good for.
func ExampleWithNearCache() {
	ctx := context.Background()
	c, err := slotmesh.Open(ctx, slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithNearCache(64<<20))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	_ = c.Set(ctx, "flags", []byte("on"))
	item, err := c.GetItem(ctx, "flags")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s from %v, %d near hits\n", item.Value, item.Source, c.Stats().NearHits)
	// Output:
	// on from local, 0 near hits
}
