package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	keys      = 8000
	valueSize = 512
	workers   = 8
	pace      = 8 * time.Millisecond // of one worker: some 1000 calls a second in all
)

// load reads and writes through the fleet and knows what must be there. Each key
// belongs to one worker, so that the last acknowledged write is known.
type load struct {
	fleet *fleet
	end   chan struct{}
	wg    sync.WaitGroup
	known []known // by key; each used by one worker at a time

	mu  sync.Mutex // guards sum
	sum tally
}

// known is what is known of a key: the number of the write that was seen or
// acknowledged last, and of the last that was tried.
type known struct{ acked, tried uint64 }

// tally counts calls and what was wrong with them.
type tally struct {
	reads, hits, writes, errors int
	lost                        int // reads that showed less than was acknowledged
	took                        []time.Duration
	firstError                  error
}

func newLoad(f *fleet) *load {
	return &load{fleet: f, end: make(chan struct{}), known: make([]known, keys)}
}

func keyName(i int) string { return fmt.Sprintf("user:%d", i) }

func (l *load) add(f func(t *tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.sum)
}

// call runs one call through any replica that serves.
func (l *load) call(ctx context.Context, method string, args, reply any) error {
	r, done := l.fleet.pick()
	defer done()
	began := time.Now()
	err := r.call(ctx, method, args, reply)
	l.add(func(t *tally) {
		t.took = append(t.took, time.Since(began))
		if err != nil {
			t.errors++
			if t.firstError == nil {
				t.firstError = fmt.Errorf("%s through %s: %w", method, r.name, err)
			}
		}
	})
	return err
}

func (l *load) write(ctx context.Context, i int) error {
	k := &l.known[i]
	k.tried++
	value := make([]byte, valueSize)
	binary.BigEndian.PutUint64(value, k.tried)
	err := l.call(ctx, "Set", Record{keyName(i), value}, &struct{}{})
	if err == nil {
		k.acked = k.tried
	}
	l.add(func(t *tally) { t.writes++ })
	return err
}

func (l *load) read(ctx context.Context, i int) error {
	var value []byte
	err := l.call(ctx, "Get", keyName(i), &value)
	l.add(func(t *tally) { t.reads++ })
	if err != nil {
		return err
	}
	hit, lost := l.known[i].see(value)
	l.add(func(t *tally) {
		if hit {
			t.hits++
		}
		if lost {
			t.lost++
		}
	})
	return nil
}

// see judges what a read showed. A write that failed may have happened; once it
// was seen it must not go away.
func (k *known) see(value []byte) (hit, lost bool) {
	if len(value) != valueSize {
		return false, k.acked > 0
	}
	n := binary.BigEndian.Uint64(value)
	if n < k.acked || n > k.tried {
		return true, true
	}
	k.acked = n
	return true, false
}

// each runs f for every key, those of each worker one after another.
func (l *load) each(ctx context.Context, f func(ctx context.Context, i int) error) error {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { // ends after its last key
			for i := w; i < keys && errs[w] == nil; i += workers {
				errs[w] = f(ctx, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *load) fill(ctx context.Context) error    { return l.each(ctx, l.write) }
func (l *load) readAll(ctx context.Context) error { return l.each(ctx, l.read) }

// start begins the load, which stop ends.
func (l *load) start() {
	for w := range workers {
		l.wg.Go(func() { // ends by stop
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-l.end:
					return
				}
				i := w + workers*rand.IntN(keys/workers)
				// A call that is under way when stop is called is finished, and
				// what goes wrong is in the tally.
				if rand.IntN(4) == 0 {
					_ = l.write(context.Background(), i)
				} else {
					_ = l.read(context.Background(), i)
				}
			}
		})
	}
}

func (l *load) stop() {
	close(l.end)
	l.wg.Wait()
}

func (l *load) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sum
	t.took = slices.Clone(t.took)
	return t
}

func (t tally) String() string {
	slices.Sort(t.took)
	var p99, slowest time.Duration
	if n := len(t.took); n > 0 {
		p99, slowest = t.took[n*99/100], t.took[n-1]
	}
	return fmt.Sprintf("%s reads, %s writes, %d errors, %d lost, hit rate %.2f %%, p99 %v, slowest %v", thousands(t.reads), thousands(t.writes),
		t.errors, t.lost, 100*float64(t.hits)/float64(max(t.reads, 1)), p99.Round(10*time.Microsecond), slowest.Round(10*time.Microsecond))
}

// verdict is nil where nobody noticed the rollouts.
func (t tally) verdict() error {
	var errs []error
	if t.errors > 0 {
		errs = append(errs, fmt.Errorf("%d calls failed, the first: %w", t.errors, t.firstError))
	}
	if t.lost > 0 {
		errs = append(errs, fmt.Errorf("%d reads showed less than was acknowledged", t.lost))
	}
	if t.hits < t.reads {
		errs = append(errs, fmt.Errorf("%d reads of %d missed", t.reads-t.hits, t.reads))
	}
	if t.reads == 0 || t.writes == 0 {
		errs = append(errs, errors.New("there was no load"))
	}
	return errors.Join(errs...)
}

// thousands is n with a comma between thousands.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
