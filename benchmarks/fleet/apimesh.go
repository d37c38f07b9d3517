package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/golang/groupcache"
	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

// product is what typed values are.
type product struct {
	ID    int64
	Name  string
	Price float64
	Tags  []string
	Stock int
}

func someProduct(key string) product {
	return product{ID: 42, Name: "product " + key, Price: 19.99, Tags: []string{"lamp", "brass", "indoor"}, Stock: 7}
}

// apiLoad is what a replica needs for -api beyond its cache.
type apiLoad struct {
	once   sync.Once
	group  *groupcache.Group
	typed  *slotmesh.Typed[product]
	coded  []byte
	codec  slotmesh.Codec
	names  map[string][]string
	loader func(context.Context, string) ([]byte, error)
}

// open is called once a replica's cache is there.
func (a *apiLoad) open(c *slotmesh.Cache) {
	a.once.Do(func() {
		value := make([]byte, apiBytes)
		a.group = groupcache.NewGroup("bench", nearBytes, groupcache.GetterFunc(
			func(_ context.Context, _ string, dest groupcache.Sink) error { return dest.SetBytes(value) }))
		a.typed = slotmesh.For[product](c, "")
		a.codec = slotmesh.Msgpack()
		a.coded, _ = a.codec.Marshal(someProduct("typed:000000"))
		a.names = map[string][]string{}
		a.loader = func(context.Context, string) ([]byte, error) { return nil, errors.New("a hit was to be") }
	})
}

// FillAPI stores what the workloads of -api read.
func (l *Load) FillAPI(valueBytes int, _ *struct{}) error {
	l.api.open(l.cache())
	names := append(allNames(), apiNames("near_warm")...)
	names = append(names, numbered("near:%06d", keys)...)
	for _, tag := range apiNames("txn") {
		names = append(names, tag+"a", tag+"b")
	}
	if err := load.Fill(names, valueBytes, l.set); err != nil {
		return err
	}
	return load.Fill(apiNames("typed_get"), 0, func(ctx context.Context, keys []string, _ []byte) error {
		return l.api.typed.Set(ctx, keys[0], someProduct(keys[0]))
	})
}

// RunAPI runs one cell of -api.
func (l *Load) RunAPI(c load.Cell, s *load.Sample) error {
	l.api.open(l.cache())
	call, names := l.apiCall(c.Workload)
	if call == nil {
		return fmt.Errorf("no workload %q", c.Workload)
	}
	before := l.cache().Stats()
	*s = load.Run(c, names, shared(call))
	if after := l.cache().Stats(); c.Workload == "near_warm" || c.Workload == "near_zipf" {
		s.Network = s.Ops - (after.NearHits - before.NearHits)
	}
	return nil
}

func (l *Load) apiCall(workload string) (load.Call, []string) {
	c, a := l.cache(), &l.api
	names := a.names[workload]
	if names == nil {
		names = apiNames(workload)
		if workload == "get_local" || workload == "load_local" {
			view, local := c.Cluster(), names[:0]
			for _, name := range names {
				if owner, err := view.Owner(name); err == nil && owner.Self {
					local = append(local, name)
				}
			}
			names = local
		}
		a.names[workload] = names
	}
	getOrLoad := func(ctx context.Context, keys []string, _ []byte) error {
		_, err := c.GetOrLoad(ctx, keys[0], a.loader)
		return err
	}
	switch workload {
	case "txn":
		return l.transfer, names
	case "lock":
		return func(ctx context.Context, keys []string, _ []byte) error {
			lock, err := c.Lock(ctx, keys[0], 10*time.Second)
			if err != nil {
				return err
			}
			return lock.Unlock(ctx)
		}, names
	case "get", "get_local", "typed_raw", "near_warm":
		return l.get, names
	case "load", "load_local":
		return getOrLoad, names
	case "groupcache_hit":
		return func(ctx context.Context, keys []string, _ []byte) error {
			var value []byte
			return a.group.Get(ctx, keys[0], groupcache.AllocatingByteSliceSink(&value))
		}, names
	case "typed_get":
		return func(ctx context.Context, keys []string, _ []byte) error {
			_, err := a.typed.Get(ctx, keys[0])
			return err
		}, names
	case "codec":
		return func(context.Context, []string, []byte) error {
			var p product
			return a.codec.Unmarshal(a.coded, &p)
		}, names
	case "near_zipf":
		return zipfed(l.get, l.set), names
	}
	return nil, nil
}

// zipfed makes one of a hundred calls a set.
func zipfed(get, set load.Call) load.Call {
	return func(ctx context.Context, keys []string, value []byte) error {
		if rand.IntN(100) > 0 {
			return get(ctx, keys, value)
		}
		return set(ctx, keys, value)
	}
}

// transfer reads two keys of a tag and writes one.
func (l *Load) transfer(ctx context.Context, keys []string, value []byte) error {
	a, b := keys[0]+"a", keys[0]+"b"
	return l.cache().Txn(ctx, keys[0], func(tx *slotmesh.Tx) error {
		for _, r := range tx.GetMany(a, b) {
			if r.Err != nil {
				return r.Err
			}
		}
		return tx.Set(a, value)
	})
}
