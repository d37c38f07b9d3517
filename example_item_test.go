package slotmesh_test

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh"
)

// What is known of a value, and where it was read.
func ExampleCache_GetItem() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "motd", []byte("hello"), slotmesh.TTL(time.Hour))
	item, err := c.GetItem(ctx, "motd")
	fmt.Printf("%s, from the %v primary, version known: %v, expires: %v, %v\n",
		item.Value, item.Source, item.Version > 0, !item.Expires.IsZero(), err)
	// Output:
	// hello, from the local primary, version known: true, expires: true, <nil>
}
