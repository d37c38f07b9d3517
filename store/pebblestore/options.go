package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Fsync says when what was applied is synced to disk.
type Fsync uint8

const (
	// EverySec syncs what is dirty once it is MaxDirtyAge old: a crash loses
	// that and one flush.
	EverySec Fsync = iota
	// Always syncs at once, in groups. Apply does not wait for it: OnDurable
	// tells when, and Sync waits.
	Always
	// Never leaves it to the operating system, but for Sync, Checkpoint and
	// Close. OnDurable hears of those alone.
	Never
)

// Options configures a Store. Fields that are 0 get their defaults.
type Options struct {
	Dir string // made if it is missing
	FS  vfs.FS // default the operating system's

	// Limit bounds the memory of all parts together, in bytes: records, dirty
	// data, block cache and memtables. 0: no limit, and nothing is unloaded.
	Limit int64
	Fsync Fsync
	// MaxDirty bounds what is applied and not yet written, in bytes; above it
	// writers wait. Default 64 MiB, or an eighth of Limit if that is less.
	MaxDirty int64
	// MaxDirtyAge is how long a write may wait for its flush. Default 1s;
	// Always does not wait.
	MaxDirtyAge time.Duration

	Logger *slog.Logger // default: nothing is logged
	// Recover moves a damaged directory aside and starts empty, where Open
	// would report ErrCorrupt otherwise. Open then reads all there is, since
	// damage found later can only park the engine.
	Recover bool
}

func (o *Options) ensureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MaxDirty == 0 {
		o.MaxDirty = 64 << 20
		if o.Limit > 0 {
			o.MaxDirty = min(o.MaxDirty, o.Limit/8)
		}
	}
	if o.MaxDirtyAge == 0 {
		o.MaxDirtyAge = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// minLimit leaves some memory for records beside Pebble's own.
const minLimit = 16 << 20

func (o *Options) validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("pebblestore: Dir is empty"))
	}
	if o.Limit < 0 || o.Limit > 0 && o.Limit < minLimit {
		errs = append(errs, fmt.Errorf("pebblestore: Limit is %d, less than %d", o.Limit, minLimit))
	}
	if o.MaxDirty < 0 || o.MaxDirtyAge < 0 {
		errs = append(errs, errors.New("pebblestore: MaxDirty or MaxDirtyAge is negative"))
	}
	if o.Fsync > Never {
		errs = append(errs, fmt.Errorf("pebblestore: Fsync is %d", o.Fsync))
	}
	return errors.Join(errs...)
}

// budget is how Limit is shared out.
type budget struct {
	cache    int64 // of blocks
	memtable int64 // one; Pebble holds two, and a third for a moment
	flush    int64 // dirty bytes that are worth a flush
	records  int64 // 0: no limit
}

func (o *Options) budget() budget {
	if o.Limit == 0 {
		return budget{cache: 8 << 20, memtable: 16 << 20, flush: min(4<<20, o.MaxDirty/2)}
	}
	b := budget{cache: min(o.Limit/16, 256<<20), memtable: min(max(o.Limit/32, 256<<10), 16<<20)}
	b.flush = min(b.memtable/4, o.MaxDirty/2)
	b.records = max(o.Limit-b.cache-3*b.memtable-o.MaxDirty, o.Limit/4)
	return b
}
