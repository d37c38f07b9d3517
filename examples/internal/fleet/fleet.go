// Package fleet starts the few replicas that an example needs, in one process.
package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/slotmesh/slotmesh"
)

// Run starts n replicas on free ports of 127.0.0.1, has f work with them for at
// most a minute, prints its verdict and ends the process with it.
func Run(name string, n int, f func(ctx context.Context, replicas []*slotmesh.Cache) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := run(ctx, n, f); err != nil {
		fmt.Fprintf(os.Stderr, "%s: FAILED after %v: %v\n", name, time.Since(began).Round(time.Millisecond), err)
		os.Exit(1)
	}
	fmt.Printf("%s: ok in %v\n", name, time.Since(began).Round(time.Millisecond))
}

func run(ctx context.Context, n int, f func(context.Context, []*slotmesh.Cache) error) (err error) {
	var replicas []*slotmesh.Cache
	defer func() {
		for _, c := range replicas {
			err = errors.Join(err, c.Close())
		}
	}()
	cluster := "example-" + rand.Text()
	for i := range n {
		opts := []slotmesh.Option{slotmesh.WithName(fmt.Sprintf("replica-%d", i+1)), slotmesh.WithCluster(cluster), slotmesh.WithAddr("127.0.0.1:0")}
		if i > 0 {
			opts = append(opts, slotmesh.WithSeeds(replicas[0].Cluster().Self().Addr))
		}
		c, err := slotmesh.Open(ctx, opts...)
		if err != nil {
			return fmt.Errorf("start replica %d: %w", i+1, err)
		}
		replicas = append(replicas, c)
	}
	for _, c := range replicas {
		if err := settled(ctx, c, n); err != nil {
			return err
		}
	}
	fmt.Printf("%d replicas are up\n", n)
	return f(ctx, replicas)
}

// settled returns when a replica knows all others and every slot is where it is
// to stay. A program does not wait for that; an example that counts does.
func settled(ctx context.Context, c *slotmesh.Cache, n int) error {
	if err := c.Ready(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(c.Cluster().Nodes()) < n || !c.Cluster().Health().Balanced {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
