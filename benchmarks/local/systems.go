package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/allegro/bigcache/v3"
	"github.com/coocood/freecache"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/store"
)

// cache is a system under test.
type cache interface {
	// worker returns what one goroutine uses.
	worker() worker
	close()
}

type worker interface {
	// get returns the value, which may lie in buf.
	get(key string, buf []byte) ([]byte, bool)
	// set stores a copy of value.
	set(key string, value []byte)
}

// room says what a system has to hold.
type room struct {
	entries    int
	valueBytes int
	// tight: the system may hold so many entries and no more. Otherwise it has
	// half as much again as it needs, so that nothing is evicted.
	tight bool
}

func (r room) bytes() int { return r.entries * (keyBytes + r.valueBytes) }

// open opens a system by name.
func open(system string, r room) (cache, error) {
	switch system {
	case "slotmesh":
		return openEngine(r)
	case "fastcache":
		return fast{fastcache.New(r.roomy(16))}, nil
	case "freecache":
		return free{freecache.NewCache(r.roomy(32))}, nil
	case "bigcache":
		return openBig(r)
	case "otter":
		return openOtter(r)
	case "ristretto":
		return openRistretto(r)
	case "map":
		return newSharded(), nil
	}
	return nil, fmt.Errorf("no system %q", system)
}

// roomy is the byte limit for a system that counts its overhead.
func (r room) roomy(overhead int) int {
	if r.tight {
		return r.bytes()
	}
	return r.entries * (keyBytes + r.valueBytes + overhead) * 3 / 2
}

// engine is slotmesh's store, addressed by key: the slot is computed for each
// access, and each slot counts its versions, as a node does.
type engine struct {
	m        *store.Memory
	versions [store.Slots]atomic.Uint64
}

func openEngine(r room) (cache, error) {
	limit := int64(r.roomy(40))
	if r.tight {
		limit = fit(r)
	}
	return newEngine(limit), nil
}

func newEngine(limit int64) *engine {
	return &engine{m: store.NewMemory(store.MemoryOptions{Limit: limit})}
}

// fit finds the limit at which the engine, in use for a while, holds the
// entries and no more. It counts all its overhead against the limit, and keeps
// some room to compact in, which peers do not.
func fit(r room) int64 {
	limit := int64(r.bytes()) * 3 / 2
	for range 3 {
		e := newEngine(limit)
		w := e.worker()
		value := make([]byte, r.valueBytes)
		held, looks := 0, 0
		for i := range 4 * r.entries {
			w.set(freshKey(i), value)
			if i >= 2*r.entries && i%(r.entries/8) == 0 {
				held += e.m.Stats().Records
				looks++
			}
		}
		limit = limit * int64(r.entries) / int64(held/looks)
		e.close()
	}
	return limit
}

func (e *engine) close()         { _ = e.m.Close() }
func (e *engine) worker() worker { return &engineWorker{engine: e, recs: make([]store.Record, 1)} }

type engineWorker struct {
	*engine
	recs    []store.Record
	victims []store.Candidate
}

func (w *engineWorker) get(key string, buf []byte) ([]byte, bool) {
	it, _ := w.m.Get(buf[:0], hashtag.Slot(key), 0, key, "", 0)
	return it.Value, it.State == store.Found
}

func (w *engineWorker) set(key string, value []byte) {
	slot := hashtag.Slot(key)
	w.recs[0] = store.Record{Key: key, Value: value, Version: w.versions[slot].Add(1)}
	for errors.Is(w.m.Apply(slot, w.recs), store.ErrNoMemory) {
		w.evict()
	}
}

// evict deletes some victims, as a node with nobody to tell does.
func (w *engineWorker) evict() {
	w.victims = w.m.Victims(w.victims[:0], 64, nil)
	for i := range w.victims {
		v := &w.victims[i]
		at := w.versions[v.Slot].Add(1)
		_ = w.m.Apply(v.Slot, []store.Record{{Kind: v.Kind, Key: v.Key, Field: v.Field, Tombstone: true, Version: at}})
		_ = w.m.Purge(v.Slot, at)
	}
}

// raw is key's bytes, which nobody may change.
func raw(key string) []byte { return unsafe.Slice(unsafe.StringData(key), len(key)) }

type fast struct{ c *fastcache.Cache }

func (f fast) worker() worker               { return f }
func (f fast) close()                       { f.c.Reset() }
func (f fast) set(key string, value []byte) { f.c.Set(raw(key), value) }
func (f fast) get(key string, buf []byte) ([]byte, bool) {
	return f.c.HasGet(buf[:0], raw(key))
}

type free struct{ c *freecache.Cache }

func (f free) worker() worker               { return f }
func (f free) close()                       { f.c.Clear() }
func (f free) set(key string, value []byte) { _ = f.c.Set(raw(key), value, 0) }
func (f free) get(key string, buf []byte) ([]byte, bool) {
	v, err := f.c.GetWithBuf(raw(key), buf)
	return v, err == nil
}

type big struct{ c *bigcache.BigCache }

func openBig(r room) (cache, error) {
	cfg := bigcache.DefaultConfig(time.Hour)
	cfg.CleanWindow = 0
	cfg.Verbose = false
	cfg.MaxEntriesInWindow = r.entries
	cfg.MaxEntrySize = keyBytes + r.valueBytes + 18
	cfg.HardMaxCacheSize = max(1, r.roomy(32)>>20)
	if r.tight {
		cfg.Shards = 64 // of at least some hundred entries
	}
	c, err := bigcache.NewBigCache(cfg)
	return big{c}, err
}

func (b big) worker() worker               { return b }
func (b big) close()                       { _ = b.c.Close() }
func (b big) set(key string, value []byte) { _ = b.c.Set(key, value) }
func (b big) get(key string, _ []byte) ([]byte, bool) {
	v, err := b.c.Get(key)
	return v, err == nil
}

type ottered struct{ c *otter.Cache[string, []byte] }

func openOtter(r room) (cache, error) {
	n := r.entries
	if !r.tight {
		n += n / 2
	}
	c, err := otter.New(&otter.Options[string, []byte]{MaximumSize: n})
	return ottered{c}, err
}

func (o ottered) worker() worker { return o }
func (o ottered) close()         { o.c.StopAllGoroutines() }
func (o ottered) set(key string, value []byte) {
	o.c.Set(key, append([]byte(nil), value...))
}
func (o ottered) get(key string, _ []byte) ([]byte, bool) { return o.c.GetIfPresent(key) }

type ristrettoed struct {
	c *ristretto.Cache[string, []byte]
}

func openRistretto(r room) (cache, error) {
	n := int64(r.entries)
	if !r.tight {
		n += n / 2
	}
	c, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters: 10 * n, MaxCost: n, BufferItems: 64, IgnoreInternalCost: true,
	})
	return ristrettoed{c}, err
}

func (r ristrettoed) worker() worker { return r }
func (r ristrettoed) close()         { r.c.Close() }
func (r ristrettoed) set(key string, value []byte) {
	r.c.Set(key, append([]byte(nil), value...), 1)
}
func (r ristrettoed) get(key string, _ []byte) ([]byte, bool) { return r.c.Get(key) }

// sharded is what people write themselves.
type sharded [256]struct {
	mu sync.RWMutex
	m  map[string][]byte
	_  [32]byte
}

func newSharded() *sharded {
	s := new(sharded)
	for i := range s {
		s[i].m = map[string][]byte{}
	}
	return s
}

func (s *sharded) worker() worker { return s }
func (s *sharded) close()         {}

func (s *sharded) set(key string, value []byte) {
	sh := &s[uint8(store.Hash(0, key, ""))]
	v := append([]byte(nil), value...)
	sh.mu.Lock()
	if _, ok := sh.m[key]; !ok {
		key = strings.Clone(key)
	}
	sh.m[key] = v
	sh.mu.Unlock()
}

func (s *sharded) get(key string, _ []byte) ([]byte, bool) {
	sh := &s[uint8(store.Hash(0, key, ""))]
	sh.mu.RLock()
	v, ok := sh.m[key]
	sh.mu.RUnlock()
	return v, ok
}
