package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

// ledger remembers of each key what was acknowledged last. A key has one writer,
// who numbers its writes.
type ledger struct{ cells []cell }

type cell struct {
	mu    sync.Mutex // guards below; held during a write of the key
	acked uint64     // number of the last acknowledged write
	tried uint64     // number of the last write
}

const keyCount = 2000

func newLedger() *ledger { return &ledger{cells: make([]cell, keyCount)} }

func key(i int) string { return fmt.Sprint("kept:", i) }

// write writes the next number to key i.
func (l *ledger) write(ctx context.Context, c *slotmesh.Cache, i int) error {
	k := &l.cells[i]
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried++
	value := bytes.Repeat([]byte{byte(k.tried)}, 200)
	binary.BigEndian.PutUint64(value, k.tried)
	err := c.Set(ctx, key(i), value)
	if err == nil {
		k.acked = k.tried
	}
	return err
}

// verify reads all keys at every replica, and counts those that show less than
// was acknowledged or something that was never written.
func (l *ledger) verify(s *soak) (lost int) {
	for i := range l.cells {
		k := &l.cells[i]
		for _, c := range s.caches {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			value, err := c.Get(ctx, key(i))
			cancel()
			switch n := uint64(0); {
			case errors.Is(err, slotmesh.ErrNotFound):
				if k.acked > 0 {
					lost++
				}
			case err != nil:
				s.fault("read of %s: %v", key(i), err)
				lost++
			default:
				if n = binary.BigEndian.Uint64(value); n < k.acked || n > k.tried {
					lost++
				}
			}
		}
	}
	return lost
}

type pace time.Duration

const (
	fullRate pace = 0
	paced    pace = pace(4 * time.Millisecond)
)

type outcome struct {
	calls, acked, failed, noMemory int
	lastErr                        string
	lat                            load.Latencies
	length                         time.Duration
}

func (o *outcome) p99() float64 { return o.lat.Quantile(0.99) }

func (o *outcome) print(stage string, more map[string]any) {
	line := map[string]any{
		"stage": stage, "calls": o.calls, "calls_per_s": int(float64(o.calls) / o.length.Seconds()), "acked_writes": o.acked,
		"failed": o.failed, "no_memory": o.noMemory, "p50_us": o.lat.Quantile(0.5), "p99_us": o.p99(),
	}
	if o.lastErr != "" {
		line["last_error"] = o.lastErr
	}
	for k, v := range more {
		line[k] = v
	}
	print(line)
}

// load makes calls of all kinds for some time. At full rate it also fills the
// replicas' memory with values nobody wants back.
func (s *soak) load(keys *ledger, length time.Duration, workers int, p pace) *outcome {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	total := &outcome{length: length}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for r, c := range s.caches {
		for w := range workers {
			wg.Go(func() {
				var o outcome
				rng := rand.New(rand.NewPCG(uint64(r), uint64(w)))
				for ctx.Err() == nil {
					began := time.Now()
					wrote, err := oneCall(c, keys, rng, p == fullRate)
					o.lat.Add(time.Since(began))
					o.calls++
					switch {
					case err == nil:
						if wrote {
							o.acked++
						}
					case errors.Is(err, slotmesh.ErrNoMemory):
						o.noMemory++
					default:
						o.failed++
						o.lastErr = err.Error()
					}
					if p > 0 {
						time.Sleep(time.Duration(p))
					}
				}
				mu.Lock()
				defer mu.Unlock()
				total.calls += o.calls
				total.acked += o.acked
				total.failed += o.failed
				total.noMemory += o.noMemory
				total.lat.Merge(&o.lat)
				if o.lastErr != "" {
					total.lastErr = o.lastErr
				}
			})
		}
	}
	wg.Wait()
	return total
}

func oneCall(c *slotmesh.Cache, keys *ledger, rng *rand.Rand, fill bool) (wrote bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	i := rng.IntN(keyCount)
	switch n := rng.IntN(100); {
	case n < 30:
		return true, keys.write(ctx, c, i)
	case n < 35 && fill:
		return false, c.Set(ctx, fmt.Sprint("filler:", rng.IntN(100_000)), make([]byte, 4<<10), slotmesh.TTL(3*time.Second))
	case n < 40:
		_, err = c.Incr(ctx, fmt.Sprint("count:", i%50), 1)
	case n < 45:
		for _, r := range c.GetMany(ctx, []string{key(i), key((i + 1) % keyCount), key((i + 2) % keyCount)}) {
			if r.Err != nil && !errors.Is(r.Err, slotmesh.ErrNotFound) {
				err = r.Err
			}
		}
	case n < 46:
		_, err = c.Delete(ctx, fmt.Sprint("filler:", rng.IntN(100_000)))
	default:
		if _, err = c.Get(ctx, key(i)); errors.Is(err, slotmesh.ErrNotFound) {
			err = nil
		}
	}
	return false, err
}
