package pebblestore_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// refusing refuses one kind of operation on one path.
type refusing struct {
	kind errorfs.OpKind
	path string
	err  error
}

func (r refusing) String() string { return "refusing" }

func (r refusing) MaybeError(op errorfs.Op) error {
	if op.Kind == r.kind && op.Path == r.path {
		return &fs.PathError{Op: "refused", Path: op.Path, Err: r.err}
	}
	return nil
}

// The root of a volume is not empty, but no database either: a crash while one is made
// there does not pass for damage, and what is not the engine's stays.
func TestNewVolumeCountsAsEmpty(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem := vfs.NewCrashableMem()
		fail(t, mem.MkdirAll("data/lost+found/1", 0o755))
		syncAll(t, mem, "", "data", "data/lost+found")
		crashed := mem
		until := 1 + rng.IntN(20)
		s := open(t, pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if until--; until == 0 {
					crashed = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				}
			}
			return nil
		}))})
		fail(t, s.Close())
		s, err := pebblestore.Open(pebblestore.Options{Dir: "data", FS: crashed})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		fail(t, s.Close())
		if _, err := crashed.Stat("data/lost+found/1"); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func syncAll(t *testing.T, fs vfs.FS, dirs ...string) {
	for _, dir := range dirs {
		d, err := fs.OpenDir(dir)
		fail(t, err)
		fail(t, d.Sync())
		fail(t, d.Close())
	}
}

// The root of a volume cannot be renamed: what is damaged goes into a directory in it,
// however often a crash cuts that short.
func TestRecoverInTheRootOfAVolume(t *testing.T) {
	for crash := 0; ; crash++ {
		mem := vfs.NewCrashableMem()
		opts := pebblestore.Options{Dir: "data", FS: mem}
		s := open(t, opts)
		fail(t, s.Apply(1, []store.Record{{Key: "a", Value: make([]byte, 5000), Version: 1}}))
		fail(t, s.Close())
		names, err := mem.List("data")
		fail(t, err)
		for _, name := range names {
			if strings.HasPrefix(name, "MANIFEST") {
				data, err := mem.UnsafeGetFileDataBuffer("data/" + name)
				fail(t, err)
				data[len(data)/2] ^= 0x5A
			}
		}
		renames := crash
		var crashed *vfs.MemFS
		root := refusing{errorfs.OpRename, "data", syscall.EBUSY}
		opts.Recover = true
		opts.FS = errfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpRename {
				if renames--; renames == 0 {
					crashed = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, uint64(crash)))})
				}
			}
			return root.MaybeError(op)
		}))
		wantEmpty := func(what string) {
			s, err := pebblestore.Open(opts)
			if err != nil {
				t.Fatalf("crash at rename %d, %s: %v", crash, what, err)
			}
			if n := s.Stats().Records; n != 0 || s.MaxVersion(1) != 0 {
				t.Errorf("crash at rename %d, %s: %d records after Recover", crash, what, n)
			}
			fail(t, s.Close())
		}
		wantEmpty("before it")
		if names, err := mem.List("data/damaged-1"); err != nil || !strings.Contains(fmt.Sprint(names), "MANIFEST") {
			t.Fatalf("what was damaged is gone: %q, %v", names, err)
		}
		if crashed == nil && crash > 0 {
			return
		}
		if crashed != nil {
			opts.FS = errfs.Wrap(crashed, root)
			wantEmpty("after it")
		}
	}
}
