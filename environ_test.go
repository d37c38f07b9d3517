package slotmesh

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenLooksAtTheMachine(t *testing.T) {
	for _, tt := range []struct {
		name   string
		memory int64 // limit of the process
		free   int64
		want   error
		text   string // of the error, or of the warning
	}{
		{"no limit", math.MaxInt64, 1 << 40, nil, ""},
		{"enough", 256 * mib, 1 << 40, nil, ""},
		{"memory above the limit", 32 * mib, 1 << 40, ErrInvalid, "GOMEMLIMIT"},
		{"memory near the limit", 70 * mib, 1 << 40, nil, "little for the rest"},
		{"a third more alone", 90 * mib, 1 << 40, nil, "little for the rest"},
		{"full disk", math.MaxInt64, 1 * mib, ErrDisk, "full"},
		{"nearly full disk", math.MaxInt64, 100 * mib, nil, "nearly full"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			dir := filepath.Join(t.TempDir(), "not", "there", "yet")
			o := newOptions()
			for _, opt := range []Option{WithMaxMemory(64 * mib), WithDataDir(dir), WithLogger(slog.New(slog.NewTextHandler(&b, nil)))} {
				opt(o)
			}
			err := machine{
				memory: func() int64 { return tt.memory },
				free: func(at string) (int64, error) {
					if !strings.HasPrefix(dir, at) || at == dir {
						t.Errorf("asked for %s, want a directory above %s", at, dir)
					}
					return tt.free, nil
				},
			}.check(o)
			if !errors.Is(err, tt.want) {
				t.Fatalf("check = %v, want %v", err, tt.want)
			}
			if err != nil {
				b.WriteString(err.Error())
			}
			if !strings.Contains(b.String(), tt.text) || tt.text == "" && b.Len() > 0 {
				t.Errorf("said %q, want %q in it", b.String(), tt.text)
			}
		})
	}
	if free, err := freeDisk(t.TempDir()); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && free <= 0 {
		t.Errorf("freeDisk = %d, %v", free, err)
	}
}
