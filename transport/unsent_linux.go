package transport

import (
	"net"
	"syscall"
)

const (
	tcpNotsentLowat = 25       // TCP_NOTSENT_LOWAT, which package syscall lacks
	mostUnsent      = 64 << 10 // bytes
)

// waitHere has the kernel take little more than it may send at once. Its buffers hold
// a megabyte otherwise, half a second of a slow link, and what lies there nothing can
// overtake.
func waitHere(c net.Conn) {
	s := socketOf(c)
	if s == nil {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, mostUnsent) // it would only be slower
		})
	}
}

// socketOf returns what can be told of the socket under c, nil if there is none.
func socketOf(c net.Conn) syscall.Conn {
	for {
		switch w := c.(type) {
		case *proved:
			c = w.Conn
		case *prefixed:
			c = w.Conn
		case *sealed:
			c = w.raw
		default:
			s, _ := c.(syscall.Conn)
			return s
		}
	}
}
