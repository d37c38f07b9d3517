// Package load makes callers that call a system as fast as it answers, and
// measures them.
package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Cell is one workload to be run.
type Cell struct {
	Workload   string
	Callers    int
	ValueBytes int
	Batch      int // keys a call; 0 means one
	For        time.Duration
}

// Sample is what one run of a cell gave.
type Sample struct {
	Ops, Errors    uint64 // keys, where a call has several
	Network        uint64 // calls that left the process, where a system counts them
	Error          string // one of them
	Took           time.Duration
	P50, P99, P999 float64 // microseconds, of calls
}

// Call makes one call for the keys of a batch, which it may keep only until it
// returns. It is for many goroutines.
type Call func(ctx context.Context, keys []string, value []byte) error

// Run makes the calls of a cell on keys from a list. Each caller has a call of
// its own, made by new.
func Run(c Cell, names []string, new func() Call) Sample {
	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex // guards s and all
	var s Sample
	var all Latencies
	batch := max(c.Batch, 1)
	began := time.Now()
	for range c.Callers {
		wg.Go(func() { // ends soon after stop
			var own Latencies
			var ops, failed uint64
			var last error
			value, keys := make([]byte, c.ValueBytes), make([]string, batch)
			ctx, call := context.Background(), new()
			for !stop.Load() {
				for i := range keys {
					keys[i] = names[rand.IntN(len(names))]
				}
				from := time.Now()
				if err := call(ctx, keys, value); err != nil {
					failed, last = failed+uint64(batch), err
				}
				own.Add(time.Since(from))
				ops += uint64(batch)
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(&own)
			s.Ops += ops
			s.Errors += failed
			if last != nil {
				s.Error = last.Error()
			}
		})
	}
	time.Sleep(c.For)
	stop.Store(true)
	wg.Wait()
	s.Took = time.Since(began)
	s.P50, s.P99, s.P999 = all.Quantile(0.5), all.Quantile(0.99), all.Quantile(0.999)
	return s
}

const (
	opTimeout = 5 * time.Second
	// fillAttempts of one write; a system that cannot be filled shows in errors.
	fillAttempts = 5
)

// Fill stores all keys and returns the last error, after which the write was
// tried again.
func Fill(names []string, valueBytes int, set Call) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range 64 {
		wg.Go(func() { // ends at the last key
			value := make([]byte, valueBytes)
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				for range fillAttempts {
					ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
					err := set(ctx, names[i:i+1], value)
					cancel()
					if err == nil {
						break
					}
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
