package slotmesh

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// Fsync says when a node's writes are synced to its disk.
type Fsync uint8

const (
	// FsyncEverySec syncs once a second: a crash of the machine loses of one
	// copy what is younger, and nothing as long as another copy lives. The
	// default.
	FsyncEverySec Fsync = iota
	// FsyncAlways acknowledges a write when every copy has synced it.
	FsyncAlways
	// FsyncNever leaves it to the operating system.
	FsyncNever
)

// WithDataDir keeps this node's records in dir as well, in a Pebble database
// of its own, made if it is missing. A node that starts again under the same
// name copies only what it missed, and a fleet that lost power comes back with
// what it held. Values that memory has no room for are read back from disk.
// Open does not wait for records to be read: calls are served while memory warms.
// Default: records live in memory alone.
//
// A node whose disk fails or is full gives its slots to the others and goes on
// without any until it is started again; so does one whose disk has answered nothing
// for 20 seconds. On the only node writes get ErrDisk then.
//
// The memory limit covers Pebble's cache and tables as well; it must be at
// least 16 MiB. Give WithName too, so that a node gets its own slots again; a disk
// that comes back under another name still brings its records.
func WithDataDir(dir string) Option { return func(o *options) { o.dataDir = dir } }

// WithFsync says when writes are synced to the data directory. Default
// FsyncEverySec. It needs WithDataDir.
func WithFsync(f Fsync) Option { return func(o *options) { o.fsync = f } }

// WithRecoverEmpty moves a damaged data directory aside and starts empty, to
// copy from the other nodes; to know of damage, Open reads the whole directory,
// about a second for a million records. It needs WithDataDir. Default: Open
// returns ErrDisk, or, where the damage is in what it has not read by then, the
// calls that need that do.
func WithRecoverEmpty() Option { return func(o *options) { o.recoverEmpty = true } }

// openEngine opens what the records are kept in.
func (o *options) openEngine() (store.Engine, error) {
	if o.dataDir == "" {
		return store.NewMemory(store.MemoryOptions{Limit: o.maxMemory}), nil
	}
	mode := map[Fsync]pebblestore.Fsync{
		FsyncEverySec: pebblestore.EverySec, FsyncAlways: pebblestore.Always, FsyncNever: pebblestore.Never,
	}[o.fsync]
	e, err := pebblestore.Open(pebblestore.Options{
		Dir: o.dataDir, Limit: o.maxMemory, Fsync: mode, Logger: o.cfg.Logger, Recover: o.recoverEmpty,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return e, nil
}

// checkpointer is an engine that can copy itself.
type checkpointer interface{ Checkpoint(dir string) error }

// Checkpoint writes a consistent copy of this node's records to dir, which
// must not exist, while calls go on. A node opens it with WithDataDir.
//
// Errors: ErrInvalid for a node without a data directory, and where dir exists; ErrDisk;
// ErrClosed.
func (c *Cache) Checkpoint(dir string) error {
	e, ok := c.n.Engine().(checkpointer)
	if !ok {
		return fmt.Errorf("%w: Checkpoint needs WithDataDir", ErrInvalid)
	}
	if dir == "" {
		return fmt.Errorf("%w: Checkpoint without a directory", ErrInvalid)
	}
	err := e.Checkpoint(dir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrClosed):
		return ErrClosed
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return fmt.Errorf("%w: checkpoint: %w", ErrDisk, err)
}
