package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint writes a copy that Open can open into dir, which must not exist.
// It has all that was applied before, and of each slot a prefix of its history.
// Reads and writes go on meanwhile; files are linked, not copied, where the
// file system can.
//
// The copy is made beside dir and renamed, so that dir is whole or not there. A disk
// that fails under it costs the copy alone.
func (s *Store) Checkpoint(dir string) error {
	if err := s.flush(nil); err != nil {
		return err
	}
	dir = s.opts.FS.PathJoin(dir)
	s.copying.Lock() // or another copy to dir would take this one for what a crash left
	defer s.copying.Unlock()
	if err := s.disk(func() error { return s.copyTo(dir) }); err != nil {
		return fmt.Errorf("checkpoint to %s: %w", dir, err)
	}
	return nil
}

func (s *Store) copyTo(dir string) error {
	disk, part := s.opts.FS, dir+".part"
	if _, err := disk.Stat(dir); err == nil {
		return fs.ErrExist
	}
	if err := disk.RemoveAll(part); err != nil { // what a crash left
		return err
	}
	err := s.guard(func() error { return s.db.Checkpoint(part, pebble.WithFlushedWAL()) })
	if err = errors.Join(err, s.reason()); err == nil {
		err = disk.Rename(part, dir)
	}
	if err == nil {
		return syncDir(disk, disk.PathDir(dir))
	}
	_ = disk.RemoveAll(part)
	return err
}
