package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/slotmesh/slotmesh/store"
)

// parking is the state of an engine after a disk operation failed in a way
// that Pebble cannot go on from: writes are refused, what is in memory and
// what can be read from disk still answers.
type parking struct {
	log    *slog.Logger
	parked chan struct{} // closed by park
	freed  chan struct{} // closed by Close: nothing waits any more

	mu       sync.Mutex // guards the rest
	err      error
	onPark   func()
	onParked func(cause error)
}

func newParking(log *slog.Logger) *parking {
	return &parking{log: log, parked: make(chan struct{}), freed: make(chan struct{})}
}

// park keeps the first cause. That of Pebble would bring its stack into logs.
func (p *parking) park(cause error) {
	cause = fmt.Errorf("%w", cause)
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = fmt.Errorf("%w: %w", store.ErrParked, cause)
	fn, told := p.onPark, p.onParked
	close(p.parked)
	p.mu.Unlock()
	p.log.Error("engine is parked", "err", cause)
	if fn != nil {
		fn()
	}
	if told != nil {
		told(cause)
	}
}

// OnParked implements store.Engine.
func (p *parking) OnParked(fn func(cause error)) {
	p.mu.Lock()
	p.onParked = fn
	err := p.err
	p.mu.Unlock()
	if err != nil {
		fn(err)
	}
}

// reason is nil while the engine is not parked.
func (p *parking) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// guard runs fn on a goroutine that Pebble may end by Fatalf, or panic on, and
// waits for it.
func (p *parking) guard(fn func() error) error {
	var err error
	done := make(chan struct{})
	go func() { // ends with fn
		ended := false
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				p.park(fmt.Errorf("panic: %v", r))
			}
			if !ended {
				err = p.reason()
			}
		}()
		err = fn()
		ended = true
	}()
	<-done
	return err
}

// pebbleLogger is what Pebble logs to. Infof is left out: it has a line for
// every flush and compaction.
type pebbleLogger struct{ *parking }

var _ pebble.Logger = pebbleLogger{}

func (pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Warn("pebble", "err", fmt.Sprintf(format, args...))
}

// Fatalf parks the engine and ends the goroutine, since its callers count on
// it not to return. Goexit runs deferred unlocks, so that reads and, mostly,
// Close go on; a goroutine blocked for ever would keep them. All goroutines
// that Pebble may end so are its own, the flusher's, or guard's.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	cause := fmt.Errorf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok {
			cause = fmt.Errorf("pebble: %w", err)
		}
	}
	l.park(cause)
	runtime.Goexit()
}

// events hears of failures behind the writers' backs. A failed flush or
// compaction of Pebble is tried again without end while memtables fill up, so
// it parks the engine: better an error than writers that hang.
func (p *parking) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if errors.Is(err, pebble.ErrCancelledCompaction) || errors.Is(err, context.Canceled) {
				return
			}
			p.park(err)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			// Who reads gets an error.
			p.log.Error("data on disk is corrupt", "file", info.Path, "err", info.Details)
		},
	}
}
