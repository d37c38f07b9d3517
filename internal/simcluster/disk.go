package simcluster

import (
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// Disks says what the nodes of a cluster keep their records in.
type Disks uint8

const (
	NoDisks     Disks = iota // memory alone
	LazyDisks                // disks synced once a second
	SyncedDisks              // disks synced before a copy acknowledges a write
)

// disk is a host's file system. It outlives processes; what was not synced
// does not outlive a loss of power.
type disk struct {
	mu   sync.Mutex // guards the rest
	rng  *rand.Rand
	fs   *vfs.MemFS
	slow time.Duration // a sync of the log takes so long
	full bool
	hang chan struct{} // syncs of the log wait until it is closed; nil: they don't
}

func newDisk(seed uint64) *disk {
	return &disk{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0xd15c))}
}

// open is the start of a process.
func (d *disk) open(kind Disks) (store.Engine, error) {
	d.mu.Lock()
	o := pebblestore.Options{Dir: "data", FS: errfs.Wrap(d.fs, d), Fsync: pebblestore.EverySec, Limit: 16 << 20}
	d.mu.Unlock()
	if kind == SyncedDisks {
		o.Fsync = pebblestore.Always
	}
	return pebblestore.Open(o)
}

// kill ends the process: what it had written to files is there for the next,
// but for a part of what it had not synced where the power went too.
func (d *disk) kill(power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	percent := 100
	if power {
		percent = max(0, d.rng.IntN(201)-100) // often nothing
	}
	d.fs = d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(d.rng.Uint64(), 1))})
}

func (d *disk) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs = vfs.NewCrashableMem()
}

// String and MaybeError make a disk an errorfs.Injector.
func (d *disk) String() string { return "disk" }

// MaybeError delays syncs of the log alone: whoever asks for those holds no
// lock, so that the bubble's time goes on.
func (d *disk) MaybeError(op errorfs.Op) error {
	d.mu.Lock()
	slow, full, hang := d.slow, d.full, d.hang
	d.mu.Unlock()
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if !strings.HasSuffix(op.Path, ".log") {
			break
		}
		if slow > 0 {
			<-time.After(slow)
		}
		if hang != nil {
			<-hang
		}
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileFlush, errorfs.OpCreate, errorfs.OpReuseForWrite:
		if full {
			return syscall.ENOSPC
		}
	}
	return nil
}

// SlowDisk has every sync of a host's log take so long; 0 undoes it.
func (sc *Cluster) SlowDisk(name string, d time.Duration) {
	disk := sc.Host(name).disk
	disk.mu.Lock()
	defer disk.mu.Unlock()
	disk.slow = d
}

// FillDisk has writes to a host's disk fail for want of room, or not any more.
func (sc *Cluster) FillDisk(name string, full bool) {
	disk := sc.Host(name).disk
	disk.mu.Lock()
	defer disk.mu.Unlock()
	disk.full = full
}

// HangDisk has syncs of a host's log not return, or all do that wait so.
func (sc *Cluster) HangDisk(name string, hang bool) {
	disk := sc.Host(name).disk
	disk.mu.Lock()
	defer disk.mu.Unlock()
	if hang {
		disk.hang = make(chan struct{})
	} else {
		close(disk.hang)
		disk.hang = nil
	}
}

// WipeDisk gives a host whose node does not run an empty disk.
func (sc *Cluster) WipeDisk(name string) {
	if h := sc.Host(name); h.isUp() {
		sc.T.Fatalf("wipe the disk of %s: it runs", name)
	} else {
		h.disk.wipe()
	}
}
