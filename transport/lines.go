package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	maxPacket   = 65535            // bytes, as of a datagram
	lineQueue   = 128              // packets that wait for one address; beyond it they are lost
	lineIdle    = 30 * time.Second // after which a line without packets is given up
	lineWait    = 2 * time.Second  // to connect and to write
	maxLines    = 4096             // addresses written to, and as many read from
	lineBacklog = 256              // packets read and not yet taken
)

// Lines carries datagrams inside streams, so that gossip needs no secret of
// its own where TLS guards the port: a datagram from nowhere cannot be trusted.
// Like datagrams they may be lost, at every full queue and with every
// connection, and WriteTo never waits.
type Lines struct {
	ln   net.Listener
	dial func(context.Context, string) (net.Conn, error)
	in   chan arrival

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards out, open and the deadline's change
	out    map[string]chan []byte
	open   map[net.Conn]struct{} // accepted
	closed bool
}

type arrival struct {
	b    []byte
	from net.Addr
}

var _ net.PacketConn = (*Lines)(nil)

// NewLines returns a PacketConn that accepts its streams from ln, a Mux's
// Packets, which it closes, and dials others by dial.
func NewLines(ln net.Listener, dial func(context.Context, string) (net.Conn, error)) *Lines {
	l := &Lines{
		ln: ln, dial: dialAs(dial, packetMagic), in: make(chan arrival, lineBacklog),
		out: map[string]chan []byte{}, open: map[net.Conn]struct{}{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.accept) // ends when ln closes
	return l
}

// WriteTo queues b for the node at addr.
func (l *Lines) WriteTo(b []byte, addr net.Addr) (int, error) {
	if len(b) > maxPacket {
		return 0, ErrTooLarge
	}
	to := addr.String()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, net.ErrClosed
	}
	q := l.out[to]
	if q == nil {
		if len(l.out) >= maxLines {
			return len(b), nil // lost
		}
		q = make(chan []byte, lineQueue)
		l.out[to] = q
		l.wg.Go(func() { l.write(to, q) }) // ends with Close, or when idle or without a connection
	}
	select {
	case q <- append(make([]byte, 0, len(b)), b...):
	default: // lost
	}
	return len(b), nil
}

// write sends what is queued for one address until there is nothing more.
func (l *Lines) write(to string, q chan []byte) {
	defer l.hangUp(to)
	ctx, cancel := context.WithTimeout(l.ctx, lineWait)
	c, err := l.dial(ctx, to)
	cancel()
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(l.ctx, func() { _ = c.Close() })
	defer stop()
	idle := time.NewTimer(lineIdle)
	defer idle.Stop()
	var frame []byte
	for {
		select {
		case b := <-q:
			frame = binary.BigEndian.AppendUint16(frame[:0], uint16(len(b)))
			frame = append(frame, b...)
			_ = c.SetWriteDeadline(time.Now().Add(lineWait))
			if _, err := c.Write(frame); err != nil {
				return
			}
			idle.Reset(lineIdle)
		case <-idle.C:
			return
		case <-l.ctx.Done():
			return
		}
	}
}

// hangUp forgets a line; what is still queued is lost, and the next packet
// dials anew.
func (l *Lines) hangUp(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.out, to)
}

func (l *Lines) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return // a side of a Mux fails only when it closes
		}
		l.mu.Lock()
		full := l.closed || len(l.open) >= maxLines
		if !full {
			l.open[c] = struct{}{}
		}
		l.mu.Unlock()
		if full {
			_ = c.Close()
			continue
		}
		l.wg.Go(func() { l.read(c) }) // ends with c
	}
}

func (l *Lines) read(c net.Conn) {
	defer func() {
		_ = c.Close()
		l.mu.Lock()
		delete(l.open, c)
		l.mu.Unlock()
	}()
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(2 * lineIdle))
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		select {
		case l.in <- arrival{b, c.RemoteAddr()}:
		case <-l.ctx.Done():
			return
		}
	}
}

// ReadFrom returns the next packet and the address its stream came from, whose
// port nobody listens at.
func (l *Lines) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case a := <-l.in:
		return copy(p, a.b), a.from, nil
	case <-l.ctx.Done():
		return 0, nil, net.ErrClosed
	}
}

// Close returns when no goroutine of l is left.
func (l *Lines) Close() error {
	l.mu.Lock()
	l.closed = true
	open := make([]net.Conn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	l.cancel()
	err := l.ln.Close()
	for _, c := range open {
		_ = c.Close()
	}
	l.wg.Wait()
	return err
}

// LocalAddr returns the address of the port.
func (l *Lines) LocalAddr() net.Addr { return l.ln.Addr() }

// SetDeadline and its like are not supported.
func (l *Lines) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline is not supported.
func (l *Lines) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline is not supported.
func (l *Lines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
