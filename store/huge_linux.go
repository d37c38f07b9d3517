package store

import (
	"syscall"
	"unsafe"
)

const hugePage = 2 << 20

// advise asks for the huge pages that a slab reaches into, before it is used:
// slabs mostly lie side by side. Where it fails, pages are small.
func advise(s *slab) {
	at := uintptr(unsafe.Pointer(s))
	from, to := at&^(hugePage-1), (at+unsafe.Sizeof(*s)+hugePage-1)&^(hugePage-1)
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_HUGEPAGE)
}
