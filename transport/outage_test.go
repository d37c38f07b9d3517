package transport

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Calls under repeated outages: done runs once for each, an answer is the
// right one, and a call reported not sent was never seen by the peer.
func TestEveryCallEndsOnce(t *testing.T) {
	nw := newMemory()
	hb := newHandler()
	var seen sync.Map
	hb.request = func(p *Peer, r *Request) {
		seen.Store(r.Mark, true)
		if r.Mark%7 != 0 { // some are never answered
			echo(p, r)
		}
	}
	quick := func(c *Config) { c.BackoffMin, c.BackoffMax = time.Millisecond, 2*time.Millisecond }
	a, b := startNode(t, nw, 1, newHandler(), quick), startNode(t, nw, 2, hb, quick)
	ab, _ := connect(t, a, b)
	const callers, each, cutEach = 16, 400, 40
	var marks, notSent, lost, answered atomic.Uint64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				await(t, ab.Up)
				mark := marks.Add(1)
				if mark%cutEach == 0 {
					nw.cut()
				}
				var times atomic.Int32
				c := make(chan answer, 2)
				ab.Call(time.Now().Add(5*time.Millisecond), &Request{Mark: mark}, func(r *Response, err error) {
					times.Add(1)
					if err == nil {
						c <- answer{rsp: *r}
					} else {
						c <- answer{err: err}
					}
				})
				res := receive(t, c)
				_, ran := seen.Load(mark)
				switch {
				case res.err == nil && res.rsp.Code == CodeExpired: // too late, and not late enough for the caller to know
					if ran {
						t.Errorf("call %d ran and was reported as expired", mark)
					}
				case res.err == nil && res.rsp.Mark != mark:
					t.Errorf("call %d got the answer of %d", mark, res.rsp.Mark)
				case errors.Is(res.err, ErrNotSent) && ran:
					t.Errorf("call %d ran and was reported as not sent", mark)
				case errors.Is(res.err, ErrNotSent):
					notSent.Add(1)
				case errors.Is(res.err, ErrLost):
					lost.Add(1)
				default:
					answered.Add(1)
				}
				if times.Load() != 1 {
					t.Errorf("done ran %d times", times.Load())
				}
			}
		})
	}
	wg.Wait()
	if answered.Load() == 0 || lost.Load() == 0 {
		t.Error("the test shows nothing")
	}
	t.Logf("%d answered, %d lost, %d not sent", answered.Load(), lost.Load(), notSent.Load())
	// Up and Down alternate.
	up := true
	for {
		select {
		case e := <-a.h.events:
			if e.up == up {
				t.Fatal("two events of one kind in a row")
			}
			up = e.up
			continue
		default:
		}
		break
	}
}

func TestBulkConnectionIsOpenedAgain(t *testing.T) {
	hb := newHandler()
	got := make(chan uint64, 1000)
	hb.chunk = func(_ *Peer, c *Chunk) { got <- c.Seq }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	for seq := range uint64(3) {
		if err := ab.SendChunk(t.Context(), &Chunk{Seq: seq}); err != nil {
			t.Fatal(err)
		}
		if s := receive(t, got); s != seq {
			t.Fatalf("chunk %d, want %d", s, seq)
		}
		s := ab.session.Load()
		l, _ := s.bulk.get()
		l.conn.shut(CauseOther)
		receive(t, l.done)
	}
	if !ab.Up() {
		t.Error("the peer went down with its bulk connection")
	}
}

// One that does not last is not opened again and again without a pause.
func TestBulkConnectionsThatEndAtOncePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
		ab, _ := connect(t, a, b)
		s := ab.session.Load()
		began := time.Now()
		for range 20 {
			l, err := s.bulkLane(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			l.conn.shut(CauseOther)
			<-l.done
		}
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("opened 20 times in %v", took)
		}
	})
}

func TestHelloToASilentAddressEndsWithItsContext(t *testing.T) {
	a := startNode(t, loopback{}, 1, newHandler(), nil)
	ln, addr := loopback{}.listen(t) // nobody accepts
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := a.HelloTo(ctx, addr, nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > patience/4 {
		t.Errorf("HelloTo = %v after %v", err, time.Since(began))
	}
}

func TestAddressOfSomethingElseIsRetried(t *testing.T) {
	ln, addr := loopback{}.listen(t)
	dials := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 smtp.example.org ready\r\n")
			_ = c.Close()
			dials <- struct{}{}
		}
	}()
	a := startNode(t, loopback{}, 1, newHandler(), func(c *Config) { c.BackoffMax = 40 * time.Millisecond })
	a.SetPeers([]PeerAddr{{nodeID(2), addr}})
	for range 3 {
		receive(t, dials)
	}
	p := a.Peer(nodeID(2))
	if p.Up() || p.Err() == nil {
		t.Errorf("up %v, err %v", p.Up(), p.Err())
	}
	a.Close()
	_ = ln.Close()
	<-done
}

func TestPeerThatMovesIsFollowed(t *testing.T) {
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, newHandler(), nil)
	b.expect(a.at())
	dead := b.at()
	dead.Addr = "127.0.0.1:1"
	a.SetPeers([]PeerAddr{dead})
	a.SetPeers([]PeerAddr{b.at()})
	a.up(t)
	b.up(t)
}

func TestCloseEndsEverything(t *testing.T) {
	nw := newMemory()
	gate := make(chan struct{})
	hb := newHandler()
	hb.chunk = func(*Peer, *Chunk) { <-gate }
	a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
	ab, _ := connect(t, a, b)
	defer close(gate) // Close of b waits for its handlers
	errs := make(chan error, 2)
	ab.Call(time.Time{}, &Request{}, func(_ *Response, err error) { errs <- err })
	sent := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			err = ab.SendChunk(context.Background(), &Chunk{Body: make([]byte, 1<<20)})
		}
		sent <- err
	}()
	waiting := make(chan error, 1)
	await(t, func() bool { l, _ := ab.session.Load().bulk.get(); return l != nil })
	go func() { waiting <- ab.WaitRoom(context.Background()) }()
	a.Close()
	a.Close()
	if err := receive(t, errs); !errors.Is(err, ErrLost) && !errors.Is(err, ErrNotSent) {
		t.Errorf("Call = %v", err)
	}
	if err := receive(t, sent); !errors.Is(err, ErrNotSent) {
		t.Errorf("SendChunk = %v, want ErrNotSent", err)
	}
	receive(t, waiting)
	for _, err := range []error{ab.SendAppend(&Append{}), ab.SendAck(&AppendAck{}), ab.SendClaims(nil), ab.SendControl(nil),
		ab.SendChunk(t.Context(), &Chunk{}), ab.WaitRoom(t.Context())} {
		if !errors.Is(err, ErrNotSent) {
			t.Errorf("err = %v, want ErrNotSent", err)
		}
	}
	ab.Respond(1, &Response{})
	a.SetPeers([]PeerAddr{b.at()})
	// PeerDown does not wait for a Chunk that blocks.
	b.down(t)
}

// Close does not wait for who has only begun to say something.
func TestCloseEndsHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		b := startNode(t, nw, 2, newHandler(), nil)
		c, err := nw.dial(t.Context(), b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, grpcMagic); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		b.Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestConfigFaultsAreReportedTogether(t *testing.T) {
	_, err := New(Config{Self: Identity{MinProto: 2, MaxProto: 1}, MaxFrame: 1})
	for _, want := range []string{"no Listener", "no Dial", "no Handler", "no ID", "MinProto", "MaxFrame"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want it to say %q", err, want)
		}
	}
}
