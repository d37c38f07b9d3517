package simnet

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxDatagram = 65507
	maxReceived = 1024 // datagrams not yet read; more are dropped
)

type packetConn struct {
	m      *machine
	addr   *net.UDPAddr
	ready  *sync.Cond // queue, closed or readBy changed
	queue  []datagram
	readBy deadline
	closed bool
}

type datagram struct {
	data []byte
	from *net.UDPAddr
}

func (p *packetConn) LocalAddr() net.Addr { return p.addr }

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p.m.n.mu.Lock()
	defer p.m.n.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, nil, p.opError("read", net.ErrClosed)
		case p.readBy.passed():
			return 0, nil, p.opError("read", os.ErrDeadlineExceeded)
		case len(p.queue) > 0:
			d := p.queue[0]
			p.queue = p.queue[1:]
			return copy(b, d.data), d.from, nil
		}
		p.ready.Wait()
	}
}

// WriteTo never waits. A datagram to nowhere is lost.
func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	n := p.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	host, port, err := splitHostPort(to.String())
	switch {
	case err != nil:
		return 0, p.opError("write", err)
	case p.closed:
		return 0, p.opError("write", net.ErrClosed)
	case len(b) > maxDatagram:
		return 0, p.opError("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	m := n.findLocked(host)
	if m == nil {
		return len(b), nil
	}
	d := datagram{append([]byte(nil), b...), p.addr}
	p.m.whenRunningLocked(func() { n.sendLocked(p.m, m, port, d) })
	return len(b), nil
}

// whenRunningLocked does f now or when the host is resumed.
func (m *machine) whenRunningLocked(f func()) {
	if !m.paused {
		f()
	} else if len(m.held) < 2*maxHeld {
		m.held = append(m.held, f)
	}
}

func (n *Net) sendLocked(from, to *machine, port uint16, d datagram) {
	times := 1
	l := n.linkLocked(from, to)
	if from != to {
		if n.chanceLocked(l.Loss) {
			return
		}
		if n.chanceLocked(l.Duplicate) {
			times = 2
		}
	}
	for range times {
		delay := n.travelLocked(from, to, len(d.data))
		if from != to && n.chanceLocked(l.Reorder) {
			delay += time.Duration(n.rng.Int64N(int64(4*(l.Delay+l.Jitter) + time.Millisecond)))
		}
		if !n.openLocked(from, to) {
			continue
		}
		time.AfterFunc(delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if !n.openLocked(from, to) || to.off {
				return
			}
			to.whenRunningLocked(func() { to.receiveLocked(port, d) })
		})
	}
}

func (m *machine) receiveLocked(port uint16, d datagram) {
	if p := m.udp[port]; p != nil && len(p.queue) < maxReceived {
		p.queue = append(p.queue, d)
		p.ready.Broadcast()
	}
}

func (p *packetConn) Close() error {
	p.m.n.mu.Lock()
	defer p.m.n.mu.Unlock()
	if p.closed {
		return p.opError("close", net.ErrClosed)
	}
	p.closeLocked()
	return nil
}

func (p *packetConn) closeLocked() {
	p.closed, p.queue = true, nil
	p.readBy.stopLocked()
	delete(p.m.udp, uint16(p.addr.Port))
	p.ready.Broadcast()
}

func (p *packetConn) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.m.n.mu.Lock()
	defer p.m.n.mu.Unlock()
	if p.closed {
		return p.opError("set", net.ErrClosed)
	}
	p.readBy.setLocked(t, p.ready)
	return nil
}

// SetWriteDeadline does nothing, since WriteTo never waits.
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }

func (p *packetConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: p.addr, Err: err}
}
