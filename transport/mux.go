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
	packetMagic = "SMp1"
	maxUnknown  = 256 // connections that have not said what they are
	unknownTime = 3 * time.Second
	maxPending  = 256 // identified and not yet accepted, per side
)

// Mux splits one TCP listener by the first four bytes of each connection:
// gRPC, gossip streams and gossip packets that travel in streams. Anything else
// is closed, as is what its Guard does not let in, before a byte of it is looked
// at. When too many connections have not said what they are, the oldest one is
// closed of the host that has most of them.
type Mux struct {
	ln     net.Listener
	guard  *Guard
	grpc   *side
	gossip *side
	packet *side
	done   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex // guards unknown, hosts and closed
	unknown []net.Conn // oldest first
	hosts   map[string]int
	closed  bool
}

// NewMux starts accepting from ln, which it owns from now on. guard may be nil.
func NewMux(ln net.Listener, guard *Guard) *Mux {
	m := &Mux{
		ln: ln, guard: guard, grpc: newSide(ln), gossip: newSide(ln), packet: newSide(ln),
		done: make(chan struct{}), hosts: map[string]int{},
	}
	m.packet.shut = true // unless somebody asks for them: nobody would ever accept any
	m.wg.Go(m.accept)    // ends when ln closes
	return m
}

// GRPC returns the listener of gRPC connections.
func (m *Mux) GRPC() net.Listener { return m.grpc }

// Gossip returns the listener of gossip streams, without their magic.
func (m *Mux) Gossip() net.Listener { return m.gossip }

// Packets returns the listener of the streams that NewLines dials, without
// their magic. Until it is called those are closed.
func (m *Mux) Packets() net.Listener {
	m.packet.mu.Lock()
	m.packet.shut = false
	m.packet.mu.Unlock()
	return m.packet
}

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
	_ = m.packet.Close()
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

// enter adds c to the unknown, and closes one of too many.
func (m *Mux) enter(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = c.Close()
		return false
	}
	m.unknown = append(m.unknown, c)
	m.hosts[hostOf(c)]++
	if len(m.unknown) > maxUnknown {
		i := m.worstLocked()
		_ = m.unknown[i].Close() // its identify notices
		m.removeLocked(i)
	}
	return true
}

// worstLocked finds the oldest connection of the host with most of them, so
// that a flood from one host is no obstacle to the others.
func (m *Mux) worstLocked() (at int) {
	most := 0
	for i, c := range m.unknown {
		if n := m.hosts[hostOf(c)]; n > most {
			at, most = i, n
		}
	}
	return at
}

func (m *Mux) removeLocked(i int) {
	host := hostOf(m.unknown[i])
	if m.hosts[host]--; m.hosts[host] == 0 {
		delete(m.hosts, host)
	}
	m.unknown = append(m.unknown[:i], m.unknown[i+1:]...)
}

func hostOf(c net.Conn) string {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return string(a.IP)
	}
	return ""
}

// leave removes c; false means that it was closed meanwhile.
func (m *Mux) leave(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.unknown {
		if m.unknown[i] == c {
			m.removeLocked(i)
			return true
		}
	}
	return false
}

func (m *Mux) identify(raw net.Conn) {
	var magic [4]byte
	timer := time.AfterFunc(unknownTime, func() { _ = raw.Close() })
	c, err := m.guard.Server(raw)
	if err == nil {
		_, err = io.ReadFull(c, magic[:])
	} else {
		c = raw
	}
	here := m.leave(raw)
	here = timer.Stop() && here
	if here && errors.Is(err, ErrUntrusted) {
		m.guard.refused(raw.RemoteAddr(), err)
	}
	if !here || err != nil {
		_ = c.Close()
		return
	}
	switch string(magic[:]) {
	case grpcMagic:
		m.grpc.offer(&prefixed{Conn: c, prefix: magic[:]})
	case GossipMagic:
		m.gossip.offer(c)
	case packetMagic:
		m.packet.offer(c)
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
func (p *prefixed) SyscallConn() (syscall.RawConn, error) { return rawConn(p.Conn) }

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
	return dialAs(dial, GossipMagic)
}

func dialAs(dial func(ctx context.Context, addr string) (net.Conn, error), magic string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		if t, ok := ctx.Deadline(); ok {
			_ = c.SetWriteDeadline(t)
			defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
		}
		if _, err := io.WriteString(c, magic); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
}
