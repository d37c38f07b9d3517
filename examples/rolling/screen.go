package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// refresh is how often a terminal is drawn.
const refresh = 250 * time.Millisecond

// screen prints lines, and on a terminal a live view below them.
type screen struct {
	terminal bool
	began    time.Time

	mu    sync.Mutex // guards what follows
	out   io.Writer
	drawn int // lines of the view that are to be drawn over
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, began: time.Now(), terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// event prints a line for good.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.out, "%5.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// show draws a view again and again until the function it returns is called.
// Where the output is no terminal it does nothing.
func (s *screen) show(ctx context.Context, view func(ctx context.Context) []string) (end func()) {
	if !s.terminal {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with ctx
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.draw(view(ctx))
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		s.draw(nil)
	}
}

func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	if len(lines) > 0 {
		fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	}
	s.drawn = len(lines)
}

// erase removes the view; mu is held.
func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\033[%dA\033[J", s.drawn)
	}
	s.drawn = 0
}
