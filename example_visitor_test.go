package slotmesh_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/slotmesh/slotmesh"
)

// A tool looks at a cluster without becoming a part of it.
func ExampleWithVisitor() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, err := slotmesh.Open(ctx, slotmesh.WithName("orders-0"), slotmesh.WithCluster("visitors"), slotmesh.WithAddr("127.0.0.1:0"))
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()

	tool, err := slotmesh.Open(ctx, slotmesh.WithVisitor(), slotmesh.WithCluster("visitors"), slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithSeeds(a.Cluster().Self().Addr))
	if err != nil {
		log.Fatal(err)
	}
	defer tool.Close()
	if err := tool.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	r, err := tool.Cluster().Report(ctx, "orders-0")
	fmt.Println(r.Node.Name, "serves", r.Stats.Primaries, "slots", err)
	// Output: orders-0 serves 16384 slots <nil>
}
