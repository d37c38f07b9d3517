package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// All users, in whatever slot: a replica that keeps something of its own per
// user drops it when the user changes.
func ExampleWatchPrefix() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	for event, err := range c.Watch(ctx, slotmesh.WatchPrefix("user:"), slotmesh.WatchKeysOnly()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch event.Type {
		case slotmesh.EventLive:
			_ = c.Set(ctx, "user:7", []byte("Ann"))
			_ = c.Set(ctx, "order:1", []byte("shoes"))
			_, _ = c.Delete(ctx, "user:7")
		case slotmesh.EventDelete:
			fmt.Println("drop", event.Key)
			return
		case slotmesh.EventResync:
			fmt.Println("drop everything")
		}
	}
	// Output:
	// drop user:7
}
