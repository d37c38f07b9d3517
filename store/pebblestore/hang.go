package pebblestore

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A disk may hang: what is asked of it neither succeeds nor fails, and writers would wait
// for ever. One that has answered nothing for hangLimit counts as failed, though it may be
// back later. That is longer than most have to think (a controller that is reset, a volume
// that changes over to another host), and as long as CockroachDB waits for a sync of its
// log; memory takes writes meanwhile, as many as MaxDirty.
const (
	hangLimit = 20 * time.Second
	// It is looked that often in this time, and each look has to find no progress: a
	// process that was stopped for longer finds its disk well.
	hangLooks = 10
)

// pulse counts operations of the disk.
type pulse struct {
	begun, ended atomic.Uint64

	seen  uint64 // ended at the last look; of watchDisk alone, like the next one
	still int    // looks since that found an operation under way and none ended
}

func (p *pulse) do(fn func() error) error {
	p.begun.Add(1)
	defer p.ended.Add(1)
	return fn()
}

func (p *pulse) awaited() bool {
	ended := p.ended.Load()
	return p.begun.Load() > ended
}

// look returns for how many looks in a row nothing was answered.
func (p *pulse) look() int {
	ended := p.ended.Load()
	if ended == p.seen && p.awaited() {
		p.still++
	} else {
		p.seen, p.still = ended, 0
	}
	return p.still
}

// watch tells whether the disk answers. Reads have a pulse of their own: those that the
// operating system has in memory go on while nothing can be written.
type watch struct {
	reads, changes pulse
	hangs          atomic.Bool   // it does not answer, and was given up
	stop, ended    chan struct{} // of watchDisk; the first is closed by Close
}

// awaited reports whether the disk has something to answer.
func (w *watch) awaited() bool { return w.reads.awaited() || w.changes.awaited() }

func newWatch() *watch { return &watch{stop: make(chan struct{}), ended: make(chan struct{})} }

// watchDisk parks the engine when the disk hangs. It ends then, or at the end of Close.
func (s *Store) watchDisk() {
	defer close(s.watch.ended)
	tick := time.NewTicker(hangLimit / hangLooks)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.watch.stop:
			return
		}
		switch still := max(s.watch.changes.look(), s.watch.reads.look()); still {
		case hangLooks / 3:
			s.log.Warn("disk does not answer", "for", hangLimit/hangLooks*(hangLooks/3))
		case hangLooks:
			s.watch.hangs.Store(true)
			s.park(fmt.Errorf("%s has answered nothing for %v", s.opts.Dir, hangLimit))
			return
		}
	}
}

// watchedFS is a file system whose operations in a directory are counted.
type watchedFS struct {
	vfs.FS
	*watch
	dir string
}

type watchedFile struct {
	vfs.File
	*watch
}

var (
	_ vfs.FS   = watchedFS{}
	_ vfs.File = watchedFile{}
)

func (fs watchedFS) change(name string, fn func() error) error {
	if !owns(fs.FS, fs.dir, name) {
		return fn()
	}
	return fs.changes.do(fn)
}

func (fs watchedFS) file(name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = fs.change(name, func() error {
		f, err = open()
		return err
	})
	if err != nil || !owns(fs.FS, fs.dir, name) {
		return f, err
	}
	return watchedFile{f, fs.watch}, nil
}

func (fs watchedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.Create(name, c) })
}

func (fs watchedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.ReuseForWrite(old, name, c) })
}

func (fs watchedFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.Open(name, opts...) })
}

func (fs watchedFS) OpenDir(name string) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.OpenDir(name) })
}

func (fs watchedFS) Remove(name string) error {
	return fs.change(name, func() error { return fs.FS.Remove(name) })
}

func (fs watchedFS) Rename(old, name string) error {
	return fs.change(name, func() error { return fs.FS.Rename(old, name) })
}

func (f watchedFile) ReadAt(p []byte, off int64) (n int, err error) {
	f.reads.begun.Add(1)
	defer f.reads.ended.Add(1)
	return f.File.ReadAt(p, off)
}

func (f watchedFile) Read(p []byte) (n int, err error) {
	f.reads.begun.Add(1)
	defer f.reads.ended.Add(1)
	return f.File.Read(p)
}

func (f watchedFile) Write(p []byte) (n int, err error) {
	f.changes.begun.Add(1)
	defer f.changes.ended.Add(1)
	return f.File.Write(p)
}

func (f watchedFile) Sync() error { return f.changes.do(f.File.Sync) }

func (f watchedFile) SyncData() error { return f.changes.do(f.File.SyncData) }

func (f watchedFile) SyncTo(length int64) (full bool, err error) {
	f.changes.begun.Add(1)
	defer f.changes.ended.Add(1)
	return f.File.SyncTo(length)
}

func (f watchedFile) Preallocate(offset, length int64) error {
	return f.changes.do(func() error { return f.File.Preallocate(offset, length) })
}

func (f watchedFile) Close() error { return f.changes.do(f.File.Close) }
