package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// A setting that every replica follows: first as it is, then as it changes.
func ExampleCache_Watch() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "limit", []byte("10"))
	for event, err := range c.Watch(ctx, slotmesh.WatchKey("limit"), slotmesh.WatchSnapshot()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v %q by %q\n", event.Type, event.Value, event.Op)
		if event.Type == slotmesh.EventLive {
			_, _ = c.Incr(ctx, "limit", 10)
		}
		if string(event.Value) == "20" {
			break
		}
	}
	// Output:
	// set "10" by ""
	// live "" by ""
	// set "20" by "incr"
}
