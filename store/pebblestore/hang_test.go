package pebblestore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// hanging is a disk whose operations wait once it is armed, until it is released.
type hanging struct {
	faulty
	released chan struct{}
}

func newHanging(match func(errorfs.Op) bool) *hanging {
	h := &hanging{released: make(chan struct{})}
	h.match = match
	return h
}

func (h *hanging) MaybeError(op errorfs.Op) error {
	if h.armed.Load() && h.match(op) {
		<-h.released
	}
	return nil
}

func isSync(op errorfs.Op) bool {
	return (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) && strings.HasSuffix(op.Path, ".log")
}

// A disk that hangs counts as failed after a while: who waits for it gets an error that
// says so, and Close returns.
func TestHangingDiskParksTheEngine(t *testing.T) {
	for _, fsync := range []pebblestore.Fsync{pebblestore.Always, pebblestore.EverySec} {
		t.Run(fmt.Sprint(fsync), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, mem := newHanging(isSync), vfs.NewMem()
				s := open(t, pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, h), Fsync: fsync, Limit: 16 << 20})
				fail(t, s.Apply(1, []store.Record{{Key: "kept", Value: []byte("v"), Version: 1}}))
				fail(t, s.Sync(1))
				h.armed.Store(true)
				begun := time.Now()
				meta := make(chan error, 1)
				go func() { meta <- s.SetMeta(map[string][]byte{"a": {1}}) }()
				var err error
				for v := uint64(2); err == nil && v < 20000; v++ { // 80 MB
					err = s.Apply(1, []store.Record{{Key: fmt.Sprint(v % 8), Value: make([]byte, 4<<10), Version: v}})
				}
				took := time.Since(begun)
				if !errors.Is(err, store.ErrParked) || !strings.Contains(err.Error(), "answered nothing") {
					t.Fatalf("Apply = %v, want ErrParked since the disk answers nothing", err)
				}
				if took < 15*time.Second || took > 30*time.Second {
					t.Errorf("it took %v", took)
				}
				if err := <-meta; !errors.Is(err, store.ErrParked) {
					t.Errorf("SetMeta = %v, want ErrParked", err)
				}
				if it, err := s.Get(nil, 1, 0, "kept", "", 0); err != nil || it.State != store.Found {
					t.Errorf("Get = %+v, %v", it, err)
				}
				if err := s.Close(); !errors.Is(err, store.ErrParked) {
					t.Errorf("Close = %v, want ErrParked", err)
				}
				close(h.released)
			})
		})
	}
}

// A disk that hangs as the engine is closed, with nobody to wait for it before.
func TestCloseDoesNotWaitForAHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, mem := newHanging(isSync), vfs.NewMem()
		s := open(t, pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, h), MaxDirtyAge: time.Hour})
		fail(t, s.Apply(1, []store.Record{{Key: "a", Version: 1}}))
		h.armed.Store(true)
		if err := s.Close(); !errors.Is(err, store.ErrParked) {
			t.Errorf("Close = %v, want ErrParked", err)
		}
		close(h.released)
	})
}

// One that is slow is none that hangs.
func TestSlowDiskDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slow{}
		s := open(t, pebblestore.Options{FS: errfs.Wrap(vfs.NewMem(), h), Fsync: pebblestore.Always})
		h.armed.Store(true)
		for v := range uint64(100) {
			fail(t, s.Apply(1, []store.Record{{Key: "a", Version: v + 1}}))
			fail(t, s.Sync(1))
		}
		fail(t, s.Close())
	})
}
