package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rawPeer is the dialing end of a session in the test's own hands.
type rawPeer struct {
	link          *link
	data, control stream
	h             *handshake
}

// rawConnect gives to a session with a peer of ID n, by the means of via.
func rawConnect(t testing.TB, via, to *testNode, n int) *rawPeer {
	t.Helper()
	l, err := via.dial(t.Context(), to.addr, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	from := via.cfg.Self
	from.ID = nodeID(n)
	to.expect(PeerAddr{from.ID, via.addr})
	r := &rawPeer{link: l, h: &handshake{from: from, to: to.id, session: rand.Uint64()}}
	if r.data, _, err = l.open(methodData, r.h); err != nil {
		t.Fatal(err)
	}
	if r.control, _, err = l.open(methodControl, r.h); err != nil {
		t.Fatal(err)
	}
	l.established()
	to.up(t)
	return r
}

func (r *rawPeer) send(t testing.TB, st stream, b []byte) {
	t.Helper()
	if err := st.SendMsg(&batch{data: &b, pool: new(pool)}); err != nil {
		t.Fatal(err)
	}
}

func TestBadFramesEndTheirStreamOnly(t *testing.T) {
	ha, hb := newHandler(), newHandler()
	hb.request = echo
	a, b := startNode(t, loopback{}, 2, ha, nil), startNode(t, loopback{}, 3, hb, nil)
	ab, _ := connect(t, a, b)
	big := bytes.Repeat(message(kindAck, []byte{0x90}), 9<<20/6)
	for name, batch := range map[string][]byte{
		"garbage":            []byte("GET / HTTP/1.1\r\n\r\n"),
		"oversized length":   {0xff, 0xff, 0xff, 0xff, 1, 0},
		"truncated":          message(kindRequest, []byte{0x95, 1, 1, 1, 1, 0xd9, 200}),
		"above MaxFrame":     big,
		"truncated response": message(kindResponse, []byte{0x91}),
	} {
		t.Run(name, func(t *testing.T) {
			r := rawConnect(t, a, b, 1)
			r.send(t, r.data, batch)
			if c := b.down(t); c != CauseOther {
				t.Errorf("cause %d, want CauseOther", c)
			}
			if _, err := ask(t, ab, &Request{}); err != nil {
				t.Errorf("the other peer: %v", err)
			}
		})
	}
	r := rawConnect(t, a, b, 1)
	r.send(t, r.control, []byte{1, 2, 3})
	b.down(t)
}

func TestUnknownAndMisplacedKindsAreSkipped(t *testing.T) {
	hb := newHandler()
	got := make(chan string, 1)
	hb.claims = func(_ *Peer, c []byte) { got <- string(c) }
	a, b := startNode(t, loopback{}, 2, newHandler(), nil), startNode(t, loopback{}, 3, hb, nil)
	r := rawConnect(t, a, b, 1)
	batch := bytes.Join([][]byte{
		message(200, []byte("whatever")), message(kindVoid, []byte{0xc1}), message(kindChunk, []byte{0x90}),
		message(kindClaims, []byte{0x91, 0xa2, 'o', 'k'}),
	}, nil)
	r.send(t, r.data, batch)
	if s := receive(t, got); s != "ok" {
		t.Errorf("got %q", s)
	}
}

func TestLargeValuesPass(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		hb := newHandler()
		hb.request = echo
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
		ab, _ := connect(t, a, b)
		for _, n := range []int{0, 1, 20_000, 70_000, 300_000, 16 << 20, 64 << 20} {
			value := make([]byte, n)
			if n > 0 {
				value[0], value[n/2], value[n-1] = 1, 2, 3
			}
			rsp, err := ask(t, ab, &Request{Call: Call{Value: value}})
			if err != nil || !bytes.Equal(rsp.Value, value) {
				t.Fatalf("%d bytes: got %d, %v", n, len(rsp.Value), err)
			}
		}
		if _, err := ask(t, ab, &Request{Call: Call{Value: make([]byte, 80<<20)}}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("80 MiB: %v, want ErrTooLarge", err)
		}
		if _, err := ask(t, ab, &Request{Call: Call{Key: strings.Repeat("k", MaxKey+1)}}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("long key: %v, want ErrTooLarge", err)
		}
	})
}

func TestTooLargeAnswerSaysSo(t *testing.T) {
	hb := newHandler()
	hb.request = func(p *Peer, r *Request) {
		p.Respond(r.ID, &Response{Mark: 5, Result: Result{Value: make([]byte, 2<<20)}})
	}
	a := startNode(t, loopback{}, 1, newHandler(), nil)
	b := startNode(t, loopback{}, 2, hb, func(c *Config) { c.MaxMessage = 1 << 20 })
	ab, _ := connect(t, a, b)
	if rsp, err := ask(t, ab, &Request{}); err != nil || rsp.Code != CodeTooLarge || rsp.Mark != 5 {
		t.Errorf("got %+v, %v, want CodeTooLarge", rsp, err)
	}
}

// A value handed to done stays what it was.
func TestAnsweredValuesAreTheCallers(t *testing.T) {
	hb := newHandler()
	hb.request = echo
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	const n = 2000
	var wg sync.WaitGroup
	values := make([][]byte, n)
	for i := range n {
		wg.Add(1)
		v := bytes.Repeat([]byte{byte(i)}, i*7%3000)
		if i%100 == 0 {
			v = bytes.Repeat([]byte{byte(i)}, 100_000)
		}
		ab.Call(time.Now().Add(patience), &Request{Call: Call{Value: v}}, func(r *Response, err error) {
			if err != nil {
				t.Error(err)
			} else {
				values[i] = r.Value
			}
			wg.Done()
		})
		clear(v) // ours again
	}
	wg.Wait()
	for i, v := range values {
		for _, c := range v {
			if c != byte(i) {
				t.Fatalf("value %d holds %d", i, c)
			}
		}
	}
}

func TestEndOfStreamTellsWhatWasSent(t *testing.T) {
	nw := newMemory()
	hb := newHandler()
	got := make(chan uint64, 10)
	hb.request = func(_ *Peer, r *Request) { got <- r.ID } // never answered
	a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
	ab, _ := connect(t, a, b)
	errs := make(chan error, 2)
	done := func(_ *Response, err error) { errs <- err }
	ab.Call(time.Time{}, &Request{}, done)
	receive(t, got)
	// The second stays in the queue: somebody seems to be writing.
	occupy(t, ab.session.Load().data.out)
	ab.Call(time.Time{}, &Request{}, done)
	nw.cut()
	var lost, notSent int
	for range 2 {
		switch err := receive(t, errs); {
		case errors.Is(err, ErrLost):
			lost++
		case errors.Is(err, ErrNotSent):
			notSent++
		}
	}
	if lost != 1 || notSent != 1 {
		t.Errorf("%d lost, %d not sent, want 1 and 1", lost, notSent)
	}
	if c := a.down(t); c == CauseClosedByUs || c == 0 {
		t.Errorf("cause %d", c)
	}
}

func TestReconnectsAfterAnOutage(t *testing.T) {
	nw := newMemory()
	ha, hb := newHandler(), newHandler()
	hb.request = echo
	a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
	ab, ba := connect(t, a, b)
	for i := range 3 {
		nw.down.Store(true)
		nw.cut()
		if c := a.down(t); c == CauseClosedByUs {
			t.Errorf("cause %d", c)
		}
		if c := b.down(t); c != CauseEOF {
			t.Errorf("cause %d, want CauseEOF", c)
		}
		if ab.Up() || ba.Up() || ab.Queued() != 0 {
			t.Error("up after PeerDown")
		}
		nw.down.Store(false)
		if a.up(t) != ab || b.up(t) != ba {
			t.Error("another Peer for the same ID")
		}
		if _, err := ask(t, ab, &Request{}); err != nil {
			t.Errorf("outage %d: %v", i, err)
		}
	}
}

func TestSetPeersDisconnectsThoseRemoved(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
		connect(t, a, b)
		a.SetPeers([]PeerAddr{a.at()}) // its own ID is ignored
		if c := a.down(t); c != CauseClosedByUs {
			t.Errorf("cause %d, want CauseClosedByUs", c)
		}
		b.down(t)
		await(t, func() bool { return a.Peer(b.id) == nil }) // PeerDown comes first
		a.SetPeers([]PeerAddr{b.at()})
		a.up(t)
		b.up(t)
		b.SetPeers(nil)
		if c := b.down(t); c != CauseClosedByUs {
			t.Errorf("cause %d, want CauseClosedByUs", c)
		}
	})
}

// Gossip may know of a peer a moment after it has dialed.
func TestStreamOfAnUnlistedPeerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
		a.SetPeers([]PeerAddr{b.at()})
		time.Sleep(listWait / 2)
		synctest.Wait()
		if b.Peer(a.id) != nil || len(a.h.events) > 0 {
			t.Error("a peer that is not listed is up")
		}
		listed := time.Now()
		b.SetPeers([]PeerAddr{a.at()})
		a.up(t)
		b.up(t)
		if took := time.Since(listed); took > 0 {
			t.Errorf("up %v after it was listed", took)
		}
	})
}

func TestStreamOfAStrangerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
		began := time.Now()
		l, err := a.dial(t.Context(), b.addr, false)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = l.open(methodData, &handshake{from: a.cfg.Self, to: b.id})
		if !errors.Is(err, ErrDeclined) || time.Since(began) != listWait {
			t.Errorf("%v after %v, want ErrDeclined after %v", err, time.Since(began), listWait)
		}
		l.close()
		synctest.Wait()
		if b.unlisted != 0 || b.Peer(a.id) != nil || len(b.h.events) > 0 {
			t.Error("something is left of the stranger")
		}
	})
}

// However often they come, they do not fill the log.
func TestRefusalsAreLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		var lines bytes.Buffer
		a := startNode(t, nw, 1, newHandler(), func(c *Config) { c.Self.Cluster = "other" })
		b := startNode(t, nw, 2, newHandler(), func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
		come := func(times int) {
			for range times {
				if _, _, err := a.HelloTo(t.Context(), b.addr, nil); !errors.Is(err, ErrCluster) {
					t.Fatal(err)
				}
			}
		}
		come(5)
		<-time.After(logEvery)
		come(5)
		b.Close()
		log := lines.String()
		if n := strings.Count(log, "hello refused"); n != 2 || !strings.Contains(log, "count=1\n") || !strings.Contains(log, "count=5\n") {
			t.Errorf("%d lines of 10 refusals, want 2, of 1 and of 5:\n%s", n, log)
		}
	})
}

// What is said on a connection before anybody knows by whom takes little memory.
func TestLongHandshakesAreCutOff(t *testing.T) {
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, newHandler(), nil)
	if _, body, err := a.HelloTo(t.Context(), b.addr, make([]byte, maxHello)); err != nil || len(body) != maxHello {
		t.Errorf("HelloTo = %d bytes, %v", len(body), err)
	}
	if _, _, err := a.HelloTo(t.Context(), b.addr, make([]byte, maxHello+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("HelloTo = %v, want ErrTooLarge", err)
	}
	b.h.hello = func(Identity, []byte) ([]byte, error) {
		t.Error("the handler is asked")
		return nil, nil
	}
	for _, method := range []string{methodHello, methodData, methodControl, methodBulk} {
		l, err := a.dial(t.Context(), b.addr, false)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if _, _, err := l.open(method, &handshake{from: a.cfg.Self, to: b.id, body: make([]byte, 2*maxStrange)}); err == nil {
			t.Errorf("%s is taken", method)
		}
		if cause := l.conn.ended(); cause == CauseClosedByUs || cause == 0 {
			t.Errorf("%s: the other end has not closed the connection (%d)", method, cause)
		}
	}
}

// Nor does anybody hold a connection who says nothing on it.
func TestSilentStreamsAreClosed(t *testing.T) {
	for _, method := range []string{methodHello, methodData, methodControl, methodBulk} {
		synctest.Test(t, func(t *testing.T) {
			nw := newMemory()
			a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
			l, err := a.dial(t.Context(), b.addr, false)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			l.established()
			st, err := l.cc.NewStream(l.ctx, &streamDesc, method)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var f frame
			if err := st.RecvMsg(&f); err == nil || time.Since(began) > connectTime {
				t.Errorf("%s ended after %v, %v, want after %v", method, time.Since(began), err, connectTime)
			}
		})
	}
}

func TestStrangersAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Config)
		id   int
		want error
	}{
		{"other cluster", func(c *Config) { c.Self.Cluster = "other" }, 1, ErrCluster},
		{"newer protocol", func(c *Config) { c.Self.MinProto, c.Self.MaxProto = 2, 3 }, 1, ErrProtocol},
		{"other node", nil, 1, ErrWrongNode},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := startNode(t, newMemory(), tt.id, newHandler(), tt.edit)
			nw := newMemory()
			a.cfg.Dial = nw.dial
			b := startNode(t, nw, 5, newHandler(), nil)
			to := b.at()
			if errors.Is(tt.want, ErrWrongNode) {
				to.ID = nodeID(6)
			}
			l, err := a.dial(t.Context(), b.addr, false)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			if _, _, err = l.open(methodData, &handshake{from: a.cfg.Self, to: to.ID}); !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("the higher ID dials", func(t *testing.T) {
		nw := newMemory()
		a, b := startNode(t, nw, 7, newHandler(), nil), startNode(t, nw, 5, newHandler(), nil)
		l, err := a.dial(t.Context(), b.addr, false)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if _, _, err = l.open(methodData, &handshake{from: a.cfg.Self, to: b.id}); !errors.Is(err, ErrDeclined) {
			t.Errorf("err = %v, want ErrDeclined", err)
		}
	})
}

func TestNewConnectionReplacesTheOld(t *testing.T) {
	hb := newHandler()
	a, b := startNode(t, loopback{}, 2, newHandler(), nil), startNode(t, loopback{}, 3, hb, nil)
	first := rawConnect(t, a, b, 1)
	second := make(chan *rawPeer)
	go func() { second <- rawDial(t, a, b, 1) }()
	if c := b.down(t); c != CauseClosedByUs {
		t.Errorf("cause %d, want CauseClosedByUs", c)
	}
	b.up(t)
	receive(t, second)
	var f frame
	if err := first.data.RecvMsg(&f); err == nil {
		t.Error("the first stream lives")
	}
}

// rawDial is rawConnect without waiting for PeerUp.
func rawDial(t testing.TB, via, to *testNode, n int) *rawPeer {
	l, err := via.dial(t.Context(), to.addr, false)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(l.close)
	from := via.cfg.Self
	from.ID = nodeID(n)
	h := &handshake{from: from, to: to.id, session: rand.Uint64()}
	if _, _, err = l.open(methodData, h); err != nil {
		t.Error(err)
	}
	if _, _, err = l.open(methodControl, h); err != nil {
		t.Error(err)
	}
	return &rawPeer{link: l}
}

func TestControlStreamNeedsItsDataStream(t *testing.T) {
	a, b := startNode(t, loopback{}, 2, newHandler(), nil), startNode(t, loopback{}, 3, newHandler(), nil)
	b.expect(a.at())
	l, err := a.dial(t.Context(), b.addr, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for _, m := range []string{methodControl, methodBulk} {
		if _, _, err = l.open(m, &handshake{from: a.cfg.Self, to: b.id, session: 1}); !errors.Is(err, ErrDeclined) {
			t.Errorf("%s: %v, want ErrDeclined", m, err)
		}
	}
}

func TestBulkIsHeldBackAlone(t *testing.T) {
	hb := newHandler()
	gate := make(chan struct{})
	hb.request = echo
	hb.chunk = func(*Peer, *Chunk) { <-gate }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	defer close(gate)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	chunk := &Chunk{Body: make([]byte, 1<<20)}
	sent := 0
	var err error
	for err == nil {
		if err = ab.SendChunk(ctx, chunk); err == nil {
			sent++
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) || sent > 40 {
		t.Errorf("%d chunks sent, then %v", sent, err)
	}
	if _, err := ask(t, ab, &Request{}); err != nil {
		t.Errorf("Call beside a full bulk connection: %v", err)
	}
}

func TestManyPeersTalkAtOnce(t *testing.T) {
	nw := newMemory()
	const nodes, calls = 6, 200
	var list []PeerAddr
	var all []*testNode
	for i := range nodes {
		h := newHandler()
		h.request = echo
		all = append(all, startNode(t, nw, i+1, h, nil))
		list = append(list, all[i].at())
	}
	for _, n := range all {
		n.SetPeers(list)
	}
	for _, n := range all {
		for range nodes - 1 {
			n.up(t)
		}
	}
	var wg sync.WaitGroup
	for _, n := range all {
		for _, to := range all {
			if n == to {
				continue
			}
			wg.Go(func() {
				for i := range calls {
					want := fmt.Sprint(n.id, i)
					if rsp, err := ask(t, n.Peer(to.id), &Request{Call: Call{Value: []byte(want)}}); err != nil || string(rsp.Value) != want {
						t.Errorf("got %q, %v", rsp.Value, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}
