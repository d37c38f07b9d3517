package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	maxInbound  = 64              // streams served at once; beyond it a new one is closed
	maxConnect  = 2 * time.Second // to connect, whatever memberlist would wait
	packetSpace = 65536           // the largest UDP datagram
)

// network is memberlist's transport over a listener, a packet connection and
// a dial function. It knows every open stream, so that closing ends them all:
// memberlist itself would leave them to their ten-second deadline.
type network struct {
	ln     net.Listener
	packet net.PacketConn
	dial   func(context.Context, string) (net.Conn, error)
	self   netip.AddrPort // where others reach this node
	screen *screen        // nil: what arrives is authenticated

	ctx     context.Context // ends with shutdown
	cancel  context.CancelFunc
	packets chan *memberlist.Packet
	streams chan net.Conn
	wg      sync.WaitGroup

	mu      sync.Mutex // guards the rest
	closed  bool
	open    map[*stream]struct{}
	inbound int
	idle    chan struct{} // closed when closed and open is empty
}

var _ memberlist.NodeAwareTransport = (*network)(nil)

func newNetwork(cfg *Config, self netip.AddrPort) *network {
	ctx, cancel := context.WithCancel(context.Background())
	t := &network{
		ln: cfg.Listener, packet: cfg.Packet, dial: cfg.Dial, self: self,
		ctx: ctx, cancel: cancel,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		open:    make(map[*stream]struct{}),
		idle:    make(chan struct{}),
	}
	if len(cfg.Secrets) == 0 {
		t.screen = &screen{label: cfg.Cluster, maxState: cfg.MaxState}
	}
	t.wg.Go(t.accept)  // ends when ln closes
	t.wg.Go(t.receive) // ends when packet closes
	return t
}

func (t *network) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.self.Addr().AsSlice(), int(t.self.Port()), nil
}

func (t *network) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *network) StreamCh() <-chan net.Conn           { return t.streams }

func (t *network) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	if t.ctx.Err() != nil {
		return time.Time{}, net.ErrClosed // not an OpError, after which a probe would go on by other means
	}
	_, err = t.packet.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

func (t *network) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

func (t *network) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, min(timeout, maxConnect))
	defer cancel()
	c, err := t.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	// memberlist writes its label before it sets a deadline.
	_ = c.SetDeadline(time.Now().Add(timeout))
	s, err := t.track(c, false)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t *network) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

func (t *network) accept() {
	for pause := time.Duration(0); ; {
		c, err := t.ln.Accept()
		if errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil { // out of file descriptors, say: do not spin
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			t.sleep(pause)
			continue
		}
		pause = 0
		s, err := t.track(c, true)
		if err != nil {
			continue
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			_ = s.Close()
		}
	}
}

func (t *network) receive() {
	buf := make([]byte, packetSpace)
	for pause := time.Duration(0); ; {
		n, from, err := t.packet.ReadFrom(buf)
		at := time.Now()
		if errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil {
			return
		}
		if err != nil {
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			t.sleep(pause)
			continue
		}
		pause = 0
		if n == 0 || t.screen != nil && !t.screen.packet(buf[:n]) {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: at}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *network) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
	}
}

// Shutdown returns when both loops have ended and every stream is closed.
func (t *network) Shutdown() error {
	t.cancel()
	err := errors.Join(t.ln.Close(), t.packet.Close())
	t.mu.Lock()
	t.closed = true
	var open []*stream
	for s := range t.open {
		open = append(open, s)
	}
	if len(t.open) == 0 {
		t.idleLocked()
	}
	t.mu.Unlock()
	for _, s := range open {
		// Not Close: whoever works with the stream is to notice and close it,
		// and only then are its callbacks over.
		_ = s.Conn.Close()
	}
	t.wg.Wait()
	<-t.idle
	return err
}

// idleLocked closes idle once.
func (t *network) idleLocked() {
	select {
	case <-t.idle:
	default:
		close(t.idle)
	}
}

// track takes over c, and closes it when it may not stay.
func (t *network) track(c net.Conn, inbound bool) (*stream, error) {
	s := &stream{Conn: c, t: t, inbound: inbound}
	if t.screen != nil {
		s.Conn = &screenedConn{Conn: c, s: *t.screen, labeled: inbound}
	}
	err := t.enter(s)
	if err != nil {
		_ = c.Close() // not under mu: closing TLS writes
		return nil, err
	}
	return s, nil
}

func (t *network) enter(s *stream) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return net.ErrClosed
	case s.inbound && t.inbound >= maxInbound:
		return fmt.Errorf("more than %d gossip streams", maxInbound)
	}
	t.open[s] = struct{}{}
	if s.inbound {
		t.inbound++
	}
	return nil
}

// stream is a tracked connection.
type stream struct {
	net.Conn
	t       *network
	inbound bool
}

// Write closes the stream when it fails: memberlist forgets a dialed
// connection whose first write, of the label, fails.
func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if err != nil {
		_ = s.Close()
	}
	return n, err
}

func (s *stream) Close() error {
	err := s.Conn.Close()
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if _, ok := s.t.open[s]; !ok {
		return err
	}
	delete(s.t.open, s)
	if s.inbound {
		s.t.inbound--
	}
	if s.t.closed && len(s.t.open) == 0 {
		s.t.idleLocked()
	}
	return err
}
