package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/store"
)

// API is a process with a node that is alone, and an engine beside it with the
// same records.
type API struct {
	cache  *slotmesh.Cache
	engine *engine
	keys   keyring
	trace  []uint32
}

// Open fills both.
func (a *API) Open(s Setup, _ *struct{}) (err error) {
	ctx := context.Background()
	r := room{entries: s.Entries, valueBytes: s.ValueBytes}
	limit := int64(r.roomy(60))
	a.cache, err = slotmesh.Open(ctx, slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithMaxMemory(max(limit, 64<<20)))
	if err != nil {
		return err
	}
	if err := a.cache.Ready(ctx); err != nil {
		return err
	}
	a.engine = newEngine(limit)
	a.keys = newKeyring(s.Entries)
	a.trace = zipf(1, s.Entries, accesses)
	w := a.engine.worker()
	value := make([]byte, s.ValueBytes)
	for i := range uint32(s.Entries) {
		w.set(a.keys.at(i), value)
		if err := a.cache.Set(ctx, a.keys.at(i), value); err != nil {
			return fmt.Errorf("set %d of %d: %w", i, s.Entries, err)
		}
	}
	return nil
}

// Close ends the node.
func (a *API) Close(struct{}, *struct{}) error { return a.cache.Close() }

// Reads is one way of reading for some time.
type Reads struct {
	Way        string
	Goroutines int
	For        time.Duration
}

// Cost is what one read took.
type Cost struct {
	Wall, CPU      float64 // nanoseconds
	Allocs, AllocB float64
}

// Read reads.
func (a *API) Read(r Reads, out *Cost) error {
	read, err := a.way(r.Way)
	if err != nil {
		return err
	}
	var ops, misses atomic.Int64
	var group sync.WaitGroup
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	used := cpu()
	start := time.Now()
	for id := range r.Goroutines {
		group.Go(func() {
			buf := make([]byte, 0, 4096)
			at := uint32(id) * (accesses / 8)
			for end := start.Add(r.For); time.Now().Before(end); ops.Add(1024) {
				for range 1024 {
					if !read(a.keys.at(a.trace[at%accesses]), buf) {
						misses.Add(1)
					}
					at++
				}
			}
		})
	}
	group.Wait()
	n := float64(ops.Load())
	out.Wall, out.CPU = float64(time.Since(start))/n, float64(cpu()-used)/n
	runtime.ReadMemStats(&after)
	out.Allocs, out.AllocB = float64(after.Mallocs-before.Mallocs)/n, float64(after.TotalAlloc-before.TotalAlloc)/n
	if misses.Load() > 0 {
		return fmt.Errorf("%d reads missed", misses.Load())
	}
	return nil
}

// ways in the order in which they are compared.
var ways = []string{"engine", "engine_alloc", "GetInto", "Get"}

func (a *API) way(name string) (func(key string, buf []byte) bool, error) {
	ctx := context.Background()
	switch name {
	case "engine": // into the caller's buffer
		return func(key string, buf []byte) bool {
			it, _ := a.engine.m.Get(buf, hashtag.Slot(key), 0, key, "", 0)
			return it.State == store.Found
		}, nil
	case "engine_alloc": // into a new slice, as Get has to
		return func(key string, _ []byte) bool {
			it, _ := a.engine.m.Get(nil, hashtag.Slot(key), 0, key, "", 0)
			return it.State == store.Found
		}, nil
	case "GetInto":
		return func(key string, buf []byte) bool {
			_, err := a.cache.GetInto(ctx, key, buf)
			return err == nil
		}, nil
	case "Get":
		return func(key string, _ []byte) bool {
			_, err := a.cache.Get(ctx, key)
			return err == nil
		}, nil
	}
	return nil, fmt.Errorf("no way %q", name)
}
