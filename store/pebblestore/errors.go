package pebblestore

import "errors"

var (
	// ErrLocked means that another process, or another Store of this one, has
	// the directory open.
	ErrLocked = errors.New("pebblestore: directory is in use")
	// ErrCorrupt means that a file is torn or damaged; the error that wraps it
	// names the directory and, as far as it is known, the file.
	ErrCorrupt = errors.New("pebblestore: data on disk is corrupt")
	// ErrFormat means that the directory was written by a release this one
	// does not understand.
	ErrFormat = errors.New("pebblestore: unknown format version")
)
