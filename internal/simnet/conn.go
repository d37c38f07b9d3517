package simnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection, with its kernel's part: what it sends stays
// in flight until the other end's kernel has it.
type conn struct {
	n             *Net
	m             *machine
	local, remote *net.TCPAddr
	peer          *conn

	readable, writable *sync.Cond // something changed that a reader or writer waits for
	readBy, writeBy    deadline

	in     []byte // arrived and not read
	eof    bool   // a FIN arrived
	fin    bool   // ours was sent: no more writes
	closed bool   // by our program
	broken error  // reset or timed out

	flight  []segment
	pump    *time.Timer // delivers the head of flight
	unacked int         // bytes sent and not acknowledged
	held    int         // of these, delivered, but the way back is cut
	stalled time.Time   // since when no acknowledgement comes
	giveUp  *time.Timer // ends a connection that is stalled too long
}

// segment is something in flight: data, or the end.
type segment struct {
	at   time.Time
	data []byte
	kind segmentKind
}

type segmentKind uint8

const (
	data segmentKind = iota
	fin
	rst
)

const maxSegment = 16 << 10

func newConn(n *Net, m *machine, local, remote *net.TCPAddr) *conn {
	return &conn{
		n: n, m: m, local: local, remote: remote,
		readable: sync.NewCond(&n.mu), writable: sync.NewCond(&n.mu),
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case c.readBy.passed():
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case len(c.in) > 0:
			k := copy(b, c.in)
			if c.in = c.in[k:]; len(c.in) == 0 {
				c.in = nil
			}
			c.peer.writable.Broadcast()
			return k, nil
		case c.broken != nil:
			return 0, c.opError("read", c.broken)
		case c.eof:
			return 0, io.EOF
		}
		c.readable.Wait()
	}
}

func (c *conn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	written := 0
	for {
		switch {
		case c.closed:
			return written, c.opError("write", net.ErrClosed)
		case c.broken != nil:
			return written, c.opError("write", c.broken)
		case c.fin:
			return written, c.opError("write", syscall.EPIPE)
		case c.writeBy.passed():
			return written, c.opError("write", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return written, nil
		}
		k := min(c.n.Window-c.unacked-len(c.peer.in), len(b), maxSegment)
		if k <= 0 {
			c.writable.Wait()
			continue
		}
		c.unacked += k
		c.sendLocked(segment{data: append([]byte(nil), b[:k]...)})
		b = b[k:]
		written += k
	}
}

// CloseWrite sends a FIN; reading goes on.
func (c *conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	if !c.fin && c.broken == nil {
		c.fin = true
		c.sendLocked(segment{kind: fin})
	}
	c.writable.Broadcast()
	return nil
}

// Close sends what is in flight and a FIN; or, when something was not read, a
// reset, as Linux does.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	switch {
	case c.broken != nil:
	case len(c.in) > 0:
		c.sendLocked(segment{kind: rst})
	case !c.fin:
		c.sendLocked(segment{kind: fin})
	}
	c.fin, c.in = true, nil
	c.wakeLocked()
	c.settleLocked()
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(&c.readBy, c.readable, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, c.writable, t) }

func (c *conn) setDeadline(d *deadline, wake *sync.Cond, t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	d.setLocked(t, wake)
	return nil
}

func (c *conn) opError(op string, err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		err = os.NewSyscallError(op, err)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (c *conn) wakeLocked() {
	c.readable.Broadcast()
	c.writable.Broadcast()
}

// deadline is a time after which waiting ends.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) setLocked(t time.Time, wake *sync.Cond) {
	d.stopLocked()
	d.at = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() {
			wake.L.Lock()
			defer wake.L.Unlock()
			wake.Broadcast()
		})
	}
	wake.Broadcast()
}

func (d *deadline) stopLocked() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
