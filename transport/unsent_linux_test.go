package transport

import (
	"net"
	"syscall"
	"testing"
)

func TestKernelTakesLittleOfWhatMustWait(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	waitHere(&proved{Conn: &prefixed{Conn: &sealed{raw: c}}})
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if n, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat); err != nil || n != mostUnsent {
			t.Errorf("the kernel takes %d bytes more than it sends, %v; want %d", n, err, mostUnsent)
		}
	})
	waitHere(nil) // and what is no socket is left alone
}
