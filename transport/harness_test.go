package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testHandler records events in order, and calls what is set.
type testHandler struct {
	request func(*Peer, *Request)
	append_ func(*Peer, *Append)
	ahead   func(slots []uint16)
	ack     func(*Peer, *AppendAck)
	claims  func(*Peer, []byte)
	control func(*Peer, []byte)
	chunk   func(*Peer, *Chunk)
	hello   func(Identity, []byte) ([]byte, error)
	events  chan event // Up and Down
}

type event struct {
	up    bool
	peer  *Peer
	cause Cause
}

func newHandler() *testHandler { return &testHandler{events: make(chan event, 1024)} }

func (h *testHandler) Request(p *Peer, r *Request) {
	if h.request != nil {
		h.request(p, r)
	}
}

func (h *testHandler) Ahead(slots []uint16) {
	if h.ahead != nil {
		h.ahead(slots)
	}
}

func (h *testHandler) Append(p *Peer, a *Append) {
	if h.append_ != nil {
		h.append_(p, a)
	}
}

func (h *testHandler) AppendAck(p *Peer, a *AppendAck) {
	if h.ack != nil {
		h.ack(p, a)
	}
}

func (h *testHandler) Claims(p *Peer, b []byte) {
	if h.claims != nil {
		h.claims(p, b)
	}
}

func (h *testHandler) Control(p *Peer, b []byte) {
	if h.control != nil {
		h.control(p, b)
	}
}

func (h *testHandler) Chunk(p *Peer, c *Chunk) {
	if h.chunk != nil {
		h.chunk(p, c)
	}
}

func (h *testHandler) PeerUp(p *Peer)            { h.events <- event{up: true, peer: p} }
func (h *testHandler) PeerDown(p *Peer, c Cause) { h.events <- event{peer: p, cause: c} }

func (h *testHandler) Hello(from Identity, body []byte) ([]byte, error) {
	if h.hello != nil {
		return h.hello(from, body)
	}
	return body, nil
}

// echo answers each request with its own value, version and so on.
func echo(p *Peer, r *Request) {
	p.Respond(r.ID, &Response{Mark: r.Mark, Result: Result{Value: r.Value, Version: r.Version, Found: true}})
}

// network is where nodes of a test listen and dial.
type network interface {
	listen(t testing.TB) (net.Listener, string)
	dial(ctx context.Context, addr string) (net.Conn, error)
}

type loopback struct{}

func (loopback) listen(t testing.TB) (net.Listener, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln, ln.Addr().String()
}

func (loopback) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// memory is a network of in-memory connections; it also works in a
// testing/synctest bubble.
type memory struct {
	mu    sync.Mutex
	lns   map[string]*bufconn.Listener
	conns []net.Conn
	down  atomic.Bool
}

func newMemory() *memory { return &memory{lns: map[string]*bufconn.Listener{}} }

func (m *memory) listen(testing.TB) (net.Listener, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr := fmt.Sprintf("mem-%d", len(m.lns))
	m.lns[addr] = bufconn.Listen(1 << 20)
	return m.lns[addr], addr
}

func (m *memory) dial(ctx context.Context, addr string) (net.Conn, error) {
	m.mu.Lock()
	ln := m.lns[addr]
	m.mu.Unlock()
	if ln == nil || m.down.Load() {
		return nil, syscall.ECONNREFUSED
	}
	c, err := ln.DialContext(ctx)
	if err == nil {
		m.mu.Lock()
		m.conns = append(m.conns, c)
		m.mu.Unlock()
	}
	return c, err
}

// cut ends all connections.
func (m *memory) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		_ = c.Close()
	}
	m.conns = nil
}

// testNode is a transport behind a Mux.
type testNode struct {
	*Transport
	h    *testHandler
	mux  *Mux
	addr string
	id   NodeID

	expected []PeerAddr // by expect
}

// nodeID makes IDs that order as n does.
func nodeID(n int) (id NodeID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

func startNode(t testing.TB, nw network, n int, h *testHandler, edit func(*Config)) *testNode {
	t.Helper()
	return startGuarded(t, nw, n, h, nil, edit)
}

func startGuarded(t testing.TB, nw network, n int, h *testHandler, g *Guard, edit func(*Config)) *testNode {
	t.Helper()
	ln, addr := nw.listen(t)
	mux := NewMux(ln, g)
	cfg := Config{
		Self:     Identity{Cluster: "test", ID: nodeID(n), Name: fmt.Sprintf("n%d", n), Addr: addr, MinProto: 1, MaxProto: 1},
		Listener: mux.GRPC(),
		Dial:     nw.dial,
		Handler:  h,
		Guard:    g,
	}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(logWriter{t}, nil)).With("node", n)
	}
	if edit != nil {
		edit(&cfg)
	}
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	node := &testNode{Transport: tr, h: h, mux: mux, addr: addr, id: nodeID(n)}
	t.Cleanup(node.close)
	return node
}

func (n *testNode) close() {
	n.Close()
	n.mux.Close()
}

func (n *testNode) at() PeerAddr { return PeerAddr{n.id, n.addr} }

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// connect makes a and b peers and waits until both have seen it.
func connect(t testing.TB, a, b *testNode) (ab, ba *Peer) {
	t.Helper()
	a.expect(b.at())
	b.expect(a.at())
	return a.up(t), b.up(t)
}

// expect lists a peer beside those that it listed before.
func (n *testNode) expect(peer PeerAddr) {
	n.expected = append(n.expected, peer)
	n.SetPeers(n.expected)
}

const patience = time.Minute // far longer than anything takes on a busy machine

func (n *testNode) next(t testing.TB) event {
	t.Helper()
	select {
	case e := <-n.h.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		return event{}
	}
}

func (n *testNode) up(t testing.TB) *Peer {
	t.Helper()
	e := n.next(t)
	if !e.up {
		t.Fatalf("got PeerDown, want PeerUp")
	}
	return e.peer
}

func (n *testNode) down(t testing.TB) Cause {
	t.Helper()
	e := n.next(t)
	if e.up {
		t.Fatalf("got PeerUp, want PeerDown")
	}
	return e.cause
}

// occupy keeps what is queued from being written until vacate. It takes the
// turn when whoever writes has given it back: there is only one writer.
func occupy(t testing.TB, o *outbox) {
	t.Helper()
	await(t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.turn != nobodys {
			return false
		}
		o.turn = senders
		return true
	})
}

func vacate(o *outbox) {
	o.mu.Lock()
	o.turn = nobodys
	o.mu.Unlock()
	o.kick(true)
}

type answer struct {
	rsp Response
	err error
}

// ask makes one call and waits.
func ask(t testing.TB, p *Peer, r *Request) (Response, error) {
	t.Helper()
	c := make(chan answer, 1)
	p.Call(time.Now().Add(patience), r, func(rsp *Response, err error) {
		if err != nil {
			c <- answer{err: err}
			return
		}
		c <- answer{rsp: *rsp}
	})
	a := receive(t, c)
	return a.rsp, a.err
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// await polls for what gives no event.
func await(t testing.TB, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not come about")
		}
	}
}

// bothNetworks runs a test over sockets and over memory.
func bothNetworks(t *testing.T, test func(*testing.T, network)) {
	t.Run("loopback", func(t *testing.T) { test(t, loopback{}) })
	t.Run("memory", func(t *testing.T) { test(t, newMemory()) })
}
