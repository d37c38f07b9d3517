package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh"
)

// At most three requests a minute, counted by all replicas together.
func ExampleIncrMax() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	allow := func(user string) bool {
		_, err := c.Incr(ctx, "rate:"+user, 1, slotmesh.IncrMax(3), slotmesh.IncrTTL(time.Minute))
		return !errors.Is(err, slotmesh.ErrConditionFailed) // let users pass where the cache fails
	}
	for range 4 {
		fmt.Println(allow("ann"))
	}
	// Output:
	// true
	// true
	// true
	// false
}

// A one-time token: only one caller can redeem it.
func ExampleCache_GetDelete() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "token:x7", []byte("ann"), slotmesh.TTL(time.Hour))
	for range 2 {
		user, err := c.GetDelete(ctx, "token:x7")
		fmt.Printf("%q %v\n", user, err)
	}
	// Output:
	// "ann" <nil>
	// "" slotmesh: key not found
}

func ExampleCache_GetSet() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_, existed, _ := c.GetSet(ctx, "leader", []byte("a"))
	fmt.Println(existed)
	old, _, _ := c.GetSet(ctx, "leader", []byte("b"))
	fmt.Println(string(old))
	// Output:
	// false
	// a
}
