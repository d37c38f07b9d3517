package slotmesh_test

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh"
)

// A page that may be a second old: a backup in this process answers, if there
// is one. Here the only node is the primary itself, whose answer has no age.
func ExampleAllowStale() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "page", []byte("<html>"))
	item, err := c.GetItem(ctx, "page", slotmesh.AllowStale(time.Second))
	fmt.Printf("%s %v %v %v\n", item.Value, item.Source, item.Age, err)

	pages := slotmesh.For[string](c, "page:", slotmesh.AllowStale(time.Second)) // for all reads of a view
	_, err = pages.Get(ctx, "7")
	fmt.Println(err)
	// Output:
	// <html> local 0s <nil>
	// slotmesh: key not found
}
