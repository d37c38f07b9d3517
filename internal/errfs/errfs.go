// Package errfs injects faults into all files of a file system, for tests.
package errfs

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Wrap is errorfs.Wrap, of which a file that is used again escapes: Pebble does
// that with its logs. Here such a file is made anew.
func Wrap(fs vfs.FS, inj errorfs.Injector) vfs.FS { return wrapped{errorfs.Wrap(fs, inj)} }

type wrapped struct{ vfs.FS }

func (w wrapped) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := w.Remove(oldname); err != nil {
		return nil, err
	}
	return w.Create(newname, category)
}
