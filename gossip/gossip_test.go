package gossip_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slotmesh/slotmesh/gossip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a node of a test with what its callbacks were told.
type peer struct {
	*gossip.Gossip
	self gossip.Member

	mu       sync.Mutex // guards the rest
	changed  chan struct{}
	events   []gossip.Event
	messages []string
	states   []string
}

func (p *peer) note(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until ok holds, looking again whenever a callback came, and
// now and then, since not everything has a callback.
func (p *peer) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		p.mu.Lock()
		done, changed := ok(), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond):
		case <-limit:
			t.Fatalf("%s: not so: %s; events %v, members %v", p.self.Name, what, kinds(p.events), names(p.Members()))
		}
	}
}

func (p *peer) awaitMembers(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	p.await(t, fmt.Sprintf("members are %v", want), func() bool { return slices.Equal(names(p.Members()), want) })
}

func (p *peer) awaitEvent(t *testing.T, kind gossip.EventKind, name string) gossip.Member {
	t.Helper()
	var m gossip.Member
	p.await(t, fmt.Sprintf("%v %s", kind, name), func() bool {
		for _, e := range p.events {
			if e.Kind == kind && e.Member.Name == name {
				m = e.Member
				return true
			}
		}
		return false
	})
	return m
}

func (p *peer) heard(kind gossip.EventKind, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.events, func(e gossip.Event) bool { return e.Kind == kind && e.Member.Name == name })
}

func names(ms []gossip.Member) []string {
	var ns []string
	for _, m := range ms {
		ns = append(ns, m.Name)
	}
	slices.Sort(ns)
	return ns
}

func kinds(es []gossip.Event) []string {
	var ks []string
	for _, e := range es {
		ks = append(ks, e.Kind.String()+" "+e.Member.Name)
	}
	return ks
}

// sockets opens a node's ports; the default is on loopback.
type sockets func(t *testing.T, addr string) (net.Listener, net.PacketConn, func(context.Context, string) (net.Conn, error))

func loopback(t *testing.T, addr string) (net.Listener, net.PacketConn, func(context.Context, string) (net.Conn, error)) {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var err error
	for range 20 { // the UDP port of that number may be taken
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err != nil {
			continue
		}
		var pc net.PacketConn
		if pc, err = net.ListenPacket("udp", ln.Addr().String()); err == nil {
			var d net.Dialer
			return ln, pc, func(ctx context.Context, a string) (net.Conn, error) { return d.DialContext(ctx, "tcp", a) }
		}
		_ = ln.Close()
	}
	t.Fatal(err)
	return nil, nil, nil
}

func newID() (id gossip.NodeID) {
	_, _ = rand.Read(id[:])
	return id
}

// begin starts a node and closes it with the test.
func begin(t *testing.T, open sockets, name, addr string, seeds []string, change func(*gossip.Config)) *peer {
	t.Helper()
	ln, pc, dial := open(t, addr)
	p := &peer{changed: make(chan struct{})}
	p.self = gossip.Member{ID: newID(), Name: name, Addr: ln.Addr().String(), Weight: 1, MaxProto: 1}
	cfg := gossip.Config{
		Cluster: "test", Self: p.self, Listener: ln, Packet: pc, Dial: dial,
		Seeds:   func(context.Context) ([]string, error) { return seeds, nil },
		Events:  func(e gossip.Event) { p.note(func() { p.events = append(p.events, e) }) },
		Message: func(b []byte) { p.note(func() { p.messages = append(p.messages, string(b)) }) },
		State:   func(bool) []byte { return []byte("state of " + name) },
		Merge:   func(b []byte, _ bool) { p.note(func() { p.states = append(p.states, string(b)) }) },
	}
	if change != nil {
		change(&cfg)
	}
	p.self = cfg.Self
	g, err := gossip.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start(%s) = %v", name, err)
	}
	p.Gossip = g
	t.Cleanup(func() { _ = g.Close() })
	return p
}

func trio(t *testing.T, open sockets, addrs [3]string) (a, b, c *peer) {
	t.Helper()
	a = begin(t, open, "a", addrs[0], nil, nil)
	b = begin(t, open, "b", addrs[1], []string{a.self.Addr}, nil)
	c = begin(t, open, "c", addrs[2], []string{a.self.Addr}, nil)
	for _, p := range []*peer{a, b, c} {
		p.awaitMembers(t, "a", "b", "c")
	}
	return a, b, c
}

func TestThreeNodesFormOverLoopback(t *testing.T) {
	a, b, c := trio(t, loopback, [3]string{})
	b.await(t, "state of a arrived", func() bool { return slices.Contains(b.states, "state of a") })
	a.await(t, "state of c arrived", func() bool { return slices.Contains(a.states, "state of c") })
	if err := c.Broadcast([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{a, b} {
		p.await(t, "hello arrived", func() bool { return slices.Equal(p.messages, []string{"hello"}) })
	}
	up := b.self
	up.Weight = 7
	if err := b.UpdateSelf(up); err != nil {
		t.Fatal(err)
	}
	if m := a.awaitEvent(t, gossip.Updated, "b"); m != up {
		t.Errorf("updated member = %+v, want %+v", m, up)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Errorf("Leave = %v", err)
	}
	a.awaitEvent(t, gossip.Left, "c")
	_ = c.Close()
	_ = b.Close()
	a.awaitEvent(t, gossip.Failed, "b")
	a.awaitMembers(t, "a")
	if a.heard(gossip.Failed, "c") || a.heard(gossip.Left, "b") {
		t.Errorf("events %v: who left failed, or the other way round", kinds(a.events))
	}
}

func TestRestartAtTheSameAddressIsANewMember(t *testing.T) {
	a, b, _ := trio(t, loopback, [3]string{})
	old := b.self
	_ = b.Close()
	b = begin(t, loopback, "b", old.Addr, []string{a.self.Addr}, nil)
	a.await(t, "the new b is a member and the old is not", func() bool {
		var ids []gossip.NodeID
		for _, m := range a.Members() {
			ids = append(ids, m.ID)
		}
		return slices.Contains(ids, b.self.ID) && !slices.Contains(ids, old.ID)
	})
}

func TestSecretsKeepStrangersOut(t *testing.T) {
	with := func(secrets ...string) func(*gossip.Config) {
		return func(c *gossip.Config) {
			for _, s := range secrets {
				c.Secrets = append(c.Secrets, []byte(s))
			}
		}
	}
	a := begin(t, loopback, "a", "", nil, with("new", "old"))
	b := begin(t, loopback, "b", "", []string{a.self.Addr}, with("old", "new"))
	stranger := begin(t, loopback, "s", "", nil, with("wrong"))
	plain := begin(t, loopback, "p", "", nil, nil)
	a.awaitMembers(t, "a", "b")
	b.awaitMembers(t, "a", "b")
	for _, p := range []*peer{stranger, plain} {
		if err := p.Join(t.Context(), []string{a.self.Addr}); err == nil {
			t.Errorf("%s joined", p.self.Name)
		}
	}
	if got := names(a.Members()); len(got) != 2 {
		t.Errorf("members are %v, want a and b", got)
	}
}

func TestStartReportsAllFaultsAndClosesTheSockets(t *testing.T) {
	ln, pc, dial := loopback(t, "")
	_, err := gossip.Start(t.Context(), gossip.Config{
		Self:     gossip.Member{Name: strings.Repeat("n", 200), Addr: "nowhere", Weight: -1},
		Listener: ln, Packet: pc, Dial: dial, FailureTimeout: 1,
	})
	for _, want := range []string{"cluster name", "failure timeout", "ID is zero", "200 bytes", "address", "weight -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start = %v, want %q in it", err, want)
		}
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want ErrClosed", err)
	}
	if _, err := pc.WriteTo([]byte("x"), pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo = %v, want ErrClosed", err)
	}
}

// A "suspect" message that keeps memberlist's decoder busy for five seconds.
const poisonHex = "88b1d8518dd821278298d1add0cb7f2a7854a8dc13f29d3c9cc9c92923cdfff55633f3714fc4cd702901434869ac8aa494f8d9f9ded1390355f60d7d4c3917" +
	"116dc5aac22ff33eb5b1a53e19fca2a1d6e6be60160fa9080f493bb96b08335b6ace8f599e1b5b10daa19b4812af65d28c0c01b81660b575071cdf248b008d95" +
	"9af1bc9d51dda0a1420a72082052e39765a8f52813395b8429717a02fc2270329b7caccad20f391a72f5387e65ddaf773213abf43861b64cf7458c4ef81b1d01" +
	"f5ab9141edff36090fcba9b50d818734e6e9d3724c1e55dbb5691140a5d7ddecc078c4db49de"

func TestGarbageOnBothPortsDoesNoHarm(t *testing.T) {
	a, b, _ := trio(t, loopback, [3]string{})
	u, err := net.Dial("udp", a.self.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	label := append([]byte{244, 4}, "test"...)
	poison, _ := hex.DecodeString(poisonHex)
	_, _ = u.Write(slices.Concat(label, []byte{3}, poison))
	for i := range 500 {
		junk := make([]byte, 1+i%300)
		_, _ = rand.Read(junk)
		if i%2 == 0 { // with the label of the cluster, and each kind of message
			junk = append(append(slices.Clone(label), byte(i/2%16)), junk...)
		}
		_, _ = u.Write(junk)
		if i%10 != 0 {
			continue
		}
		if c, err := net.Dial("tcp", a.self.Addr); err == nil {
			_, _ = c.Write(junk)
			_ = c.Close()
		}
	}
	a.await(t, "a broadcast arrived", func() bool {
		if err := b.Broadcast([]byte("still here")); err != nil { // again: garbage that fills the socket may have it lost
			t.Error(err)
		}
		// Some of the garbage may have been a message: here is no secret.
		return slices.Contains(a.messages, "still here")
	})
	a.awaitMembers(t, "a", "b", "c")
	if a.heard(gossip.Failed, "b") {
		t.Error("b failed")
	}
}
