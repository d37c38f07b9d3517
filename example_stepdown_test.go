package slotmesh_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/slotmesh/slotmesh"
)

// A process that is restarted with its disk hands its slots over and has them again.
func ExampleCache_StepDown() {
	dir, err := os.MkdirTemp("", "slotmesh-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	open := func() *slotmesh.Cache {
		c, err := slotmesh.Open(context.Background(), slotmesh.WithName("orders-1"), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithDataDir(dir))
		if err != nil {
			panic(err)
		}
		if err := c.Ready(context.Background()); err != nil {
			panic(err)
		}
		return c
	}
	c := open()
	fmt.Println(c.Set(context.Background(), "greeting", []byte("hello")))

	// On SIGTERM, where the process is to be back in a moment.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fmt.Println(c.StepDown(ctx))

	c = open()
	defer c.Close()
	value, err := c.Get(context.Background(), "greeting")
	fmt.Println(string(value), err)
	// Output:
	// <nil>
	// <nil>
	// hello <nil>
}
