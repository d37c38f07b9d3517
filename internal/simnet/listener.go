package simnet

import (
	"net"
	"sync"
)

const maxBacklog = 1024 // connections not yet accepted

type listener struct {
	m      *machine
	addr   *net.TCPAddr
	ready  *sync.Cond // queue or closed changed
	queue  []*conn
	closed bool
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	l.m.n.mu.Lock()
	defer l.m.n.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		case len(l.queue) > 0 && !l.m.paused:
			c := l.queue[0]
			l.queue = l.queue[1:]
			return c, nil
		}
		l.ready.Wait()
	}
}

// Close resets what was not accepted.
func (l *listener) Close() error {
	l.m.n.mu.Lock()
	defer l.m.n.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	delete(l.m.tcp, uint16(l.addr.Port))
	for _, c := range l.queue {
		c.killLocked()
	}
	l.queue = nil
	l.ready.Broadcast()
}
