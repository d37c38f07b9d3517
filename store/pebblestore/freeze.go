package pebblestore

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/slotmesh/slotmesh/store"
)

// freezingFS is the file system that Pebble sees. The first operation that
// fails freezes it: the engine is parked, and from then on writes, syncs and
// removes are said to succeed and are left out. So the disk stays as a crash at
// that moment would leave it. This goes for what lies in the engine's own
// directory: a checkpoint, on another disk perhaps, fails alone.
//
// Errors could be handed on instead, but Pebble has no way back from many: it
// panics with its mutex in a state that ends the process where it cannot
// change over to another log, and calls Fatalf for the manifest.
//
// Tables are the exception, since what Pebble believes to have written there it
// drops from memory, and reads are to go on. Their errors reach Pebble, which
// tries again at once and without end. Once frozen, what memtables are flushed
// to is kept in memory, and what compactions write waits for Close.
type freezingFS struct {
	vfs.FS
	*parking
	dir     string
	flushed *vfs.MemFS
}

func newFreezingFS(fs vfs.FS, dir string, p *parking, w *watch) freezingFS {
	dir = fs.PathJoin(dir)
	return freezingFS{FS: watchedFS{fs, w, dir}, parking: p, dir: dir, flushed: vfs.NewMem()}
}

// owns reports whether a file is the engine's directory or lies in it, not below.
func (fs freezingFS) owns(name string) bool { return owns(fs.FS, fs.dir, name) }

func owns(fs vfs.FS, dir, name string) bool {
	return fs.PathJoin(name) == dir || fs.PathDir(name) == dir
}

type freezingFile struct {
	vfs.File
	*parking
	name string
}

var (
	_ vfs.FS   = freezingFS{}
	_ vfs.File = freezingFile{}
)

// frozen reports whether the engine is parked.
func (p *parking) frozen() bool {
	select {
	case <-p.parked:
		return true
	default:
		return false
	}
}

// freeze parks the engine if err is not nil.
func (p *parking) freeze(verb, name string, err error) {
	if err != nil {
		p.park(fmt.Errorf("%s %s: %w", verb, name, err))
	}
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// nowhere is a file that takes what is not written.
func (fs freezingFS) nowhere(name string) (vfs.File, error) {
	f, err := vfs.NewMem().Create("nowhere", vfs.WriteCategoryUnspecified)
	return freezingFile{f, fs.parking, name}, err
}

// createTable creates a table, which Pebble opens again by its name.
func (fs freezingFS) createTable(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !fs.frozen() {
		f, err := fs.FS.Create(name, c)
		fs.freeze("create", name, err)
		return f, err
	}
	if c != "pebble-memtable-flush" {
		<-fs.freed
		return nil, store.ErrParked
	}
	return fs.flushed.Create(fs.PathBase(name), c)
}

func (fs freezingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if isTable(name) && fs.owns(name) && fs.frozen() {
		if f, err := fs.flushed.Open(fs.PathBase(name)); err == nil {
			return f, nil
		}
	}
	return fs.FS.Open(name, opts...)
}

// open opens a file other than a table for writing.
func (fs freezingFS) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if fs.frozen() {
		return fs.nowhere(name)
	}
	f, err := open()
	if err != nil {
		fs.freeze("create", name, err)
		return fs.nowhere(name)
	}
	return freezingFile{f, fs.parking, name}, nil
}

func (fs freezingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	switch {
	case !fs.owns(name):
		return fs.FS.Create(name, c)
	case isTable(name):
		return fs.createTable(name, c)
	}
	return fs.open(name, func() (vfs.File, error) {
		if strings.HasPrefix(fs.PathBase(name), "marker.") {
			// It names a file that was just made. Pebble syncs both names at once, and a
			// crash before that could leave this one alone.
			if err := syncDir(fs.FS, fs.dir); err != nil {
				return nil, err
			}
		}
		return fs.FS.Create(name, c)
	})
}

func (fs freezingFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.open(name, func() (vfs.File, error) { return fs.FS.ReuseForWrite(old, name, c) })
}

func (fs freezingFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil || !fs.owns(name) {
		return f, err
	}
	return freezingFile{f, fs.parking, name}, nil
}

func (fs freezingFS) Remove(name string) error {
	if fs.owns(name) && fs.frozen() {
		return nil
	}
	return fs.FS.Remove(name)
}

func (fs freezingFS) RemoveAll(name string) error {
	if fs.owns(name) && fs.frozen() {
		return nil
	}
	return fs.FS.RemoveAll(name)
}

func (fs freezingFS) Rename(old, name string) error {
	if fs.owns(name) && fs.frozen() {
		return nil
	}
	return fs.FS.Rename(old, name)
}

func (f freezingFile) Write(p []byte) (int, error) {
	if !f.frozen() {
		_, err := f.File.Write(p)
		f.freeze("write", f.name, err)
	}
	return len(p), nil
}

func (f freezingFile) Sync() error { return f.sync(f.File.Sync) }

func (f freezingFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f freezingFile) sync(fn func() error) error {
	if !f.frozen() {
		f.freeze("sync", f.name, fn())
	}
	return nil
}

func (f freezingFile) SyncTo(length int64) (full bool, err error) {
	if f.frozen() {
		return true, nil
	}
	full, err = f.File.SyncTo(length)
	f.freeze("sync", f.name, err)
	return full, nil
}

func (f freezingFile) Preallocate(offset, length int64) error {
	if !f.frozen() {
		f.freeze("preallocate", f.name, f.File.Preallocate(offset, length))
	}
	return nil
}

func (f freezingFile) Close() error {
	err := f.File.Close()
	if !f.frozen() {
		f.freeze("close", f.name, err)
	}
	return nil
}
