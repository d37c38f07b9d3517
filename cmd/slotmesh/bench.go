package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// load is what bench does.
type load struct {
	duration  time.Duration
	callers   int
	keys      int
	valueSize int
	reads     float64
}

// benchPrefix begins the keys that bench writes, so that they can be removed.
// They expire by themselves where it dies.
const (
	benchPrefix = "slotmesh-bench:"
	benchTTL    = 15 * time.Minute
)

func (a *app) benchCmd() *cobra.Command {
	var l load
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a load on the cluster and measure it",
		Long: `Put a load on the cluster and measure it from here: every call goes over the
network. The keys begin with "` + benchPrefix + `", are removed at the end and expire by
themselves. On a cluster in use it takes memory and time from others, so it asks.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case l.duration <= 0 || l.duration > benchTTL-time.Minute:
				return usagef("--duration %v: want up to %v", l.duration, benchTTL-time.Minute)
			case l.callers < 1 || l.callers > 4096:
				return usagef("--callers %d: want 1 to 4096", l.callers)
			case l.keys < 1 || l.keys > 10_000_000:
				return usagef("--keys %d: want 1 to 10000000", l.keys)
			case l.valueSize < 0 || l.valueSize > 1<<20:
				return usagef("--value-size %d: want 0 to 1048576", l.valueSize)
			case l.reads < 0 || l.reads > 1:
				return usagef("--reads %v: want 0 to 1", l.reads)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				err := a.confirm(ctx, fmt.Sprintf("This puts full load on cluster %s for %v and fills up to %s.",
					a.cluster, l.duration, size(int64(l.keys)*int64(l.valueSize+64)*2)))
				if err != nil {
					return err
				}
				return a.bench(ctx, c, l)
			})
		},
	}
	f := cmd.Flags()
	f.DurationVar(&l.duration, "duration", 10*time.Second, "how long")
	f.IntVar(&l.callers, "callers", 64, "calls at once")
	f.IntVar(&l.keys, "keys", 10_000, "different keys")
	f.IntVar(&l.valueSize, "value-size", 100, "bytes of a value")
	f.Float64Var(&l.reads, "reads", 0.9, "share of reads among the calls")
	return cmd
}

// figures are what bench found for one kind of call.
type figures struct {
	Calls  int64   `json:"calls"`
	Rate   float64 `json:"calls_per_second"`
	Errors int64   `json:"errors"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p999_us"`
	Max    float64 `json:"max_us"`
}

func (a *app) bench(ctx context.Context, c *slotmesh.Cache, l load) (err error) {
	value := make([]byte, l.valueSize)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	defer func() {
		p := a.progress("bench keys removed", 0)
		// Also after an interrupt: they are nobody else's.
		_, left := c.DeletePrefix(context.WithoutCancel(ctx), benchPrefix, func(n int) { p.at(int64(n)) })
		p.end()
		err = errors.Join(err, left)
	}()
	if err := a.benchFill(ctx, c, l, value); err != nil {
		return err
	}
	var gets, sets latencies
	var failed [2]atomic.Int64
	var first atomic.Pointer[error]
	run, cancel := context.WithTimeout(ctx, l.duration)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for range l.callers {
		wg.Go(func() { // until run ends
			buf := make([]byte, 0, l.valueSize)
			for run.Err() == nil {
				key := benchKey(rand.IntN(l.keys))
				at := time.Now()
				var err error
				kind, lat := 0, &gets
				if rand.Float64() < l.reads {
					_, err = c.GetInto(ctx, key, buf)
				} else {
					kind, lat = 1, &sets
					err = c.Set(ctx, key, value, slotmesh.TTL(benchTTL))
				}
				lat.add(time.Since(at))
				if err != nil && ctx.Err() == nil {
					failed[kind].Add(1)
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	a.benchProgress(run, began, l.duration)
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	took := time.Since(began)
	result := map[string]figures{"get": gets.figures(took, failed[0].Load()), "set": sets.figures(took, failed[1].Load())}
	if err := a.show(result, func(w io.Writer) { benchTable(w, result) }); err != nil {
		return err
	}
	if e := first.Load(); e != nil {
		return fmt.Errorf("%d calls failed, the first: %w", failed[0].Load()+failed[1].Load(), *e)
	}
	return nil
}

func benchKey(i int) string { return fmt.Sprint(benchPrefix, i) }

// benchFill stores every key once.
func (a *app) benchFill(ctx context.Context, c *slotmesh.Cache, l load, value []byte) error {
	const batch = 500
	p := a.progress("keys stored", int64(l.keys))
	defer p.end()
	for from := 0; from < l.keys; from += batch {
		b := c.Batch()
		for i := from; i < min(from+batch, l.keys); i++ {
			b.Set(benchKey(i), value, slotmesh.TTL(benchTTL))
		}
		if err := b.Do(ctx); err != nil {
			return fmt.Errorf("store keys: %w", err)
		}
		p.at(int64(min(from+batch, l.keys)))
	}
	return nil
}

// benchProgress shows the time go by until run ends.
func (a *app) benchProgress(run context.Context, began time.Time, whole time.Duration) {
	p := a.progress("ms measured", whole.Milliseconds())
	defer p.end()
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.at(min(time.Since(began), whole).Milliseconds())
		case <-run.Done():
			return
		}
	}
}

func benchTable(w io.Writer, result map[string]figures) {
	row(w, "CALL", "CALLS", "CALLS/S", "P50", "P99", "P99.9", "MAX", "ERRORS")
	for _, kind := range []string{"get", "set"} {
		f := result[kind]
		us := func(v float64) string { return time.Duration(v * 1000).Round(time.Microsecond).String() }
		row(w, kind, count(f.Calls), count(int64(f.Rate)), us(f.P50), us(f.P99), us(f.P999), us(f.Max), f.Errors)
	}
}
