package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// GossipMagic is what a gossip connection starts with. It cannot be the start
// of HTTP/2, whose first bytes are "PRI ", nor of TLS.
const GossipMagic = "SMg1"

const (
	grpcMagic   = "PRI " // of HTTP/2's client preface
	maxUnknown  = 256    // connections that have not said what they are
	unknownTime = 3 * time.Second
	maxPending  = 256 // identified and not yet accepted, per side
)

// Mux splits one TCP listener by the first four bytes of each connection:
// gRPC and gossip streams. Anything else is closed, and so is the oldest
// connection that has not said what it is when there are too many.
type Mux struct {
	ln           net.Listener
	grpc, gossip *side
	done         chan struct{}
	wg           sync.WaitGroup

	mu      sync.Mutex // guards unknown and closed
	unknown []net.Conn // oldest first
	closed  bool
}

// NewMux starts accepting from ln, which it owns from now on.
func NewMux(ln net.Listener) *Mux {
	m := &Mux{ln: ln, grpc: newSide(ln), gossip: newSide(ln), done: make(chan struct{})}
	m.wg.Go(m.accept) // ends when ln closes
	return m
}

// GRPC returns the listener of gRPC connections.
func (m *Mux) GRPC() net.Listener { return m.grpc }

// Gossip returns the listener of gossip streams, without their magic.
func (m *Mux) Gossip() net.Listener { return m.gossip }

// Close closes the listener and what has not been accepted, and returns when
// no goroutine of m is left.
func (m *Mux) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.wg.Wait()
		return
	}
	m.closed = true
	close(m.done)
	waiting := m.unknown
	m.unknown = nil
	m.mu.Unlock()
	_ = m.ln.Close()
	for _, c := range waiting {
		_ = c.Close()
	}
	m.wg.Wait()
	_ = m.grpc.Close()
	_ = m.gossip.Close()
}

func (m *Mux) accept() {
	for pause := time.Duration(0); ; {
		c, err := m.ln.Accept()
		if err == nil {
			pause = 0
			if m.enter(c) {
				m.wg.Go(func() { m.identify(c) }) // ends with the deadline or the connection
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Such as too many open files: it may pass.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-m.done:
			return
		}
	}
}

// enter adds c to the unknown, and closes the oldest of too many.
func (m *Mux) enter(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = c.Close()
		return false
	}
	m.unknown = append(m.unknown, c)
	if len(m.unknown) > maxUnknown {
		_ = m.unknown[0].Close() // its identify removes it
		m.unknown = m.unknown[1:]
	}
	return true
}

// leave removes c; false means that it was closed meanwhile.
func (m *Mux) leave(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.unknown {
		if m.unknown[i] == c {
			m.unknown = append(m.unknown[:i], m.unknown[i+1:]...)
			return true
		}
	}
	return false
}

func (m *Mux) identify(c net.Conn) {
	var magic [4]byte
	timer := time.AfterFunc(unknownTime, func() { _ = c.Close() })
	_, err := io.ReadFull(c, magic[:])
	if !m.leave(c) || !timer.Stop() || err != nil {
		timer.Stop()
		_ = c.Close()
		return
	}
	switch string(magic[:]) {
	case grpcMagic:
		m.grpc.offer(&prefixed{Conn: c, prefix: magic[:]})
	case GossipMagic:
		m.gossip.offer(c)
	default:
		_ = c.Close()
	}
}

// prefixed gives back the bytes that were read to identify it.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	p.prefix = p.prefix[n:]
	return n, nil
}

// SyscallConn makes prefixed a syscall.Conn, for writing.
func (p *prefixed) SyscallConn() (syscall.RawConn, error) {
	if c, ok := p.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// side is one of the two listeners.
type side struct {
	ln    net.Listener
	conns chan net.Conn
	done  chan struct{}
	mu    sync.Mutex // guards closing done against offers
	shut  bool
}

func newSide(ln net.Listener) *side {
	return &side{ln: ln, conns: make(chan net.Conn, maxPending), done: make(chan struct{})}
}

// offer hands c to whoever accepts, or closes it.
func (s *side) offer(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.shut {
		select {
		case s.conns <- c:
			return
		default: // nobody accepts: the program is overloaded
		}
	}
	_ = c.Close()
}

func (s *side) Accept() (net.Conn, error) {
	select {
	case <-s.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close refuses further connections of this kind; the port stays open until
// the Mux closes.
func (s *side) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil
	}
	s.shut = true
	close(s.done)
	for {
		select {
		case c := <-s.conns:
			_ = c.Close()
		default:
			return nil
		}
	}
}

func (s *side) Addr() net.Addr { return s.ln.Addr() }

// DialGossip returns a dial function whose connections say that they are
// gossip.
func DialGossip(dial func(ctx context.Context, addr string) (net.Conn, error)) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		if t, ok := ctx.Deadline(); ok {
			_ = c.SetWriteDeadline(t)
			defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
		}
		if _, err := io.WriteString(c, GossipMagic); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
}
