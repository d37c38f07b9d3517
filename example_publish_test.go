package slotmesh_test

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// News for whoever listens right now.
func ExampleCache_Publish() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	inbox, err := c.Subscription(slotmesh.SubscribePattern("orders.*"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inbox.Close()

	receivers, err := c.Publish(ctx, "orders.paid", []byte("4711"))
	fmt.Println(receivers, err)

	m, err := inbox.Next(ctx)
	fmt.Printf("%s: %s %v\n", m.Channel, m.Payload, err)
	// Output:
	// 1 <nil>
	// orders.paid: 4711 <nil>
}
