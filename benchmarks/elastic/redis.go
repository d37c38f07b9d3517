package main

import (
	"context"
	"time"

	"github.com/redis/rueidis"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

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

// peer is a Redis Cluster that is being started.
type peer struct {
	started chan struct{}
	cluster *rediscluster.Cluster
	err     error
}

func startRedis() *peer {
	p := &peer{started: make(chan struct{})}
	go func() {
		defer close(p.started)
		p.cluster, p.err = rediscluster.Start()
	}()
	return p
}

func (p *peer) ready() error {
	<-p.started
	return p.err
}

func (p *peer) stop() {
	if p.ready() == nil {
		p.cluster.Stop()
	}
}

// run adds a fourth primary, without a replica of its own, to three that have
// one, and rebalances. What moves is counted as one copy: Redis tells of no
// bytes, so a quarter of the data is taken for it.
func (p *peer) run(s scenario, keys int, t times) (line, error) {
	l := line{System: "redis", Scenario: s.name}
	cluster := p.cluster
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: cluster.Addrs, DisableCache: true})
	if err != nil {
		return l, err
	}
	defer client.Close()
	r := newRun(redisSystem{client}, keys, valueBytes)
	if err := r.fill(); err != nil {
		return l, err
	}
	r.begin(0)
	time.Sleep(t.probe)
	full := r.end()
	rate := float64(full.Ops) / full.Took.Seconds() / 2
	r.begin(rate)
	time.Sleep(t.quiet)
	quiet := r.end()
	begun := time.Now()
	r.begin(rate)
	err = cluster.Grow(changeTime)
	l.Seconds = time.Since(begun).Seconds()
	l.take(quiet, r.end())
	l.Minimum = uint64(keys) * recordBytes(valueBytes) / 4
	l.Moved = l.Minimum
	lost, lostErr := r.lost()
	l.Lost = lost
	if err == nil {
		err = lostErr
	}
	return l, err
}
