package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/rueidis"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
	"github.com/slotmesh/slotmesh/hashtag"
)

// redisSystem puts the load on a Redis Cluster.
type redisSystem struct{ c rueidis.Client }

func (s redisSystem) Set(ctx context.Context, key string, value []byte) error {
	return s.c.Do(ctx, s.c.B().Set().Key(key).Value(rueidis.BinaryString(value)).Build()).Error()
}

func (s redisSystem) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.c.Do(ctx, s.c.B().Get().Key(key).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

// firstPrimarySlots is the share of the first server of three, as redis-cli
// deals them out.
const firstPrimarySlots = 5461

// runRedis lets a fresh Redis Cluster suffer the fault once. The callers are in
// this process; all of them outlive the fault.
func runRedis(ft fault) (result, error) {
	r := result{errors: map[string]int{}}
	cluster, err := rediscluster.Start()
	if err != nil {
		return r, err
	}
	defer cluster.Stop()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: cluster.Addrs, DisableCache: true})
	if err != nil {
		return r, err
	}
	defer client.Close()

	var keys []string
	for i := 0; len(keys) < (callers-bystanders)*callerKeys; i++ {
		if key := fmt.Sprint("key", i); hashtag.Slot(key) < firstPrimarySlots {
			keys = append(keys, key)
		}
	}
	affected := len(keys)
	for i := range bystanders * callerKeys {
		keys = append(keys, fmt.Sprint("any", i))
	}
	path, err := createFloors(len(keys))
	if err != nil {
		return r, err
	}
	defer os.Remove(path)
	alone := fault{replicas: 1}
	l, err := begin(share(alone, Spec{Keys: keys, Floors: path, Readers: 2}, affected)[0], redisSystem{client})
	if err != nil {
		return r, err
	}
	time.Sleep(warmUp)
	l.mark()
	err = strikeRedis(ft, cluster)
	time.Sleep(aftermath)
	r.add(l.end())
	lost, lostErr := l.lost()
	r.lost = lost
	return r, errors.Join(err, lostErr)
}

// strikeRedis does to the first primary what the fault does to a replica.
func strikeRedis(ft fault, c *rediscluster.Cluster) error {
	switch ft.name {
	case "kill_primary":
		c.Servers[0].Kill()
		return c.AwaitTakeover()
	case "pause_primary":
		if err := c.Servers[0].Pause(); err != nil {
			return err
		}
		err := c.AwaitTakeover()
		time.Sleep(staleWindow)
		return errors.Join(err, c.Servers[0].Resume())
	}
	return fmt.Errorf("no %s for Redis", ft.name)
}
