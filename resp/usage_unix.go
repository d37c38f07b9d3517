//go:build unix

package resp

import (
	"syscall"
	"time"
)

// usage is the CPU time that this process has taken; false where that is not known.
func usage() (user, system time.Duration, ok bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, false
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano()), true
}
