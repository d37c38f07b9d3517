package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// floors holds, for each key, the number of the newest acknowledged write. All
// processes share the memory, so that each of them knows at once what a read
// that begins now must not miss.
type floors []atomic.Uint64

// createFloors makes the file of n floors, all zero.
func createFloors(n int) (path string, err error) {
	f, err := os.CreateTemp("", "slotmesh-floors-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.Name(), f.Truncate(int64(n * 8))
}

func openFloors(path string, n int) (floors, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping stays
	mem, err := syscall.Mmap(int(f.Fd()), 0, n*8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&mem[0])), n), nil
}
