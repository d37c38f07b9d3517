package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keys      = 20000
	opTimeout = 5 * time.Second
	// fillAttempts of one write; a system that cannot be filled shows in errors.
	fillAttempts = 5
)

func keyName(i int) string { return fmt.Sprintf("bench:%08d", i) }

// client is one way to call a system. Its functions are for many goroutines.
type client struct {
	get, set func(ctx context.Context, key string, value []byte) error
}

// Cell is one workload to be run.
type Cell struct {
	Workload   string // "get", "get_remote", "set", "set_wait" or "mix"
	Callers    int
	ValueBytes int
	For        time.Duration
}

// Sample is what one run of a cell gave.
type Sample struct {
	Ops, Errors    uint64
	Error          string // one of them
	Took           time.Duration
	P50, P99, P999 float64 // microseconds
}

// run makes the calls of a cell, on keys from a list.
func run(c Cell, cl client, names []string) Sample {
	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex // guards s and all
	var s Sample
	var all latencies
	began := time.Now()
	for range c.Callers {
		wg.Go(func() { // ends soon after stop
			var own latencies
			var ops, failed uint64
			var last error
			value := make([]byte, c.ValueBytes)
			ctx := context.Background()
			for !stop.Load() {
				call := cl.set
				switch c.Workload {
				case "get", "get_remote":
					call = cl.get
				case "mix":
					if rand.IntN(10) > 0 {
						call = cl.get
					}
				}
				from := time.Now()
				if err := call(ctx, names[rand.IntN(len(names))], value); err != nil {
					failed, last = failed+1, err
				}
				own.add(time.Since(from))
				ops++
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(&own)
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
	s.P50, s.P99, s.P999 = all.quantile(0.5), all.quantile(0.99), all.quantile(0.999)
	return s
}

// fill stores all keys.
func fill(cl client, valueBytes int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range 64 {
		wg.Go(func() { // ends at the last key
			value := make([]byte, valueBytes)
			for i := int(next.Add(1)) - 1; i < keys; i = int(next.Add(1)) - 1 {
				for range fillAttempts {
					ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
					err := cl.set(ctx, keyName(i), value)
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
	if err := failed.Load(); err != nil { // a finding, and no reason to measure nothing
		fmt.Fprintf(os.Stderr, "fill: some writes had to be repeated, such as one with: %v\n", *err)
	}
	return nil
}

func allNames() []string {
	names := make([]string, keys)
	for i := range names {
		names[i] = keyName(i)
	}
	return names
}
