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

// A session that lives as long as it is used.
func ExampleCache_GetExpire() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "session:7", []byte("Ann"), slotmesh.TTL(time.Minute))
	who, err := c.GetExpire(ctx, "session:7", time.Hour)
	left, _ := c.TTL(ctx, "session:7")
	fmt.Println(string(who), err, left > time.Minute)
	// Output:
	// Ann <nil> true
}

// A leader's name that only its holder replaces.
func ExampleCache_CompareAndSwap() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "leader", []byte("a"))
	fmt.Println(c.CompareAndSwap(ctx, "leader", []byte("a"), []byte("b")))
	fmt.Println(c.CompareAndSwap(ctx, "leader", []byte("a"), []byte("c")))
	// Output:
	// <nil>
	// slotmesh: condition not met
}

// A log that several processes write.
func ExampleCache_Append() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_, _ = c.Append(ctx, "log", []byte("one "))
	length, err := c.Append(ctx, "log", []byte("two "))
	log, _ := c.Get(ctx, "log")
	fmt.Printf("%d %v %q\n", length, err, log)
	// Output:
	// 8 <nil> "one two "
}
