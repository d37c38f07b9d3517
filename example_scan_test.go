package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

func ExampleCache_Scan() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	for _, key := range []string{"{ann}cart", "{ann}seen", "{bob}cart"} {
		_ = c.Set(ctx, key, []byte("..."))
	}
	count := 0
	for item, err := range c.Scan(ctx, slotmesh.ScanTag("ann"), slotmesh.ScanKeysOnly()) {
		if err != nil {
			fmt.Println(err)
			break
		}
		if item.Version > 0 {
			count++
		}
	}
	fmt.Println(count, "keys of ann")
	// Output: 2 keys of ann
}

func ExampleCache_DeletePrefix() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	for i := range 3 {
		_ = c.Set(ctx, fmt.Sprintf("page:%d", i), nil)
	}
	fmt.Println(c.DeletePrefix(ctx, "page:", nil))
	// Output: 3 <nil>
}
