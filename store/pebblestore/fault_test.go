package pebblestore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// faulty fails operations once it is armed.
type faulty struct {
	armed atomic.Bool
	err   error
	match func(errorfs.Op) bool
}

func (f *faulty) String() string { return "faulty" }

func (f *faulty) MaybeError(op errorfs.Op) error {
	if f.armed.Load() && f.match(op) {
		return f.err
	}
	return nil
}

func isWrite(suffix string) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpCreate, errorfs.OpReuseForWrite:
			return strings.Contains(op.Path, suffix)
		}
		return false
	}
}

// TestFailedDiskParksTheEngine lets kinds of files fail: writes get errors that
// say why, reads go on, Close returns, and what was durable is there later.
func TestFailedDiskParksTheEngine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		match func(errorfs.Op) bool
	}{
		{"log full", syscall.ENOSPC, isWrite(".log")},
		{"log io", syscall.EIO, isWrite(".log")},
		{"tables full", syscall.ENOSPC, isWrite(".sst")},
		{"manifest io", syscall.EIO, isWrite("MANIFEST")},
		{"directory io", syscall.EIO, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && op.Path == "data" }},
		{"all full", syscall.ENOSPC, isWrite("")},
	} {
		for _, fsync := range []pebblestore.Fsync{pebblestore.Always, pebblestore.EverySec, pebblestore.Never} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, fsync), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &faulty{err: tt.err, match: tt.match}
					mem := vfs.NewMem()
					s := newForgetful(open(t, pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, f), Fsync: fsync, Limit: 16 << 20}))
					fail(t, s.Apply(1, []store.Record{{Key: "kept", Value: []byte("v"), Version: 1}}))
					fail(t, s.Sync(1))
					s.UnloadAll()
					told := 0
					s.OnParked(func(error) { told++ })
					f.armed.Store(true)
					var err error
					for v := uint64(2); err == nil && v < 20000; v++ { // 80 MB
						err = s.Store.Apply(1, []store.Record{{Key: fmt.Sprint(v % 8), Value: make([]byte, 4<<10), Version: v}})
						if v%100 == 0 && err == nil && fsync != pebblestore.EverySec {
							err = s.Sync(1)
						}
					}
					if !errors.Is(err, store.ErrParked) || !errors.Is(err, tt.err) {
						t.Fatalf("Apply or Sync = %v, want ErrParked by %v", err, tt.err)
					}
					synctest.Wait()
					s.OnParked(func(cause error) {
						if told++; !errors.Is(cause, tt.err) {
							t.Errorf("OnParked says %v, want %v", cause, tt.err)
						}
					})
					if told != 2 {
						t.Errorf("OnParked was told %d times, want as it parked, and once more when asked again", told)
					}
					for name, err := range map[string]error{
						"Sync": s.Sync(1), "SetMeta": s.SetMeta(map[string][]byte{"a": {1}}), "Drop": s.Drop(2), "Checkpoint": s.Checkpoint("c"),
					} {
						if !errors.Is(err, store.ErrParked) {
							t.Errorf("%s = %v, want ErrParked", name, err)
						}
					}
					it, err := s.Fetch(nil, 1, 0, "kept", "", 0)
					if err != nil || it.State != store.Found || string(it.Value) != "v" {
						t.Errorf("Fetch = %+v, %v", it, err)
					}
					s.Stats()
					if err := s.Close(); !errors.Is(err, store.ErrParked) {
						t.Errorf("Close = %v, want ErrParked", err)
					}
					f.armed.Store(false)
					again := open(t, pebblestore.Options{Dir: "data", FS: mem})
					if it, err := again.Fetch(nil, 1, 0, "kept", "", 0); err != nil || it.State != store.Found {
						t.Errorf("after reopening: %+v, %v", it, err)
					}
					fail(t, again.Close())
				})
			})
		}
	}
}

// A volume that fails under a checkpoint costs nothing but that: the engine goes on,
// nothing of the copy is left, and the next one is whole.
func TestFailedCheckpointIsAllThatFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		match func(errorfs.Op) bool
	}{
		{"all", isWrite("")},
		{"tables", isWrite(".sst")},
		{"log", isWrite(".log")},
		{"manifest", isWrite("MANIFEST")},
		{"marker", isWrite("marker.")},
		{"directory", func(op errorfs.Op) bool { return op.Kind == errorfs.OpMkdirAll }},
		{"directories opened", func(op errorfs.Op) bool { return op.Kind == errorfs.OpOpenDir }},
		{"rename", func(op errorfs.Op) bool { return op.Kind == errorfs.OpRename }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &faulty{err: syscall.ENOSPC, match: func(op errorfs.Op) bool {
				return op.Kind == errorfs.OpLink || strings.HasPrefix(op.Path, "other") && tt.match(op)
			}}
			mem := vfs.NewMem()
			fail(t, mem.MkdirAll("other", 0o755))
			opts := pebblestore.Options{Dir: "data/own", FS: errfs.Wrap(mem, f), Limit: 16 << 20}
			s := open(t, opts)
			for v := range uint64(2000) {
				fail(t, s.Apply(1, []store.Record{{Key: fmt.Sprint(v), Value: make([]byte, 1<<10), Version: v + 1}}))
			}
			fail(t, s.Close())
			s = open(t, opts) // which puts into tables what was in the log
			f.armed.Store(true)
			if err := s.Checkpoint("other/copy/"); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, store.ErrParked) {
				t.Errorf("Checkpoint = %v, want ENOSPC", err)
			}
			names, err := mem.List("other")
			if err != nil || len(names) > 0 {
				t.Errorf("left are %v, %v", names, err)
			}
			fail(t, s.Apply(1, []store.Record{{Key: "after", Value: []byte("v"), Version: 3000}}))
			fail(t, s.Sync(1))
			f.armed.Store(false)
			fail(t, s.Checkpoint("other/copy/"))
			c := open(t, pebblestore.Options{Dir: "other/copy", FS: mem})
			if it, err := c.Get(nil, 1, 0, "after", "", 0); err != nil || it.State != store.Found {
				t.Errorf("in the copy: %+v, %v", it, err)
			}
		})
	}
}

// Of two copies to one place the second finds the first.
func TestCheckpointsAtOnce(t *testing.T) {
	s := open(t, pebblestore.Options{FS: vfs.NewMem(), Limit: 16 << 20})
	fail(t, s.Apply(1, []store.Record{{Key: "a", Value: []byte("v"), Version: 1}}))
	const callers = 8
	errs := make(chan error)
	for range callers {
		go func() { errs <- s.Checkpoint("copy") }()
	}
	made := 0
	for range callers {
		if err := <-errs; err == nil {
			made++
		} else if !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d copies were made", made)
	}
}

func TestOpenOnFullDiskReportsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{err: syscall.ENOSPC, match: isWrite("")}
		f.armed.Store(true)
		mem := vfs.NewMem()
		for range 2 {
			if _, err := pebblestore.Open(pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, f), Recover: true}); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, pebblestore.ErrCorrupt) {
				t.Errorf("Open = %v, want ENOSPC", err)
			}
		}
		fail(t, open(t, pebblestore.Options{Dir: "data", FS: mem}).Close())
	})
}

// slow makes syncs of the log take a second, once it is armed.
type slow struct{ armed atomic.Bool }

func (s *slow) String() string { return "slow" }

func (s *slow) MaybeError(op errorfs.Op) error {
	if s.armed.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.Contains(op.Path, ".log") {
		<-time.After(time.Second)
	}
	return nil
}

func TestWritersWaitForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxDirty = 64 << 10
		disk := &slow{}
		s := open(t, pebblestore.Options{FS: errfs.Wrap(vfs.NewMem(), disk), Fsync: pebblestore.Always, MaxDirty: maxDirty})
		disk.armed.Store(true)
		start := time.Now()
		for v := range uint64(1000) { // 1 MB
			fail(t, s.Apply(1, []store.Record{{Key: "a", Value: make([]byte, 1000), Version: v + 1}}))
			d := s.Stats().DirtyBytes
			if d > maxDirty+2000 {
				t.Fatalf("%d bytes are dirty, want at most %d", d, maxDirty)
			}
			if jammed := s.Jammed(); d >= maxDirty && !jammed && s.Stats().DirtyBytes == d {
				t.Errorf("not Jammed with %d dirty bytes of %d", d, maxDirty)
			}
		}
		if took := time.Since(start); took < 10*time.Second || took > 60*time.Second {
			t.Errorf("1 MB through 64 KiB of dirty data took %v at a second a sync", took)
		}
		fail(t, s.Sync(1))
		if s.Jammed() {
			t.Error("Jammed with nothing dirty")
		}
		// A reader does not wait.
		start = time.Now()
		if it, err := s.Get(nil, 1, 0, "a", "", 0); err != nil || it.State != store.Found || time.Since(start) != 0 {
			t.Errorf("Get = %+v, %v after %v", it, err, time.Since(start))
		}
		fail(t, s.Close())
	})
}

func TestEverySecIsDurableAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, pebblestore.Options{FS: vfs.NewMem()})
		marks := make(chan uint64, 10)
		s.OnDurable(func(_ uint16, v uint64) { marks <- v })
		start := time.Now()
		fail(t, s.Apply(1, []store.Record{{Key: "a", Version: 7}}))
		if v := <-marks; v != 7 || time.Since(start) > 1100*time.Millisecond {
			t.Errorf("mark %d after %v", v, time.Since(start))
		}
		fail(t, s.Close())
	})
}

// Meta values are on disk when SetMeta returns, though what was confirmed in the
// same flush leaves its sync to the next one; and who saves some while another
// waits for the disk is not held up by a lock.
func TestMetaIsSyncedWhenSetMetaReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, mem := &slow{}, vfs.NewCrashableMem()
		s := open(t, pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, disk), Fsync: pebblestore.Always})
		fail(t, s.Apply(1, []store.Record{{Key: "a", Value: make([]byte, 100), Version: 1}}))
		fail(t, s.Sync(1))
		s.UnloadAll()
		gen, err := s.Begin(1)
		fail(t, err)
		d, err := s.Digest(1, 0, math.MaxUint64)
		fail(t, err)
		disk.armed.Store(true)
		fail(t, s.Apply(2, []store.Record{{Key: "b", Version: 1}}))
		synctest.Wait() // it is being flushed
		var wg sync.WaitGroup
		for _, name := range []string{"one", "two"} {
			wg.Go(func() {
				fail(t, s.SetMeta(map[string][]byte{name: {1}}))
				crashed := mem.CrashClone(vfs.CrashCloneCfg{})
				again := open(t, pebblestore.Options{Dir: "data", FS: crashed})
				if found := ""; again.Meta(name, func(n string, _ []byte) bool { found = n; return true }) != nil || found != name {
					t.Errorf("%q is not on disk when SetMeta returns", name)
				}
				fail(t, again.Close())
			})
		}
		synctest.Wait()
		if ok, err := s.Confirm(1, gen, 0, math.MaxUint64, d); !ok || err != nil {
			t.Errorf("Confirm = %v, %v", ok, err)
		}
		fail(t, s.Apply(2, []store.Record{{Key: "b", Version: 2}}))
		wg.Wait()
		fail(t, s.Close())
	})
}
