package pebblestore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint writes a copy that Open can open into dir, which must not exist.
// It has all that was applied before, and of each slot a prefix of its history.
// Reads and writes go on meanwhile; files are linked, not copied, where the
// file system can.
func (s *Store) Checkpoint(dir string) error {
	if err := s.flush(nil); err != nil {
		return err
	}
	err := s.disk(func() error {
		err := s.guard(func() error { return s.db.Checkpoint(dir, pebble.WithFlushedWAL()) })
		return errors.Join(err, s.reason())
	})
	if err != nil {
		return fmt.Errorf("checkpoint to %s: %w", dir, err)
	}
	return nil
}
