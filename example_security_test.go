package slotmesh_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"slices"

	"github.com/slotmesh/slotmesh"
)

// Two nodes that share a secret, which is then exchanged: every node is given
// the new one beside the old, then sends under the new, then forgets the old.
func ExampleWithSecret() {
	ctx := context.Background()
	old, next := make([]byte, 32), make([]byte, 32)
	rand.Read(old)
	rand.Read(next)
	open := func(name string, seeds ...string) *slotmesh.Cache {
		c, err := slotmesh.Open(ctx, slotmesh.WithName(name), slotmesh.WithAddr("127.0.0.1:0"),
			slotmesh.WithSeeds(seeds...), slotmesh.WithSecret(old))
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	a := open("a")
	defer a.Close()
	b := open("b", a.Cluster().Self().Addr)
	defer b.Close()

	for _, keys := range [][][]byte{{old, next}, {next, old}, {next}} {
		for _, c := range []*slotmesh.Cache{a, b} {
			if err := c.RotateSecret(keys...); err != nil {
				log.Fatal(err)
			}
		}
	}
	fmt.Println(b.Set(ctx, "greeting", []byte("hello")))
	// Output: <nil>
}

// A node whose certificate is reread when its files change, as a certificate
// manager changes them, and that lets in nodes of its own service only.
func ExampleWithTLS() {
	c, err := slotmesh.Open(context.Background(),
		slotmesh.WithSeeds("orders:7946"),
		slotmesh.WithTLS(slotmesh.TLSFiles("/tls/tls.crt", "/tls/tls.key", "/tls/ca.crt")),
		slotmesh.WithAllowedPeers(func(names []string) error {
			if !slices.Contains(names, "orders.internal") {
				return fmt.Errorf("%q is not of this service", names)
			}
			return nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}
