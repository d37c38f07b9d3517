package main

import (
	"context"
	"os"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

// redisSystem is a Redis Cluster called from this process by one client
// library.
type redisSystem struct {
	c     *rediscluster.Cluster
	calls map[string]load.Call // by workload
}

func (r redisSystem) pids() []int { return append(r.c.PIDs(), os.Getpid()) }

func (r redisSystem) fill(valueBytes int) error {
	return load.Fill(allNames(), valueBytes, r.calls["set"])
}

func (r redisSystem) run(c load.Cell) (load.Sample, error) {
	return load.Run(c, allNames(), shared(r.calls[c.Workload])), nil
}

func withRueidis(c *rediscluster.Cluster) (redisSystem, func(), error) {
	r, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: c.Addrs, DisableCache: true})
	if err != nil {
		return redisSystem{}, nil, err
	}
	getCmd := func(key string) rueidis.Completed { return r.B().Get().Key(key).Build() }
	setCmd := func(key string, value []byte) rueidis.Completed {
		return r.B().Set().Key(key).Value(rueidis.BinaryString(value)).Build()
	}
	multi := func(ctx context.Context, cmds []rueidis.Completed) error {
		for _, res := range r.DoMulti(ctx, cmds...) {
			if err := res.Error(); err != nil {
				return err
			}
		}
		return nil
	}
	get := func(ctx context.Context, keys []string, _ []byte) error {
		_, err := r.Do(ctx, getCmd(keys[0])).AsBytes()
		return err
	}
	set := func(ctx context.Context, keys []string, value []byte) error {
		return r.Do(ctx, setCmd(keys[0], value)).Error()
	}
	return redisSystem{c, map[string]load.Call{
		"get": get, "set": set, "mix": mixed(get, set),
		"set_wait": func(ctx context.Context, keys []string, value []byte) error {
			return multi(ctx, []rueidis.Completed{setCmd(keys[0], value), r.B().Wait().Numreplicas(1).Timeout(1000).Build()})
		},
		"get_many": func(ctx context.Context, keys []string, _ []byte) error {
			cmds := make([]rueidis.Completed, len(keys))
			for i, key := range keys {
				cmds[i] = getCmd(key)
			}
			for _, res := range r.DoMulti(ctx, cmds...) {
				if _, err := res.AsBytes(); err != nil {
					return err
				}
			}
			return nil
		},
		"set_many": func(ctx context.Context, keys []string, value []byte) error {
			cmds := make([]rueidis.Completed, len(keys))
			for i, key := range keys {
				cmds[i] = setCmd(key, value)
			}
			return multi(ctx, cmds)
		},
	}}, r.Close, nil
}

func withGoRedis(c *rediscluster.Cluster) (redisSystem, func(), error) {
	r := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs, PoolSize: 256})
	get := func(ctx context.Context, keys []string, _ []byte) error {
		_, err := r.Get(ctx, keys[0]).Bytes()
		return err
	}
	set := func(ctx context.Context, keys []string, value []byte) error {
		return r.Set(ctx, keys[0], value, 0).Err()
	}
	return redisSystem{c, map[string]load.Call{
		"get": get, "set": set, "mix": mixed(get, set),
		"set_wait": func(ctx context.Context, keys []string, value []byte) error {
			primary, err := r.MasterForKey(ctx, keys[0])
			if err != nil {
				return err
			}
			pipe := primary.Pipeline() // of one connection, as WAIT demands
			pipe.Set(ctx, keys[0], value, 0)
			pipe.Do(ctx, "wait", 1, 1000)
			_, err = pipe.Exec(ctx)
			return err
		},
		"get_many": func(ctx context.Context, keys []string, _ []byte) error {
			pipe := r.Pipeline()
			for _, key := range keys {
				pipe.Get(ctx, key)
			}
			_, err := pipe.Exec(ctx)
			return err
		},
		"set_many": func(ctx context.Context, keys []string, value []byte) error {
			pipe := r.Pipeline()
			for _, key := range keys {
				pipe.Set(ctx, key, value, 0)
			}
			_, err := pipe.Exec(ctx)
			return err
		},
	}}, func() { _ = r.Close() }, nil
}
