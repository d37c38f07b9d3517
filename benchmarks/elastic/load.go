package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

const (
	callers    = 64
	valueBytes = 100
	opTimeout  = 5 * time.Second
	// recordOverhead is what Stats().BytesCopied counts for a record beside key
	// and value.
	recordOverhead = 64
)

// system is what the load is put on.
type system interface {
	Set(ctx context.Context, key string, value []byte) error
	// Get returns nil for a key that is not there.
	Get(ctx context.Context, key string) ([]byte, error)
}

type cacheSystem struct{ c *slotmesh.Cache }

func (s cacheSystem) Set(ctx context.Context, key string, value []byte) error {
	return s.c.Set(ctx, key, value)
}

func (s cacheSystem) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.c.Get(ctx, key)
	if errors.Is(err, slotmesh.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Report is what callers saw in a while.
type Report struct {
	Ops, Errors, Reads, Hits int
	Error                    string // one of them
	P99, P999                float64
	Longest                  time.Duration
	Written                  int // keys written at least once
	Took                     time.Duration
}

// Load is the callers. Each key is written by one caller alone, with rising
// numbers, so that its newest acknowledged write is known.
type Load struct {
	cache func() *slotmesh.Cache
	run   *run
}

type run struct {
	sys   system
	names []string
	size  int             // bytes of a value
	acked []atomic.Uint64 // by key: number of its newest acknowledged write

	stop  atomic.Bool
	wg    sync.WaitGroup
	began time.Time

	mu      sync.Mutex // guards all below
	report  Report
	took    load.Latencies
	written map[int]bool
}

func names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("key-%08d", i)
	}
	return names
}

// recordBytes is what one record counts in Stats().BytesCopied.
func recordBytes(size int) uint64 { return uint64(len("key-00000000") + size + recordOverhead) }

func (r *run) value(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, r.size), number)[:r.size]
}

func newRun(sys system, keys, size int) *run {
	return &run{sys: sys, names: names(keys), size: size, acked: make([]atomic.Uint64, keys)}
}

// fill writes all keys once.
func (r *run) fill() error {
	err := load.Fill(r.names, r.size, func(ctx context.Context, keys []string, _ []byte) error {
		return r.sys.Set(ctx, keys[0], r.value(1))
	})
	for i := range r.acked {
		r.acked[i].Store(1)
	}
	return err
}

// begin starts the callers at a rate, calls a second together; 0: as fast as
// they are answered.
func (r *run) begin(rate float64) {
	r.stop.Store(false)
	r.report, r.took, r.written, r.began = Report{}, load.Latencies{}, map[int]bool{}, time.Now()
	for c := range callers {
		r.wg.Go(func() { r.call(c, rate) }) // ends soon after stop
	}
}

// end stops them and says what they saw.
func (r *run) end() Report {
	took := time.Since(r.began)
	r.stop.Store(true)
	r.wg.Wait()
	r.report.Took, r.report.Written = took, len(r.written)
	r.report.P99, r.report.P999 = r.took.Quantile(0.99), r.took.Quantile(0.999)
	return r.report
}

func (r *run) call(c int, rate float64) {
	var own Report
	var took load.Latencies
	written := map[int]bool{}
	next := time.Now()
	for !r.stop.Load() {
		if rate > 0 {
			next = next.Add(time.Duration(callers / rate * float64(time.Second)))
			time.Sleep(time.Until(next))
			if time.Since(next) > time.Second { // what was missed is not made up for
				next = time.Now()
			}
		}
		k := rand.IntN(len(r.names)/callers)*callers + c
		write := rand.IntN(2) == 0
		ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
		from := time.Now()
		var err error
		number := r.acked[k].Load()
		if write {
			if err = r.sys.Set(ctx, r.names[k], r.value(number+1)); err == nil {
				r.acked[k].Store(number + 1)
				written[k] = true
			}
		} else {
			var got []byte
			got, err = r.sys.Get(ctx, r.names[k])
			own.Reads++
			if len(got) == r.size && binary.BigEndian.Uint64(got) >= number {
				own.Hits++
			}
		}
		d := time.Since(from)
		cancel()
		took.Add(d)
		own.Ops++
		own.Longest = max(own.Longest, d)
		if err != nil {
			own.Errors++
			own.Error = err.Error()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took.Merge(&took)
	r.report.Ops += own.Ops
	r.report.Errors += own.Errors
	r.report.Reads += own.Reads
	r.report.Hits += own.Hits
	r.report.Longest = max(r.report.Longest, own.Longest)
	if own.Error != "" {
		r.report.Error = own.Error
	}
	for k := range written {
		r.written[k] = true
	}
}

// lost reads all keys and counts those whose newest acknowledged write is gone.
func (r *run) lost() (int, error) {
	var lost atomic.Int64
	var failed atomic.Pointer[error]
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { // ends at the last key
			for k := int(next.Add(1)) - 1; k < len(r.names); k = int(next.Add(1)) - 1 {
				ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
				got, err := r.sys.Get(ctx, r.names[k])
				cancel()
				switch {
				case err != nil:
					failed.Store(&err)
				case len(got) != r.size || binary.BigEndian.Uint64(got) < r.acked[k].Load():
					lost.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return int(lost.Load()), fmt.Errorf("verify: %w", *err)
	}
	return int(lost.Load()), nil
}

// FillArgs says how many keys to write, with values of how many bytes.
type FillArgs struct{ Keys, Size int }

// Fill writes keys.
func (l *Load) Fill(a FillArgs, _ *struct{}) error {
	l.run = newRun(cacheSystem{l.cache()}, a.Keys, a.Size)
	return l.run.fill()
}

// Begin starts the callers at a rate.
func (l *Load) Begin(rate float64, _ *struct{}) error {
	l.run.begin(rate)
	return nil
}

// End stops them.
func (l *Load) End(_ struct{}, r *Report) error {
	*r = l.run.end()
	return nil
}

// Lost counts the keys whose newest acknowledged write is gone.
func (l *Load) Lost(_ struct{}, lost *int) (err error) {
	*lost, err = l.run.lost()
	return err
}
