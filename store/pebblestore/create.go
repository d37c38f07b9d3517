package pebblestore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// incomplete is the name of a file that lies in a directory until its database
// is made. A crash before leaves what Pebble may not open; nothing was promised
// by then, so Open removes it and begins again.
const incomplete = "INCOMPLETE"

// foreign reports whether a name in a directory is no part of its database: the lock, what
// was moved aside within it, and what file systems have at the root of a volume.
func foreign(name string) bool {
	return name == "LOCK" || name == "lost+found" || strings.HasPrefix(name, asidePrefix)
}

// prepare makes the directory and its parents, clears one that was never
// complete, and reports whether a database is to be made in it.
func prepare(fs vfs.FS, dir string) (fresh bool, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return false, err
	}
	empty, half := true, false
	for _, name := range names {
		half = half || name == incomplete
		empty = empty && foreign(name)
	}
	if !empty && !half {
		return false, nil
	}
	for _, name := range names {
		if name != incomplete && !foreign(name) {
			if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
				return false, err
			}
		}
	}
	if !half {
		f, err := fs.Create(fs.PathJoin(dir, incomplete), vfs.WriteCategoryUnspecified)
		if err != nil {
			return false, err
		}
		if err := f.Close(); err != nil {
			return false, err
		}
	}
	return true, syncDir(fs, dir)
}

// complete ends what prepare began.
func complete(fs vfs.FS, dir string) error {
	if err := fs.Remove(fs.PathJoin(dir, incomplete)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// makeDir makes a directory, so that it outlives a crash.
func makeDir(fs vfs.FS, dir string) error {
	changed := []string{fs.PathDir(dir)}
	for at := changed[0]; fs.PathDir(at) != at; at = fs.PathDir(at) {
		if _, err := fs.Stat(at); err == nil {
			break
		}
		changed = append(changed, fs.PathDir(at))
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, at := range changed {
		if err := syncDir(fs, at); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return d.Close()
}

const asidePrefix = "damaged-"

// moveAside renames a directory to a name that is free. One that cannot be renamed, as
// the root of a volume, keeps its name, and what is in it goes into a directory in it.
func moveAside(fs vfs.FS, dir string) (to string, err error) {
	dir = strings.TrimRight(dir, "/")
	to = free(fs, dir+"."+asidePrefix)
	if err := fs.Rename(dir, to); err == nil {
		return to, syncDir(fs, fs.PathDir(dir))
	}
	to = free(fs, fs.PathJoin(dir, asidePrefix))
	names, err := fs.List(dir)
	if err != nil {
		return "", err
	}
	if err := fs.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	// The marker that names the manifest goes last: Pebble finds no manifest where a crash
	// cuts this short. Without marker it would begin a new database with what is left.
	for _, last := range []bool{false, true} {
		for _, name := range names {
			if foreign(name) || strings.HasPrefix(name, manifestMarker) != last {
				continue
			}
			if err := fs.Rename(fs.PathJoin(dir, name), fs.PathJoin(to, name)); err != nil {
				return "", err
			}
		}
		if err := errors.Join(syncDir(fs, to), syncDir(fs, dir)); err != nil {
			return "", err
		}
	}
	return to, nil
}

const manifestMarker = "marker.manifest."

// free is the first name that begins so, and ends with a number, that nothing has.
func free(fs vfs.FS, begin string) string {
	for i := 1; ; i++ {
		name := fmt.Sprint(begin, i)
		if _, err := fs.Stat(name); err != nil {
			return name
		}
	}
}
