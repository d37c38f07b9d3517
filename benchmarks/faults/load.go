package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	valueBytes = 100
	// opTimeout is the deadline of every call.
	opTimeout = 5 * time.Second
	// readPause keeps the readers from competing with the writers.
	readPause = time.Millisecond
)

// system is what the load is put on.
type system interface {
	Set(ctx context.Context, key string, value []byte) error
	// Get returns nil for a key that is not there.
	Get(ctx context.Context, key string) ([]byte, error)
}

// Spec says what load one process makes.
type Spec struct {
	Keys    []string
	Floors  string // path
	Callers []Caller
	Readers int
	Cold    int // so many of the last keys are written once at the beginning
}

// Caller writes its keys in turn, each write with the next number. Nobody else
// writes them, so that the number of a key's newest acknowledged write says
// which values are too old.
type Caller struct {
	Keys   []int
	Gauged bool // its gaps count
}

// Report is what a process has seen since its load began; the gap is since
// the last mark.
type Report struct {
	Acked  uint64
	Errors map[string]int // by text
	Stale  int
	Gap    time.Duration
	GapKey string
	GapEnd time.Time
	Reads  int
}

// load is a Spec being run.
type load struct {
	Spec
	sys    system
	floors floors
	ctx    context.Context // of the calls; ends late
	stop   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex  // guards what follows
	last  []time.Time // by key: the newest acknowledgement; zero for keys not gauged here
	marks Report
}

// begin starts the goroutines of a load; end stops them.
func begin(s Spec, sys system) (*load, error) {
	fl, err := openFloors(s.Floors, len(s.Keys))
	if err != nil {
		return nil, err
	}
	l := &load{
		Spec: s, sys: sys, floors: fl, ctx: context.Background(),
		stop: make(chan struct{}), last: make([]time.Time, len(s.Keys)),
	}
	l.marks.Errors = map[string]int{}
	if err := l.writeCold(); err != nil {
		return nil, err
	}
	for _, c := range s.Callers {
		l.wg.Go(func() { l.write(c) }) // ends when l.stop closes
	}
	for range s.Readers {
		l.wg.Go(l.read) // ends when l.stop closes
	}
	return l, nil
}

func (l *load) writeCold() error {
	value := make([]byte, valueBytes)
	binary.BigEndian.PutUint64(value, 1)
	for k := len(l.Keys) - l.Cold; k < len(l.Keys); k++ {
		ctx, cancel := context.WithTimeout(l.ctx, opTimeout)
		err := l.sys.Set(ctx, l.Keys[k], value)
		cancel()
		if err != nil {
			return err
		}
		l.floors[k].Store(1)
	}
	return nil
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *load) write(c Caller) {
	value := make([]byte, valueBytes)
	for i := 0; !l.stopped(); {
		k := c.Keys[i%len(c.Keys)]
		number := l.floors[k].Load() + 1
		binary.BigEndian.PutUint64(value, number)
		ctx, cancel := context.WithTimeout(l.ctx, opTimeout)
		err := l.sys.Set(ctx, l.Keys[k], value)
		cancel()
		if err != nil { // the same write again: its outcome may be unknown
			l.fail("set: " + err.Error())
			time.Sleep(readPause)
			continue
		}
		l.floors[k].Store(number)
		l.ack(k, c.Gauged)
		i++
	}
}

func (l *load) ack(k int, gauged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks.Acked++
	if !gauged {
		return
	}
	now := time.Now()
	l.gauge(k, now)
	l.last[k] = now
}

// gauge takes the time since the key's last acknowledgement. l.mu is held.
func (l *load) gauge(k int, now time.Time) {
	if l.last[k].IsZero() {
		return
	}
	if gap := now.Sub(l.last[k]); gap > l.marks.Gap {
		l.marks.Gap, l.marks.GapKey, l.marks.GapEnd = gap, l.Keys[k], now
	}
}

// read reads any keys and counts values older than what was acknowledged, to
// whatever process, before the read began.
func (l *load) read() {
	for !l.stopped() {
		k := rand.IntN(len(l.Keys))
		floor := l.floors[k].Load()
		ctx, cancel := context.WithTimeout(l.ctx, opTimeout)
		number, err := l.number(ctx, k)
		cancel()
		switch {
		case err != nil:
			l.fail("get: " + err.Error())
		case number < floor:
			l.mu.Lock()
			l.marks.Stale++
			l.mu.Unlock()
		}
		l.mu.Lock()
		l.marks.Reads++
		l.mu.Unlock()
		time.Sleep(readPause)
	}
}

// number returns the number of the write that a key holds, 0 for none.
func (l *load) number(ctx context.Context, k int) (uint64, error) {
	value, err := l.sys.Get(ctx, l.Keys[k])
	switch {
	case err != nil:
		return 0, err
	case value == nil:
		return 0, nil
	case len(value) != valueBytes:
		return 0, fmt.Errorf("value of %d bytes", len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func (l *load) fail(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks.Errors[text]++
}

// mark lets gaps count from now on.
func (l *load) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks.Gap, l.marks.GapKey = 0, ""
}

// end stops the load and says what it saw. A key that was never acknowledged
// again counts up to now.
func (l *load) end() Report {
	l.mu.Lock()
	now := time.Now()
	for k := range l.last {
		l.gauge(k, now)
	}
	l.mu.Unlock()
	close(l.stop)
	l.wg.Wait()
	return l.marks
}

// lost counts the acknowledged writes that are newer than what the keys hold.
func (l *load) lost() (lost uint64, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, 3*opTimeout)
	defer cancel()
	for k := range l.Keys {
		number, err := l.number(ctx, k)
		if err != nil {
			return lost, fmt.Errorf("verify %s: %w", l.Keys[k], err)
		}
		if floor := l.floors[k].Load(); number < floor {
			lost += floor - number
		}
	}
	return lost, nil
}
