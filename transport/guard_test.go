package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slotmesh/slotmesh/internal/testca"
)

var secretA, secretB = []byte("0123456789abcdef"), []byte("fedcba9876543210")

func fixed(c *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return c, nil }
}

func newGuard(t testing.TB, cfg GuardConfig) *Guard {
	t.Helper()
	if cfg.Cluster == "" {
		cfg.Cluster = "test"
	}
	g, err := NewGuard(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// guards are all ways to guard a port, as two nodes' guards.
func guards(t *testing.T) map[string][2]GuardConfig {
	ca := testca.New(t)
	ta, tb := &TLS{Config: fixed(ca.Config("a"))}, &TLS{Config: fixed(ca.Config("b"))}
	return map[string][2]GuardConfig{
		"secret":         {{Secrets: [][]byte{secretA}}, {Secrets: [][]byte{secretB, secretA}}},
		"tls":            {{TLS: ta}, {TLS: tb}},
		"tls and secret": {{TLS: ta, Secrets: [][]byte{secretA}}, {TLS: tb, Secrets: [][]byte{secretA}}},
	}
}

// TestGuardedPeersTalk sends calls of all sizes, and chunks over the bulk
// connection, over every kind of guarded connection.
func TestGuardedPeersTalk(t *testing.T) {
	for name, cfg := range guards(t) {
		t.Run(name, func(t *testing.T) {
			bothNetworks(t, func(t *testing.T, nw network) {
				ha, hb := newHandler(), newHandler()
				hb.request = echo
				chunks := make(chan int, 1)
				hb.chunk = func(_ *Peer, c *Chunk) { chunks <- len(c.Body) }
				a := startGuarded(t, nw, 1, ha, newGuard(t, cfg[0]), nil)
				b := startGuarded(t, nw, 2, hb, newGuard(t, cfg[1]), nil)
				ab, _ := connect(t, a, b)
				for _, size := range []int{0, 1, 100, 16 << 10, 100_000, 1 << 20, 9 << 20} {
					value := slices.Repeat([]byte{7}, size)
					rsp, err := ask(t, ab, &Request{Call: Call{Value: value}})
					if err != nil || string(rsp.Value) != string(value) {
						t.Fatalf("a call of %d bytes: %d bytes, %v", size, len(rsp.Value), err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := ab.SendChunk(ctx, &Chunk{Body: make([]byte, 300_000)}); err != nil {
					t.Fatal(err)
				}
				if n := receive(t, chunks); n != 300_000 {
					t.Errorf("a chunk of %d bytes came", n)
				}
				if id, body, err := a.HelloTo(ctx, b.addr, []byte("hi")); err != nil || id != b.cfg.Self || string(body) != "hi" {
					t.Errorf("HelloTo = %+v, %q, %v", id, body, err)
				}
			})
		})
	}
}

// TestGuardedEndIsTold closes one end: the other has to learn that the peer's
// kernel ended the connection, which is half a proof that it is gone.
func TestGuardedEndIsTold(t *testing.T) {
	for name, cfg := range guards(t) {
		t.Run(name, func(t *testing.T) {
			a := startGuarded(t, loopback{}, 1, newHandler(), newGuard(t, cfg[0]), nil)
			b := startGuarded(t, loopback{}, 2, newHandler(), newGuard(t, cfg[1]), nil)
			connect(t, a, b)
			b.close()
			if c := a.down(t); c != CauseEOF && c != CauseReset {
				t.Errorf("cause %d, want EOF or reset", c)
			}
			if err := a.Probe(t.Context(), b.addr); !errors.Is(err, ErrRefused) {
				t.Errorf("Probe = %v, want ErrRefused", err)
			}
		})
	}
}

// TestStrangersGetNothing has nodes that do not belong there say Hello and try
// to connect; not one of the guard's handlers may run, and not a byte of the
// node's identity may come back.
func TestStrangersGetNothing(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	mine := &TLS{Config: fixed(ca.Config("n1"))}
	foreign := func(cert tls.Certificate) *TLS {
		return &TLS{Config: fixed(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: ca.Pool()})}
	}
	expired := ca.Issue("late", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	serverOnly := ca.Issue("web", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
	for _, tt := range []struct {
		name           string
		node, stranger GuardConfig
	}{
		{"no secret", GuardConfig{Secrets: [][]byte{secretA}}, GuardConfig{}},
		{"wrong secret", GuardConfig{Secrets: [][]byte{secretA}}, GuardConfig{Secrets: [][]byte{secretB}}},
		{"secret of another cluster", GuardConfig{Secrets: [][]byte{secretA}}, GuardConfig{Cluster: "other", Secrets: [][]byte{secretA}}},
		{"no certificate", GuardConfig{TLS: mine}, GuardConfig{}},
		{"secret and no certificate", GuardConfig{TLS: mine, Secrets: [][]byte{secretA}}, GuardConfig{Secrets: [][]byte{secretA}}},
		{"certificate and no secret", GuardConfig{TLS: mine, Secrets: [][]byte{secretA}}, GuardConfig{TLS: mine}},
		{"other authority", GuardConfig{TLS: mine}, GuardConfig{TLS: foreign(other.Issue("n2", nil))}},
		{"expired", GuardConfig{TLS: mine}, GuardConfig{TLS: foreign(expired)}},
		{"certificate for servers alone", GuardConfig{TLS: mine}, GuardConfig{TLS: foreign(serverOnly)}},
		{"name not allowed", GuardConfig{TLS: &TLS{Config: mine.Config, Allowed: only("n1")}}, GuardConfig{TLS: &TLS{Config: fixed(ca.Config("n9"))}}},
		{"node of another authority", GuardConfig{TLS: &TLS{Config: fixed(other.Config("n1"))}}, GuardConfig{TLS: mine}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler()
			h.hello = func(Identity, []byte) ([]byte, error) {
				t.Error("the stranger's Hello was asked")
				return nil, nil
			}
			node := startGuarded(t, loopback{}, 2, h, newGuard(t, tt.node), nil)
			stranger := startGuarded(t, loopback{}, 1, newHandler(), newGuard(t, tt.stranger), nil)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			id, body, err := stranger.HelloTo(ctx, node.addr, nil)
			if err == nil || id != (Identity{}) || len(body) > 0 {
				t.Errorf("HelloTo = %+v, %q, %v, want nothing", id, body, err)
			}
			if !errors.Is(err, ErrUntrusted) {
				t.Errorf("HelloTo = %v, want ErrUntrusted", err)
			}
			stranger.SetPeers([]PeerAddr{node.at()})
			await(t, func() bool { return stranger.peerErr(node.id) != nil })
			if len(h.events) > 0 {
				t.Errorf("the stranger is a peer: %+v", <-h.events)
			}
		})
	}
}

func (n *testNode) peerErr(id NodeID) error {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Err()
}

func only(allowed string) func([]string) error {
	return func(names []string) error {
		if slices.Contains(names, allowed) {
			return nil
		}
		return fmt.Errorf("%q", names)
	}
}

// overheard keeps what passes on a connection.
type overheard struct {
	net.Conn
	sent *[]byte
}

func (o overheard) Write(b []byte) (int, error) {
	*o.sent = append(*o.sent, b...)
	return o.Conn.Write(b)
}

// TestReplayedHandshakeIsRefused sends the very bytes by which a member got in.
func TestReplayedHandshakeIsRefused(t *testing.T) {
	for name, cfg := range guards(t) {
		t.Run(name, func(t *testing.T) {
			ln, addr := loopback{}.listen(t)
			mux := NewMux(ln, newGuard(t, cfg[1]))
			defer mux.Close()
			var sent []byte
			dial := func(ctx context.Context, addr string) (net.Conn, error) {
				c, err := loopback{}.dial(ctx, addr)
				return overheard{c, &sent}, err
			}
			member, err := DialGossip(newGuard(t, cfg[0]).Dial(dial))(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = accept(t, mux.Gossip()).Close(), member.Close()
			replay := dialRaw(t, loopback{}, addr)
			_, _ = replay.Write(sent)
			got, _ := io.ReadAll(replay) // until the mux closes it
			if len(mux.gossip.conns) != 0 {
				t.Error("the replayed handshake got in")
			}
			if name == "secret" && len(got) != nonceSize {
				t.Errorf("the replay got %d bytes back, want a nonce alone", len(got))
			}
		})
	}
}

// TestReflectedProofIsRefused answers a node's challenge by having the node
// itself compute the proof, as for another connection.
func TestReflectedProofIsRefused(t *testing.T) {
	g := newGuard(t, GuardConfig{Secrets: [][]byte{secretA}})
	ln, addr := loopback{}.listen(t)
	mux := NewMux(ln, g)
	defer mux.Close()
	here, there := net.Pipe()
	go func() { // the node dials the attacker
		_, err := g.Dial(func(context.Context, string) (net.Conn, error) { return here, nil })(t.Context(), "x")
		if err == nil {
			t.Error("the attacker was taken for a member")
		}
	}()
	var hello [len(SecretMagic) + nonceSize]byte
	if _, err := io.ReadFull(there, hello[:]); err != nil {
		t.Fatal(err)
	}
	c := dialRaw(t, loopback{}, addr) // which dials the node, with the node's own nonce
	_, _ = c.Write(hello[:])
	var nonce [nonceSize]byte
	if _, err := io.ReadFull(c, nonce[:]); err != nil {
		t.Fatal(err)
	}
	// As dialer the node proves nothing but "dial"; sent back to it as the
	// acceptor's proof that is worth nothing.
	_, _ = there.Write(nonce[:])
	var proof [proofSize]byte
	if _, err := io.ReadFull(there, proof[:]); err != nil {
		t.Fatal(err)
	}
	_, _ = there.Write(proof[:])
	closedByPeer(t, there)
}

// TestFloodOfHalfOpenHandshakes opens more connections than a mux keeps and
// says nothing, or half of a handshake, on each; members still get through.
func TestFloodOfHalfOpenHandshakes(t *testing.T) {
	for name, cfg := range guards(t) {
		t.Run(name, func(t *testing.T) {
			h := newHandler()
			h.request = echo
			a := startGuarded(t, loopback{}, 1, newHandler(), newGuard(t, cfg[0]), nil)
			b := startGuarded(t, loopback{}, 2, h, newGuard(t, cfg[1]), nil)
			stop := make(chan struct{})
			flooded, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				var open []net.Conn
				for opened := 0; ; {
					select {
					case <-stop:
						for _, c := range open {
							_ = c.Close()
						}
						return
					default:
					}
					c, err := loopback{}.dial(t.Context(), b.addr)
					if err != nil {
						continue
					}
					_, _ = c.Write([]byte(SecretMagic + "half")[:opened%8])
					if open = append(open, c); len(open) > 2*maxUnknown {
						_ = open[0].Close()
						open = open[1:]
					}
					if opened++; opened == 3*maxUnknown {
						close(flooded)
					}
				}
			}()
			receive(t, flooded)
			ab, _ := connect(t, a, b)
			if _, err := ask(t, ab, &Request{Call: Call{Value: []byte("v")}}); err != nil {
				t.Errorf("a call during the flood: %v", err)
			}
			close(stop)
			receive(t, done)
			b.mux.mu.Lock()
			defer b.mux.mu.Unlock()
			if n := len(b.mux.unknown); n > maxUnknown {
				t.Errorf("%d connections are kept that say nothing, want at most %d", n, maxUnknown)
			}
		})
	}
}

// TestSecretsRotate exchanges secrets in three steps while calls run.
func TestSecretsRotate(t *testing.T) {
	ga, gb := newGuard(t, GuardConfig{Secrets: [][]byte{secretA}}), newGuard(t, GuardConfig{Secrets: [][]byte{secretA}})
	h := newHandler()
	h.request = echo
	a := startGuarded(t, loopback{}, 1, newHandler(), ga, nil)
	b := startGuarded(t, loopback{}, 2, h, gb, nil)
	ab, _ := connect(t, a, b)
	set := func(secrets ...[]byte) {
		t.Helper()
		for _, g := range []*Guard{ga, gb} {
			if err := g.SetSecrets(secrets); err != nil {
				t.Fatal(err)
			}
			if ab.Up() {
				if _, err := ask(t, ab, &Request{}); err != nil && !errors.Is(err, ErrLost) && !errors.Is(err, ErrNotSent) {
					t.Fatal(err)
				}
			}
		}
	}
	set(secretA, secretB)
	set(secretB, secretA)
	if len(a.h.events) != 0 {
		t.Fatal("the connection ended though its secret still counts")
	}
	set(secretB)
	if len(a.h.events) != 0 {
		t.Fatal("the connection ended before CloseFallen")
	}
	if !ga.CloseFallen() {
		t.Error("no connection stands on the old secret")
	}
	a.down(t)
	ab = a.up(t)
	if _, err := ask(t, ab, &Request{}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return !ga.CloseFallen() && !gb.CloseFallen() })
	if !ab.Up() {
		t.Error("CloseFallen ended a connection that stands on the new secret")
	}
	old := startGuarded(t, loopback{}, 3, newHandler(), newGuard(t, GuardConfig{Secrets: [][]byte{secretA}}), nil)
	if _, _, err := old.HelloTo(t.Context(), b.addr, nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("HelloTo under the old secret = %v, want ErrUntrusted", err)
	}
	if err := ga.SetSecrets(nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("SetSecrets(nil) = %v, want ErrUntrusted", err)
	}
}

// countdown is a connection that calls then when so many bytes have been read.
type countdown struct {
	net.Conn
	left int
	then func()
}

func (c *countdown) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left -= n; c.left == 0 {
		c.then()
	}
	return n, err
}

// A connection that its dialer waits for no longer stands on no secret, however far it got.
func TestDialGivenUpLeavesNothing(t *testing.T) {
	g := newGuard(t, GuardConfig{Secrets: [][]byte{secretA}})
	b := startGuarded(t, loopback{}, 2, newHandler(), newGuard(t, GuardConfig{Secrets: [][]byte{secretA}}), nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := g.Dial(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := loopback{}.dial(ctx, addr)
		return &countdown{c, nonceSize + proofSize, cancel}, err
	})(ctx, b.addr)
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUntrusted) {
		t.Errorf("err = %v, want context.Canceled alone", err)
	}
	if len(g.proved) != 0 {
		t.Errorf("%d connections are kept", len(g.proved))
	}
}

// Where one end has no secret both would wait for the other, which is no accident of the
// network.
func TestMissingSecretUnderTLSIsTold(t *testing.T) {
	c, today := testca.New(t).Config("n"), time.Now()
	c.Time = func() time.Time { return today }
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		start := func(n int, secrets ...[]byte) *testNode {
			return startGuarded(t, nw, n, newHandler(), newGuard(t, GuardConfig{TLS: &TLS{Config: fixed(c)}, Secrets: secrets}), nil)
		}
		a, b := start(1), start(2, secretA)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := a.HelloTo(ctx, b.addr, nil); !errors.Is(err, ErrUntrusted) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("HelloTo = %v, want ErrUntrusted", err)
		}
	})
}

// TestCertificatesReload exchanges the authority, with a provider, and nothing
// else.
func TestCertificatesReload(t *testing.T) {
	ca := testca.New(t)
	now := make(chan *tls.Config, 1)
	now <- ca.Config("n2")
	h := newHandler()
	asked := make(chan []string, 16)
	node := startGuarded(t, loopback{}, 2, h, newGuard(t, GuardConfig{TLS: &TLS{
		Config: func() (*tls.Config, error) {
			c := <-now
			now <- c
			return c, nil
		},
		Allowed: func(names []string) error { asked <- names; return nil },
	}}), nil)
	peer := func(ca *testca.CA) error {
		p := startGuarded(t, loopback{}, 1, newHandler(), newGuard(t, GuardConfig{TLS: &TLS{Config: fixed(ca.Config("n1"))}}), nil)
		_, _, err := p.HelloTo(t.Context(), node.addr, nil)
		return err
	}
	if err := peer(ca); err != nil {
		t.Fatal(err)
	}
	if names := receive(t, asked); !slices.Equal(names, []string{"n1"}) {
		t.Errorf("Allowed was given %q", names)
	}
	next := testca.New(t)
	<-now
	now <- next.Config("n2")
	if err := peer(ca); !errors.Is(err, ErrUntrusted) {
		t.Errorf("under the old authority: %v, want ErrUntrusted", err)
	}
	if err := peer(next); err != nil {
		t.Errorf("under the new authority: %v", err)
	}
}

func TestTLSConfigIsChecked(t *testing.T) {
	ca := testca.New(t)
	good := ca.Config("n")
	edit := func(f func(c *tls.Config)) *tls.Config { c := good.Clone(); f(c); return c }
	for _, tt := range []struct {
		name, want string
		config     *tls.Config
	}{
		{"good", "", good},
		{"one pool stands for both", "", edit(func(c *tls.Config) { c.ClientCAs = nil })},
		{"nil", "nil", nil},
		{"no authority", "RootCAs", edit(func(c *tls.Config) { c.ClientCAs, c.RootCAs = nil, nil })},
		{"no certificate", "Certificates", edit(func(c *tls.Config) { c.Certificates = nil })},
		{"old TLS", "1.3", edit(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })},
		{"other authority", "unknown authority", edit(func(c *tls.Config) { c.RootCAs = testca.New(t).Pool() })},
		{"expired", "expired", edit(func(c *tls.Config) { c.Time = func() time.Time { return time.Now().Add(2 * time.Hour) } })},
		{"not for clients", "as a client's", edit(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{ca.Issue("n", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })}
		})},
	} {
		err := (&TLS{Config: fixed(tt.config)}).Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// at is the address of a listener in memory.
type at string

func (at) Network() string  { return "memory" }
func (a at) String() string { return string(a) }

// TestLinesCarryPackets sends packets both ways through streams.
func TestLinesCarryPackets(t *testing.T) {
	cfg, today := guards(t)["tls"], time.Now()
	synctest.Test(t, func(t *testing.T) { // so that none is lost because a line takes long to connect
		nw := newMemory()
		var lines [2]*Lines
		var addrs [2]at
		for i := range lines {
			c, _ := cfg[i].TLS.Config()
			c.Time = func() time.Time { return today }
			ln, addr := nw.listen(t)
			g := newGuard(t, cfg[i])
			mux := NewMux(ln, g)
			defer mux.Close()
			lines[i], addrs[i] = NewLines(mux.Packets(), g.Dial(nw.dial)), at(addr)
			defer lines[i].Close()
		}
		for i := range lines {
			for n := range 100 {
				want := fmt.Sprintf("%d from %d %s", n, i, strings.Repeat("x", n*n))
				if _, err := lines[i].WriteTo([]byte(want), addrs[1-i]); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, maxPacket)
				k, _, err := lines[1-i].ReadFrom(buf)
				if err != nil || string(buf[:k]) != want {
					t.Fatalf("ReadFrom = %q, %v, want %q", buf[:k], err, want)
				}
			}
		}
		if err := lines[0].Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := lines[0].ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadFrom after Close = %v", err)
		}
		if _, err := lines[0].WriteTo(nil, addrs[1]); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo after Close = %v", err)
		}
	})
}
