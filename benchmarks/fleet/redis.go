package main

import (
	"context"
	"os"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

// redisSystem is a Redis Cluster called from this process by one client
// library.
type redisSystem struct {
	c              *rediscluster.Cluster
	plain, waiting client // waiting writes with WAIT 1
}

func (r redisSystem) pids() []int { return append(r.c.PIDs(), os.Getpid()) }

func (r redisSystem) fill(valueBytes int) error { return fill(r.plain, valueBytes) }

func (r redisSystem) run(c Cell) (Sample, error) {
	cl := r.plain
	if c.Workload == "set_wait" {
		cl = r.waiting
	}
	return run(c, cl, allNames()), nil
}

func withRueidis(c *rediscluster.Cluster) (redisSystem, func(), error) {
	client1, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: c.Addrs, DisableCache: true})
	if err != nil {
		return redisSystem{}, nil, err
	}
	get := func(ctx context.Context, key string, _ []byte) error {
		_, err := client1.Do(ctx, client1.B().Get().Key(key).Build()).AsBytes()
		return err
	}
	set := func(key string, value []byte) rueidis.Completed {
		return client1.B().Set().Key(key).Value(rueidis.BinaryString(value)).Build()
	}
	return redisSystem{
		c: c,
		plain: client{get: get, set: func(ctx context.Context, key string, value []byte) error {
			return client1.Do(ctx, set(key, value)).Error()
		}},
		waiting: client{get: get, set: func(ctx context.Context, key string, value []byte) error {
			wait := client1.B().Wait().Numreplicas(1).Timeout(1000).Build()
			for _, r := range client1.DoMulti(ctx, set(key, value), wait) {
				if err := r.Error(); err != nil {
					return err
				}
			}
			return nil
		}},
	}, client1.Close, nil
}

func withGoRedis(c *rediscluster.Cluster) (redisSystem, func(), error) {
	client1 := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs, PoolSize: 256})
	get := func(ctx context.Context, key string, _ []byte) error {
		_, err := client1.Get(ctx, key).Bytes()
		return err
	}
	return redisSystem{
		c: c,
		plain: client{get: get, set: func(ctx context.Context, key string, value []byte) error {
			return client1.Set(ctx, key, value, 0).Err()
		}},
		waiting: client{get: get, set: func(ctx context.Context, key string, value []byte) error {
			primary, err := client1.MasterForKey(ctx, key)
			if err != nil {
				return err
			}
			pipe := primary.Pipeline() // of one connection, as WAIT demands
			pipe.Set(ctx, key, value, 0)
			pipe.Do(ctx, "wait", 1, 1000)
			_, err = pipe.Exec(ctx)
			return err
		}},
	}, func() { _ = client1.Close() }, nil
}
