package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
)

// stacked prints a stack for %+v, as Pebble's errors do.
type stacked struct{ error }

func (e stacked) Unwrap() error { return e.error }

func (e stacked) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, e.Error())
	if f.Flag('+') {
		_, _ = io.WriteString(f, "\nstack trace")
	}
}

// Logs say why the engine parked, not from where in Pebble.
func TestParkLogsNoStack(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	p := newParking(log)
	p.OnParked(func(cause error) {
		if !errors.Is(cause, syscall.ENOSPC) {
			t.Errorf("parked by %v", cause)
		}
		log.Error("told", "err", cause)
	})
	p.park(stacked{syscall.ENOSPC})
	if s := out.String(); strings.Count(s, "no space left") != 2 || strings.Contains(s, "stack trace") {
		t.Error(s)
	}
}
