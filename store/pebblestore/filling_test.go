package pebblestore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// filling is a file system with room for so many bytes. Of the write that finds no more
// there is as much as fits.
type filling struct {
	vfs.FS
	room *atomic.Int64
}

type fillingFile struct {
	vfs.File
	room *atomic.Int64
}

func (fs filling) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.room.Load() < 0 {
		return nil, syscall.ENOSPC
	}
	f, err := fs.FS.Create(name, c)
	return fillingFile{f, fs.room}, err
}

func (fs filling) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Remove(old); err != nil {
		return nil, err
	}
	return fs.Create(name, c)
}

func (f fillingFile) Write(p []byte) (int, error) {
	left := f.room.Add(-int64(len(p)))
	if left >= 0 {
		return f.File.Write(p)
	}
	if fits := left + int64(len(p)); fits > 0 {
		if n, err := f.File.Write(p[:fits]); err != nil {
			return n, err
		}
	}
	return 0, syscall.ENOSPC
}

// TestFullDiskLeavesAPrefix has the disk fill up at some byte: what was said to be
// durable is there once there is room, and each slot is as it was after some step.
func TestFullDiskLeavesAPrefix(t *testing.T) {
	for seed := range uint64(*seeds) {
		rng := rand.New(rand.NewPCG(seed, 17))
		mem, room := vfs.NewCrashableMem(), new(atomic.Int64)
		c := &crashRun{fs: mem, rng: rng, until: -1, at: map[[2]uint64]int{}}
		fsync := pebblestore.Fsync(seed % 3)
		opts := pebblestore.Options{Dir: "data", FS: filling{mem, room}, Fsync: fsync, Limit: 16 << 20, MaxDirty: 1 << (10 + rng.IntN(8))}
		room.Store(1 << 30)
		for slot := range c.history { // as it is before the first step
			c.history[slot] = []store.Digest{{}}
		}
		s := open(t, opts)
		c.s = s
		if seed%2 == 0 {
			c.s = newForgetful(s)
		}
		s.OnDurable(c.durable)
		versions := [crashSlots]uint64{}
		room.Store(rng.Int64N(1 << (12 + rng.IntN(10)))) // up to 2 MiB, where memtables are flushed
		var err error
		for err == nil {
			slot := rng.IntN(crashSlots)
			err = c.try(rng, uint16(slot), &versions[slot])
		}
		if !errors.Is(err, store.ErrParked) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("seed %d: a step = %v, want ErrParked by ENOSPC", seed, err)
		}
		if err := s.Close(); !errors.Is(err, store.ErrParked) {
			t.Errorf("seed %d: Close = %v, want ErrParked", seed, err)
		}
		c.crash()
		if rng.IntN(2) == 0 {
			c.crashed = mem // the process alone ended
		}
		c.verify(t, fmt.Sprintf("seed %d fsync %d", seed, fsync), pebblestore.Options{Dir: "data"})
		if t.Failed() {
			return
		}
	}
}
