package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/slotmesh/slotmesh"
)

// One replica of a service. Every replica runs the same code; the seeds are
// where some of them are found.
func Example() {
	ctx := context.Background()
	c, err := slotmesh.Open(ctx,
		slotmesh.WithAddr("127.0.0.1:0"),
		// slotmesh.WithSeeds("orders-0:7946", "orders-1:7946"),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Set(ctx, "greeting", []byte("hello"), slotmesh.TTL(time.Hour)); err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, "greeting")
	fmt.Println(string(value), err)
	// Output: hello <nil>
}

// A conditional write: of all replicas that try, one creates the key.
func ExampleCache_Set() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	fmt.Println(c.Set(ctx, "job:7", []byte("replica-a"), slotmesh.IfAbsent(), slotmesh.TTL(time.Minute)))
	err := c.Set(ctx, "job:7", []byte("replica-b"), slotmesh.IfAbsent(), slotmesh.TTL(time.Minute))
	fmt.Println(errors.Is(err, slotmesh.ErrConditionFailed))
	// Output:
	// <nil>
	// true
}

// Read, change, write: whoever was overtaken starts again.
func ExampleIfVersion() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	add := func(line string) error {
		for {
			item, err := c.GetItem(ctx, "log") // Version is 0 where there is none
			if err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
				return err
			}
			err = c.Set(ctx, "log", append(item.Value, line...), slotmesh.IfVersion(item.Version))
			if !errors.Is(err, slotmesh.ErrVersionMismatch) {
				return err
			}
		}
	}
	fmt.Println(add("a"), add("b"))
	value, _ := c.Get(ctx, "log")
	fmt.Println(string(value))
	// Output:
	// <nil> <nil>
	// ab
}

func ExampleCache_Incr() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	for range 3 {
		if _, err := c.Incr(ctx, "visits", 1); err != nil {
			log.Fatal(err)
		}
	}
	n, err := c.Incr(ctx, "visits", -1)
	fmt.Println(n, err)
	// Output: 2 <nil>
}

func ExampleCache_GetMany() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	errs := c.SetMany(ctx, []slotmesh.Entry{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}})
	fmt.Println(errors.Join(errs...))
	for _, r := range c.GetMany(ctx, []string{"b", "missing", "a"}) {
		fmt.Printf("%s %q %v\n", r.Key, r.Value, r.Err)
	}
	// Output:
	// <nil>
	// b "2" <nil>
	// missing "" slotmesh: key not found
	// a "1" <nil>
}

// Keys with one hash tag share a slot, and so their nodes.
func ExampleCluster_KeySlot() {
	c := exampleCache()
	defer c.Close()

	cluster := c.Cluster()
	fmt.Println(cluster.KeySlot("foo"))
	fmt.Println(cluster.KeySlot("{user1000}.following") == cluster.KeySlot("{user1000}.followers"))
	// Output:
	// 12182
	// true
}

func exampleCache() *slotmesh.Cache {
	c, err := slotmesh.Open(context.Background(), slotmesh.WithAddr("127.0.0.1:0"))
	if err != nil {
		log.Fatal(err)
	}
	return c
}
