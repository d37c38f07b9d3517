//go:build unix

package transport

import "syscall"

const canTry = true

// writeNow writes what fits into a socket's buffer; 0 bytes and no error mean
// nothing.
func writeNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}
