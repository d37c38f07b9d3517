package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

// clientTTL is how long rueidis keeps a value at most.
const clientTTL = time.Minute

// transferScript is the transaction as a script, which Redis runs at once.
var transferScript = rueidis.NewLuaScript(
	`redis.call('GET', KEYS[2]) redis.call('GET', KEYS[1]) return redis.call('SET', KEYS[1], ARGV[1])`)

// releaseScript frees a lock if it is still the caller's.
var releaseScript = rueidis.NewLuaScript(
	`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// apiRedisSystem is a Redis Cluster under the calls of -api.
type apiRedisSystem struct {
	redisSystem
	r      rueidis.Client
	names  map[string][]string
	remote *atomic.Uint64 // calls that went over the network, of those that may not
}

func apiWithRueidis(c *rediscluster.Cluster) (apiRedisSystem, func(), error) {
	r, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: c.Addrs, CacheSizeEachConn: nearBytes, BlockingPoolSize: apiCallers})
	if err != nil {
		return apiRedisSystem{}, nil, err
	}
	a := apiRedisSystem{r: r, names: map[string][]string{}, remote: new(atomic.Uint64)}
	for _, w := range apiRedis {
		a.names[w] = apiNames(w)
	}
	a.redisSystem = redisSystem{c, map[string]load.Call{
		"set": a.set, "txn_watch": a.watch, "txn_lua": a.lua, "lock_nx": a.lock,
		"near_warm": a.near, "near_zipf": zipfed(a.near, func(ctx context.Context, keys []string, value []byte) error {
			a.remote.Add(1)
			return a.set(ctx, keys, value)
		}),
	}}
	return a, r.Close, nil
}

func (a apiRedisSystem) fill(valueBytes int) error {
	names := numbered("near:%06d", keys)
	for _, tag := range apiNames("txn") {
		names = append(names, tag+"a", tag+"b")
	}
	return load.Fill(names, valueBytes, a.set)
}

func (a apiRedisSystem) run(c load.Cell) (load.Sample, error) {
	before := a.remote.Load()
	s := load.Run(c, a.names[c.Workload], shared(a.calls[c.Workload]))
	s.Network = a.remote.Load() - before
	return s, nil
}

func (a apiRedisSystem) set(ctx context.Context, keys []string, value []byte) error {
	return a.r.Do(ctx, a.r.B().Set().Key(keys[0]).Value(rueidis.BinaryString(value)).Build()).Error()
}

func (a apiRedisSystem) near(ctx context.Context, keys []string, _ []byte) error {
	res := a.r.DoCache(ctx, a.r.B().Get().Key(keys[0]).Cache(), clientTTL)
	if !res.IsCacheHit() {
		a.remote.Add(1)
	}
	_, err := res.AsBytes()
	return err
}

// watch reads two keys under WATCH and writes one in MULTI and EXEC, again
// where others wrote them meanwhile.
func (a apiRedisSystem) watch(ctx context.Context, keys []string, value []byte) error {
	first, second := keys[0]+"a", keys[0]+"b"
	for {
		err := a.r.Dedicated(func(d rueidis.DedicatedClient) error {
			for _, res := range d.DoMulti(ctx, d.B().Watch().Key(first, second).Build(), d.B().Mget().Key(first, second).Build()) {
				if err := res.Error(); err != nil {
					return err
				}
			}
			done := d.DoMulti(ctx, d.B().Multi().Build(), d.B().Set().Key(first).Value(rueidis.BinaryString(value)).Build(), d.B().Exec().Build())
			return done[2].Error()
		})
		if !errors.Is(err, rueidis.Nil) {
			return err
		}
	}
}

func (a apiRedisSystem) lua(ctx context.Context, keys []string, value []byte) error {
	return transferScript.Exec(ctx, a.r, []string{keys[0] + "a", keys[0] + "b"}, []string{rueidis.BinaryString(value)}).Error()
}

var lockTokens atomic.Uint64

// lock takes a lock by SET NX PX, trying again every millisecond, and frees it.
func (a apiRedisSystem) lock(ctx context.Context, keys []string, _ []byte) error {
	token := strconv.FormatUint(lockTokens.Add(1), 10)
	for {
		err := a.r.Do(ctx, a.r.B().Set().Key(keys[0]).Value(token).Nx().Px(10*time.Second).Build()).Error()
		if err == nil {
			break
		}
		if !errors.Is(err, rueidis.Nil) {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return releaseScript.Exec(ctx, a.r, keys[:1], []string{token}).Error()
}
