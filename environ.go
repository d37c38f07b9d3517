package slotmesh

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
)

// besides is what a node may take whatever the limit of its records: rings of recent
// writes, the slot table, buffers, and what of these is garbage.
const besides = 128 * mib

// minFreeDisk is what a data directory's disk must have free: Pebble cannot
// start its logs with less. Below lowDisk there is a warning.
const (
	minFreeDisk = 16 * mib
	lowDisk     = 512 * mib
)

// machine is what Open looks at before it starts anything.
type machine struct {
	memory func() int64                    // what the process may use, bytes; MaxInt64: no limit
	free   func(dir string) (int64, error) // bytes free for this user where dir is
}

func thisMachine() machine {
	return machine{
		memory: func() int64 { return min(debug.SetMemoryLimit(-1), cgroupLimit(os.ReadFile)) },
		free:   freeDisk,
	}
}

// check returns an error for what cannot work, and warns of what hardly will.
func (m machine) check(o *options) error {
	if limit := m.memory(); limit < math.MaxInt64 && o.maxMemory > limit {
		return fmt.Errorf("%w: WithMaxMemory(%d): the process may use %d bytes, by GOMEMLIMIT or its container's limit", ErrInvalid, o.maxMemory, limit)
	} else if limit < math.MaxInt64 && o.maxMemory > max(limit-besides, 0)/4*3 {
		o.cfg.Logger.Warn("memory limit leaves little for the rest of the process", "bytes", o.maxMemory, "max", limit)
	}
	if o.dataDir == "" {
		return nil
	}
	free, err := m.free(existing(o.dataDir))
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrDisk, o.dataDir, err)
	case free < minFreeDisk:
		return fmt.Errorf("%w: the disk of %s is full: %d bytes are free, at least %d are needed", ErrDisk, o.dataDir, free, minFreeDisk)
	case free < lowDisk:
		o.cfg.Logger.Warn("disk of the data directory is nearly full", "dir", o.dataDir, "bytes", free)
	}
	return nil
}

// existing is dir, or the nearest directory above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}
