package slotmesh_test

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh"
)

// A slow source behind the cache: however many ask, on however many replicas,
// it is asked once.
func ExampleCache_GetOrLoad() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	load := func(ctx context.Context, key string) ([]byte, error) {
		fmt.Println("loading", key)
		return []byte("42"), nil
	}
	for range 2 {
		price, err := c.GetOrLoad(ctx, "price:7", load,
			slotmesh.LoadTTL(10*time.Minute), slotmesh.LoadJitter(0.1), // not all at once
			slotmesh.LoadStale(time.Hour),         // old prices while the new one is loaded
			slotmesh.LoadNegative(30*time.Second), // products that there are not
		)
		fmt.Println(string(price), err)
	}
	// Output:
	// loading price:7
	// 42 <nil>
	// 42 <nil>
}

// One query for all that is missing.
func ExampleCache_GetOrLoadMany() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "b", []byte("2"))
	for _, r := range c.GetOrLoadMany(ctx, []string{"a", "b", "c"}, func(ctx context.Context, missing []string) (map[string][]byte, error) {
		fmt.Println("loading", missing)
		return map[string][]byte{"a": []byte("1")}, nil // there is no c
	}) {
		fmt.Printf("%s %q %v\n", r.Key, r.Value, r.Err)
	}
	// Output:
	// loading [a c]
	// a "1" <nil>
	// b "2" <nil>
	// c "" slotmesh: key not found
}
