package transport

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/peer"
)

// conn is a net.Conn that remembers how it ended: what happens first counts.
// grpc reports an ended connection by text only, and an end by the peer's
// kernel is half a proof that the peer is gone.
type conn struct {
	net.Conn
	cause  atomic.Uint32 // a Cause, 0 while it lives
	closed func()        // run by Close; nil if it was dialed
	timer  *time.Timer   // closes it, until taken; likewise
	in     *inflow       // nil: grpc gets what comes unseen

	wmu gate // held from a frame's first byte to its last
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, wmu: make(gate, 1)} }

// gate is a mutex that is held while the network is waited for. It is a
// channel, because in a simulated cluster no time passes while somebody waits
// for a sync.Mutex.
type gate chan struct{}

func (t gate) Lock()   { t <- struct{}{} }
func (t gate) Unlock() { <-t }

func (t gate) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *conn) Read(p []byte) (n int, err error) {
	if c.in != nil {
		n, err = c.in.read(p)
	} else {
		n, err = c.Conn.Read(p)
	}
	if err != nil {
		c.note(causeOf(err))
	}
	return n, err
}

// Write is called by grpc, with whole frames once a session has the connection.
func (c *conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	n, err := c.Conn.Write(p)
	c.wmu.Unlock()
	if err != nil {
		c.note(causeOf(err))
	}
	return n, err
}

// Close is called by grpc, for reasons of its own unless a cause is noted.
func (c *conn) Close() error {
	c.note(CauseOther)
	if f := c.closed; f != nil {
		f()
	}
	if c.in != nil {
		c.in.close()
	}
	return c.Conn.Close()
}

// shut closes c for the given cause, unless it ended before.
func (c *conn) shut(cause Cause) {
	c.note(cause)
	_ = c.Close() // nothing can be done about a failing close
}

// passAll says that c carries no data stream.
func (c *conn) passAll() {
	if !c.in.claimed.Load() {
		c.in.plain.Store(true)
	}
}

// taken says that a stream on an accepted connection is in use.
func (c *conn) taken() { c.timer.Stop() }

func (c *conn) note(cause Cause) { c.cause.CompareAndSwap(0, uint32(cause)) }

func (c *conn) ended() Cause { return Cause(c.cause.Load()) }

func causeOf(err error) Cause {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe): // under TLS in the middle of a record, too
		return CauseEOF
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return CauseReset
	default:
		return CauseOther
	}
}

// RemoteAddr carries the conn itself, so that a stream's handler finds the
// connection it came by.
func (c *conn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

type connAddr struct {
	net.Addr
	conn *conn
}

// connOf returns the connection of a stream being served, nil if it is none
// of ours.
func connOf(ctx context.Context) *conn {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(connAddr); ok {
			return a.conn
		}
	}
	return nil
}

// maxConns bounds the connections accepted at one time.
const maxConns = 4096

// listener wraps what it accepts into conns, and closes them when it is closed: grpc
// would wait for those that are in the middle of a handshake. A connection of which
// no stream was taken within connectTime is closed too.
type listener struct {
	net.Listener
	t *Transport

	mu     sync.Mutex // guards below
	open   map[*conn]struct{}
	closed bool
}

func newListener(t *Transport) *listener {
	return &listener{Listener: t.cfg.Listener, t: t, open: map[*conn]struct{}{}}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := newConn(raw)
		c.in = newInflow(c, &l.t.pool, l.t.cfg.maxReceive(), prefaceSize)
		if l.enter(c) {
			return c, nil
		}
		_ = raw.Close()
	}
}

func (l *listener) enter(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= maxConns {
		return false
	}
	l.open[c] = struct{}{}
	c.closed = func() { l.leave(c) }
	c.timer = time.AfterFunc(connectTime, func() { c.shut(CauseClosedByUs) })
	return true
}

func (l *listener) leave(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
	c.timer.Stop()
}

// Close is called by grpc before it waits for its connections.
func (l *listener) Close() error {
	l.mu.Lock()
	l.closed = true
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	err := l.Listener.Close()
	for _, c := range open {
		c.shut(CauseClosedByUs)
	}
	return err
}
