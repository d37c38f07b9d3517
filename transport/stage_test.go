package transport

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestPiecesMakeAWhole(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100)
	at := func(off, n int) *piece { return &piece{total: len(body), off: off, body: body[off : off+n]} }
	for _, tt := range []struct {
		name   string
		pieces []*piece
		bad    bool
	}{
		{"in order", []*piece{at(0, 400), at(400, 400), at(800, 200)}, false},
		{"one", []*piece{at(0, 1000)}, false},
		{"begun again", []*piece{at(0, 400), at(0, 600), at(600, 400)}, false},
		{"not from the beginning", []*piece{at(400, 400)}, true},
		{"with a gap", []*piece{at(0, 400), at(500, 500)}, true},
		{"another total", []*piece{at(0, 400), {total: 999, off: 400, body: body[:10]}}, true},
		{"more than the total", []*piece{at(0, 400), {total: 1000, off: 400, body: body[:601]}}, true},
		{"nothing", []*piece{at(0, 400), at(400, 0)}, true},
		{"above the limit", []*piece{{total: 1 << 30, body: body}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w whole
			var done bool
			var err error
			for _, p := range tt.pieces {
				if done, err = w.add(p, 1<<20); err != nil {
					break
				}
			}
			if tt.bad != errors.Is(err, ErrBadFrame) || !tt.bad && (!done || !bytes.Equal(w.buf, body)) {
				t.Errorf("got %d bytes, done %v, %v, want bad %v", len(w.buf), done, err, tt.bad)
			}
		})
	}
}

// holdUpBulk has the peer, whose handler of chunks waits, read no more from the bulk
// connection: that waits with the second.
func holdUpBulk(t *testing.T, p *Peer) {
	t.Helper()
	for range 2 {
		if err := p.SendChunk(t.Context(), &Chunk{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Small calls are answered while a large one is held up on its way.
func TestSmallCallsPassALargeOne(t *testing.T) {
	hb := newHandler()
	gate := make(chan struct{})
	hb.request = echo
	hb.chunk = func(*Peer, *Chunk) { <-gate }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	release := sync.OnceFunc(func() { close(gate) })
	defer release() // Close waits for handlers
	holdUpBulk(t, ab)
	large := make(chan error, 1)
	ab.Call(time.Now().Add(patience), &Request{Call: Call{Op: OpSet, Value: make([]byte, 20<<20)}}, func(_ *Response, err error) { large <- err })
	for range 100 {
		if _, err := ask(t, ab, &Request{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(large) != 0 {
		t.Fatal("the large call has passed the gate")
	}
	release()
	if err := receive(t, large); err != nil {
		t.Errorf("the large call: %v", err)
	}
}

// A large message that the bulk connection took with it when it ended is not
// waited for: its session ends.
func TestLostPiecesEndTheSession(t *testing.T) {
	hb := newHandler()
	gate := make(chan struct{})
	hb.chunk = func(*Peer, *Chunk) { <-gate }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	defer close(gate)
	ab, _ := connect(t, a, b)
	holdUpBulk(t, ab)
	errs := make(chan error, 1)
	ab.Call(time.Now().Add(patience), &Request{Call: Call{Op: OpSet, Value: make([]byte, LargeMessage+1)}}, func(_ *Response, err error) { errs <- err })
	s := ab.session.Load()
	await(t, func() bool {
		s.stage.mu.Lock()
		defer s.stage.mu.Unlock()
		return s.stage.sent == 1
	})
	l, _ := s.bulk.get()
	l.conn.shut(CauseOther)
	if err := receive(t, errs); !errors.Is(err, ErrLost) {
		t.Errorf("err = %v, want ErrLost", err)
	}
	a.down(t)
	a.up(t) // and is there again
}

// A request that was run is not answered as if it had been refused.
func TestLargeAnswerWithoutRoomIsLost(t *testing.T) {
	const limit = 1 << 20
	hb := newHandler()
	hb.request = func(p *Peer, r *Request) {
		p.Respond(r.ID, &Response{Mark: 5, Result: Result{Value: make([]byte, stageFactor*limit)}})
	}
	gate := make(chan struct{})
	ha := newHandler()
	ha.chunk = func(*Peer, *Chunk) { <-gate }
	a := startNode(t, loopback{}, 1, ha, nil)
	b := startNode(t, loopback{}, 2, hb, func(c *Config) { c.QueueBytes = limit })
	defer close(gate)
	ab, ba := connect(t, a, b)
	holdUpBulk(t, ba)
	codes := make(chan Code, 20)
	for range cap(codes) {
		ab.Call(time.Time{}, &Request{}, func(r *Response, err error) {
			if err == nil {
				codes <- r.Code
			}
		})
	}
	if code := receive(t, codes); code != CodeLost {
		t.Errorf("code %d, want CodeLost", code)
	}
}

// A message whose last piece no writer took has not left with the bulk connection.
func TestPiecesThatNobodyTookAreNotLost(t *testing.T) {
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, newHandler(), nil)
	ab, _ := connect(t, a, b)
	s := ab.session.Load()
	l := &bulkLane{in: make(chan *batch), done: make(chan struct{})}
	close(l.done)
	s.bulk.attach(l)
	defer s.bulk.detach(l)
	if s.sendPieces(t.Context(), make([]byte, pieceSize)) {
		t.Error("sent over a lane that has ended")
	}
	if s.piecesLost(); !ab.Up() {
		t.Error("the session ended for a message that waits to be sent")
	}
}

// The large calls of a caller that waits no more are not sent.
func TestLargeCallThatIsCancelledIsNotSent(t *testing.T) {
	hb := newHandler()
	gate := make(chan struct{})
	ran := make(chan int, 2)
	hb.request = func(_ *Peer, r *Request) { ran <- len(r.Value) }
	hb.chunk = func(*Peer, *Chunk) { <-gate }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, _ := connect(t, a, b)
	release := sync.OnceFunc(func() { close(gate) })
	defer release() // Close waits for handlers
	holdUpBulk(t, ab)
	send := func(n int) uint64 {
		return ab.Call(time.Time{}, &Request{Call: Call{Op: OpSet, Value: make([]byte, n)}}, func(*Response, error) {})
	}
	first, second := send(30<<20), send(2<<20) // the first fills the connection
	_ = first
	if pending, sent := ab.Cancel(second); !pending || !sent {
		t.Errorf("Cancel = %v, %v, want pending, and perhaps sent", pending, sent)
	}
	send(3 << 20)
	release()
	if n, m := receive(t, ran), receive(t, ran); n != 30<<20 || m != 3<<20 {
		t.Errorf("requests of %d and %d bytes ran, want the first and the third", n, m)
	}
}
