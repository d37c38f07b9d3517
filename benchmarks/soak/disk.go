package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// disk is a small file system, to be filled.
type disk struct {
	dir     string
	mounted bool
}

func smallDisk(dir string) (*disk, error) {
	if dir != "" {
		return &disk{dir: dir}, nil
	}
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		_ = os.Remove(dir)
		return nil, fmt.Errorf("a tmpfs cannot be mounted (%w): give -dir on a small file system", err)
	}
	return &disk{dir, true}, nil
}

func (d *disk) data() string   { return filepath.Join(d.dir, "data") }
func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all the room that is left.
func (d *disk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}

func (d *disk) remove() {
	if d.mounted {
		_ = syscall.Unmount(d.dir, syscall.MNT_DETACH)
		_ = os.Remove(d.dir)
		return
	}
	_ = os.RemoveAll(d.data())
	_ = os.Remove(d.filler())
}

// fillDisk fills the first replica's disk under load, empties it again and
// starts the replica anew, as its operator would.
func (s *soak) fillDisk(keys *ledger) error {
	if err := s.disk.fill(); err != nil {
		return err
	}
	during := s.load(keys, 3*time.Second, s.workers, paced)
	during.print("disk full", nil)
	if during.failed > 0 {
		s.fault("%d calls failed while a disk was full: %s", during.failed, during.lastErr)
	}
	began := time.Now()
	_ = s.caches[0].Close() // its disk has failed: it says so
	if err := os.Remove(s.disk.filler()); err != nil {
		return err
	}
	c, err := s.open(0)
	if err != nil {
		return fmt.Errorf("start with room on the disk: %w", err)
	}
	s.caches[0] = c
	if err := s.rest(); err != nil {
		return err
	}
	print(map[string]any{"stage": "disk back", "seconds": time.Since(began).Seconds()})
	return nil
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	parts := strings.Fields(string(text))
	if len(parts) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(parts[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
