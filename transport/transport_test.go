package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestCallIsAnswered(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		ha, hb := newHandler(), newHandler()
		ha.request, hb.request = echo, echo
		a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
		ab, ba := connect(t, a, b)
		for _, p := range []*Peer{ab, ba} {
			rsp, err := ask(t, p, &Request{Call: Call{Op: OpSet, Key: "k", Value: []byte("hello"), Version: 7}})
			if err != nil || string(rsp.Value) != "hello" || rsp.Version != 7 || !rsp.Found {
				t.Fatalf("Call = %+v, %v", rsp, err)
			}
		}
		if got := ab.Identity(); got != b.cfg.Self {
			t.Errorf("Identity = %+v, want %+v", got, b.cfg.Self)
		}
		if !ab.Up() || ab.ID() != b.id || a.Peer(b.id) != ab {
			t.Error("peer is not what it should be")
		}
	})
}

func TestOneWayMessagesArriveInOrder(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		const n = 2000
		ha, hb := newHandler(), newHandler()
		got := make(chan uint64, 4*n)
		acks := make(chan AppendAck, 4*n)
		chunks := make(chan uint64, n)
		bodies := make(chan string, 2)
		hb.append_ = func(p *Peer, a *Append) {
			got <- a.Version
			if err := p.SendAck(&AppendAck{Slot: a.Slot, Version: a.Version}); err != nil {
				t.Error(err)
			}
		}
		ha.ack = func(_ *Peer, a *AppendAck) { acks <- *a }
		hb.chunk = func(_ *Peer, c *Chunk) { chunks <- c.Seq }
		hb.claims = func(_ *Peer, c []byte) { bodies <- "claims " + string(c) }
		ha.control = func(_ *Peer, c []byte) { bodies <- "control " + string(c) }
		a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
		ab, ba := connect(t, a, b)
		for i := uint64(1); i <= n; i++ {
			if err := ab.SendAppend(&Append{Slot: uint16(i % 3), Version: i, Records: []Record{{Key: "k", Value: []byte("v")}}}); err != nil {
				t.Fatal(err)
			}
		}
		for i := uint64(1); i <= n; i++ {
			if v := receive(t, got); v != i {
				t.Fatalf("append %d, want %d", v, i)
			}
		}
		last := map[uint16]uint64{}
		for last[n%3] != n || last[(n-1)%3] != n-1 || last[(n-2)%3] != n-2 {
			k := receive(t, acks)
			if k.Version <= last[k.Slot] {
				t.Fatalf("ack of slot %d went from %d to %d", k.Slot, last[k.Slot], k.Version)
			}
			last[k.Slot] = k.Version
		}
		for i := uint64(0); i < 100; i++ {
			if err := ab.SendChunk(t.Context(), &Chunk{Seq: i, Body: make([]byte, 10_000)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := uint64(0); i < 100; i++ {
			if seq := receive(t, chunks); seq != i {
				t.Fatalf("chunk %d, want %d", seq, i)
			}
		}
		if err := ab.SendClaims([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if s := receive(t, bodies); s != "claims x" {
			t.Error(s)
		}
		if err := ba.SendControl([]byte("y")); err != nil {
			t.Fatal(err)
		}
		if s := receive(t, bodies); s != "control y" {
			t.Error(s)
		}
	})
}

func TestAcceptingSideSendsChunks(t *testing.T) {
	ha, hb := newHandler(), newHandler()
	chunks := make(chan Chunk, 1)
	ha.chunk = func(_ *Peer, c *Chunk) {
		k := *c
		k.Body = bytes.Clone(c.Body)
		chunks <- k
	}
	a, b := startNode(t, loopback{}, 1, ha, nil), startNode(t, loopback{}, 2, hb, nil)
	_, ba := connect(t, a, b)
	want := Chunk{Slot: 3, Session: 4, Kind: 5, Seq: 6, Last: true, Epoch: 7, Lo: 8, Hi: 9, Sum: 10, Count: 11, Body: []byte("body")}
	if err := ba.SendChunk(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, chunks); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestHelloIsAnsweredBeforeSetPeers(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		ha, hb := newHandler(), newHandler()
		hb.hello = func(from Identity, body []byte) ([]byte, error) {
			if string(body) == "bad" {
				return nil, errors.New("no such thing")
			}
			return []byte(from.Name + " says " + string(body)), nil
		}
		a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
		id, body, err := a.HelloTo(t.Context(), b.addr, []byte("hi"))
		if err != nil || id != b.cfg.Self || string(body) != "n1 says hi" {
			t.Errorf("HelloTo = %+v, %q, %v", id, body, err)
		}
		if id, _, err = a.HelloTo(t.Context(), b.addr, []byte("bad")); !errors.Is(err, ErrDeclined) || id != b.cfg.Self {
			t.Errorf("HelloTo = %+v, %v, want ErrDeclined", id, err)
		}
		other := startNode(t, nw, 3, newHandler(), func(c *Config) { c.Self.Cluster = "other" })
		if id, _, err = a.HelloTo(t.Context(), other.addr, nil); !errors.Is(err, ErrCluster) || id != (Identity{}) {
			t.Errorf("HelloTo = %+v, %v, want ErrCluster and nothing of who is there", id, err)
		}
		older := startNode(t, nw, 4, newHandler(), func(c *Config) { c.Self.MinProto, c.Self.MaxProto = 0, 0 })
		if id, _, err = older.HelloTo(t.Context(), b.addr, nil); !errors.Is(err, ErrProtocol) || id != (Identity{MinProto: 1, MaxProto: 1}) {
			t.Errorf("HelloTo = %+v, %v, want ErrProtocol and the versions alone", id, err)
		}
		if err := a.Probe(t.Context(), b.addr); err != nil {
			t.Errorf("Probe = %v", err)
		}
	})
}

func TestClosedPortIsRefused(t *testing.T) {
	a := startNode(t, loopback{}, 1, newHandler(), nil)
	ln, addr := loopback{}.listen(t)
	_ = ln.Close()
	if err := a.Probe(t.Context(), addr); !errors.Is(err, ErrRefused) {
		t.Errorf("Probe = %v, want ErrRefused", err)
	}
	if _, _, err := a.HelloTo(t.Context(), addr, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("HelloTo = %v, want ErrRefused", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cancel()
	if err := a.Probe(ctx, addr); errors.Is(err, ErrRefused) {
		t.Error("Probe with a dead context says ErrRefused")
	}
}

func TestCauseIsWhatTheKernelSaid(t *testing.T) {
	a, b := startNode(t, loopback{}, 2, newHandler(), nil), startNode(t, loopback{}, 3, newHandler(), nil)
	for _, tt := range []struct {
		name   string
		linger int // 0: close sends RST
		want   Cause
	}{{"eof", -1, CauseEOF}, {"reset", 0, CauseReset}} {
		t.Run(tt.name, func(t *testing.T) {
			r := rawConnect(t, a, b, 1)
			c := r.link.conn.Conn.(*net.TCPConn)
			if err := c.SetLinger(tt.linger); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			if got := b.down(t); got != tt.want {
				t.Errorf("cause %d, want %d", got, tt.want)
			}
		})
	}
}

func TestClosedPeerIsSeenAtOnce(t *testing.T) {
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, newHandler(), nil)
	ab, _ := connect(t, a, b)
	b.close()
	if c := a.down(t); c != CauseEOF && c != CauseReset {
		t.Errorf("cause %d, want EOF or reset", c)
	}
	if c := b.down(t); c != CauseClosedByUs {
		t.Errorf("cause %d, want ClosedByUs", c)
	}
	if _, err := ask(t, ab, &Request{}); !errors.Is(err, ErrNotSent) {
		t.Errorf("Call = %v, want ErrNotSent", err)
	}
}

// A chunk that takes long to store holds up those of its own slot, and not all others.
func TestChunksOfSlotsComeSideBySide(t *testing.T) {
	ha, hb := newHandler(), newHandler()
	gate, got := make(chan struct{}), make(chan Chunk, 10)
	hb.chunk = func(_ *Peer, c *Chunk) {
		if c.Slot == 0 {
			<-gate
		}
		got <- Chunk{Slot: c.Slot, Seq: c.Seq}
	}
	nw := newMemory()
	a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
	ab, _ := connect(t, a, b)
	release := sync.OnceFunc(func() { close(gate) })
	defer release() // Close waits for handlers
	for _, c := range []Chunk{{}, {Slot: 1}, {Slot: 1, Seq: 1}, {Seq: 1}, {Seq: 2}} {
		if err := ab.SendChunk(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []Chunk{{Slot: 1}, {Slot: 1, Seq: 1}, {}, {Seq: 1}, {Seq: 2}} {
		if c := receive(t, got); !reflect.DeepEqual(c, want) {
			t.Fatalf("chunk %d of slot %d, want %d of %d", c.Seq, c.Slot, want.Seq, want.Slot)
		}
		if want.Slot == 1 && want.Seq == 1 {
			release()
		}
	}
}
