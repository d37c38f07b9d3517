package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// scripted is a connection that reads bytes piece by piece.
type scripted struct {
	net.Conn
	b     []byte
	piece func() int
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(len(s.b), max(s.piece(), 1))])
	s.b = s.b[n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) { return len(p), nil }
func (s *scripted) Close() error                { return nil }

func http2Frame(typ, flags byte, stream uint32, body []byte) []byte {
	b := make([]byte, frameHead, frameHead+len(body))
	putHead(b, len(body), typ, flags, stream)
	return append(b, body...)
}

func grpcMessage(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// claimedConn is a claimed connection whose messages go to h.
func claimedConn(c net.Conn, h Handler) *conn {
	t := &Transport{cfg: Config{Handler: h, Self: Identity{ID: nodeID(1)}}}
	t.cfg.ensureDefaults()
	t.log = t.cfg.Logger
	cc := newConn(c)
	cc.in = newInflow(cc, &t.pool, t.cfg.maxReceive(), 0)
	cc.in.claim()
	t.peers = map[NodeID]*Peer{}
	p := t.newPeerLocked(Identity{ID: nodeID(2)})
	cc.in.attach(t.newSession(p, Identity{ID: nodeID(2)}, 1, cc, cc, nil, nil))
	return cc
}

// Messages come out whole wherever frames and reads end, and grpc sees all
// that is not the data stream's but for its windows.
func TestInflowCutsMessagesWhereverFramesEnd(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var script, rest, stream []byte
		pass := func(b []byte) { script, rest = append(script, b...), append(rest, b...) }
		pass(http2Frame(frameSetting, 0, 0, []byte{0, settingWindow, 0, 1, 0, 0}))
		pass(http2Frame(frameHeaders, 4, 1, []byte("head")))
		pass(http2Frame(frameData, 0, 1, grpcMessage([]byte("welcome"))))
		var want []string
		for range 1 + r.IntN(20) {
			body := make([]byte, []int{0, 10, 1000, 20_000, 400_000}[r.IntN(5)])
			for i := range body {
				body[i] = byte(r.Uint32())
			}
			enc := newEncoder(NodeID{})
			enc.body(kindClaims, body)
			want = append(want, string(body))
			stream = append(stream, grpcMessage(enc.buf)...)
		}
		for len(stream) > 0 {
			n := min(len(stream), 1+r.IntN([]int{3, 100, maxData}[r.IntN(3)]))
			script = append(script, http2Frame(frameData, 0, 1, stream[:n])...)
			stream = stream[n:]
			switch r.IntN(6) {
			case 0:
				pass(http2Frame(6, 0, 0, make([]byte, 8))) // a ping
			case 1:
				script = append(script, http2Frame(frameWindow, 0, uint32(r.IntN(2)), []byte{0, 0, 1, 0})...)
			case 2:
				pass(http2Frame(frameData, 0, 3, []byte("another stream's")))
			}
		}
		var got []string
		h := newHandler()
		h.claims = func(_ *Peer, b []byte) { got = append(got, string(b)) }
		pieces := []int{1, 50, 5000, 1 << 20}[r.IntN(4)]
		c := claimedConn(&scripted{b: script, piece: func() int { return 1 + r.IntN(pieces) }}, h)
		passed, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d messages, want %d, or they differ", seed, len(got), len(want))
		}
		if !bytes.Equal(passed, rest) {
			t.Fatalf("seed %d: grpc got %d bytes, want %d, or they differ", seed, len(passed), len(rest))
		}
	}
}

func TestInflowRefusesWhatIsNoMessage(t *testing.T) {
	for name, frame := range map[string][]byte{
		"compressed":      http2Frame(frameData, 0, 1, []byte{1, 0, 0, 0, 1, 0}),
		"above the limit": http2Frame(frameData, 0, 1, []byte{0, 0xff, 0xff, 0xff, 0xff}),
		"padded":          http2Frame(frameData, flagPadded, 1, []byte{1, 0, 0}),
		"long frame":      http2Frame(frameData, 0, 1, make([]byte, maxData+1)),
		"garbage inside":  http2Frame(frameData, 0, 1, grpcMessage([]byte("x"))),
	} {
		script := append(http2Frame(frameHeaders, 4, 1, nil), http2Frame(frameData, 0, 1, grpcMessage(nil))...)
		c := claimedConn(&scripted{b: append(script, frame...), piece: func() int { return 1 << 20 }}, newHandler())
		if _, err := io.ReadAll(c); !errors.Is(err, ErrBadFrame) {
			t.Errorf("%s: %v, want ErrBadFrame", name, err)
		}
	}
}

func FuzzInflow(f *testing.F) {
	f.Add([]byte(nil), uint8(1))
	f.Add(append(http2Frame(frameHeaders, 4, 1, nil), http2Frame(frameData, 0, 1, grpcMessage(nil))...), uint8(3))
	f.Add(append(http2Frame(frameSetting, 0, 0, make([]byte, 6)), http2Frame(frameWindow, 0, 0, make([]byte, 4))...), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		head := append(http2Frame(frameHeaders, 4, 1, nil), http2Frame(frameData, 0, 1, grpcMessage(nil))...)
		c := claimedConn(&scripted{b: append(head, b...), piece: func() int { return int(piece) }}, newHandler())
		if n, err := io.Copy(io.Discard, c); err == nil && n > int64(len(head)+len(b)) {
			t.Errorf("%d bytes out of %d", n, len(head)+len(b))
		}
	})
}

// Values of all sizes, both ways and many at a time, stay whole: partial
// writes, frames, windows and hand-overs between writers.
func TestValuesOfAllSizesStayWhole(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		ha, hb := newHandler(), newHandler()
		ha.request, hb.request = echo, echo
		a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
		ab, ba := connect(t, a, b)
		var wg sync.WaitGroup
		for i := range 16 {
			p := ab
			if i%2 == 1 {
				p = ba
			}
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 2))
				for range 60 {
					value := make([]byte, r.IntN([]int{10, 2000, 40_000, 700_000}[r.IntN(4)]))
					for i := 0; i < len(value); i += 97 {
						value[i] = byte(r.Uint32())
					}
					c := make(chan error, 1)
					p.Call(time.Now().Add(patience), &Request{Call: Call{Op: OpSet, Value: value}}, func(rsp *Response, err error) {
						if err == nil && !bytes.Equal(rsp.Value, value) {
							err = fmt.Errorf("%d bytes came back as %d, or others", len(value), len(rsp.Value))
						}
						c <- err
					})
					if err := <-c; err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestHeldCallsLeaveAsOneBatch(t *testing.T) {
	hb := newHandler()
	hb.request = echo
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	out := ab.session.Load().data.out
	taken := func() uint64 {
		out.mu.Lock()
		defer out.mu.Unlock()
		return out.taken
	}
	before, errs := taken(), make(chan error, 100)
	a.Hold()
	for range 100 {
		ab.CallHeld(time.Now().Add(patience), &Request{Call: Call{Key: "key"}}, func(_ *Response, err error) { errs <- err })
	}
	a.Release()
	for range 100 {
		if err := receive(t, errs); err != nil {
			t.Fatal(err)
		}
	}
	if n := taken() - before; n != 1 {
		t.Errorf("100 calls left in %d batches, want 1", n)
	}
}

func TestAbandonEndsTheCallsOfSomeSlots(t *testing.T) {
	hb := newHandler()
	arrived := make(chan uint16, 3)
	hb.request = func(_ *Peer, r *Request) { arrived <- r.Slot }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	errs := make(chan error, 4)
	call := func(slot uint16, asked bool) {
		ab.Call(time.Now().Add(patience), &Request{Asked: asked, Call: Call{Slot: slot}}, func(_ *Response, err error) { errs <- err })
	}
	call(1, false)
	call(2, false)
	call(1, true)
	for range 3 {
		receive(t, arrived)
	}
	out := ab.session.Load().data.out
	occupy(t, out)
	call(1, false)
	ab.Abandon(func(slot uint16, elsewhere bool) bool { return slot == 1 && !elsewhere })
	vacate(out)
	if err := receive(t, errs); !errors.Is(err, ErrLost) {
		t.Errorf("a call that was sent: %v, want ErrLost", err)
	}
	if err := receive(t, errs); !errors.Is(err, ErrNotSent) {
		t.Errorf("a call that was not sent: %v, want ErrNotSent", err)
	}
	if len(errs) != 0 {
		t.Error("a call of another slot, or sent after an ASK, has ended")
	}
}
