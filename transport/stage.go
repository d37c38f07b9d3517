package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A request, answer or append above LargeMessage would hold up what is small
// behind it. It goes in pieces over the bulk connection instead, and is
// handled where its last piece is read. So it is in no order with what goes
// over the data stream.
const (
	LargeMessage = 1 << 20
	pieceSize    = 256 << 10
	stageFactor  = 4 // times QueueBytes may wait to be sent in pieces
)

var errPiecesLost = errors.New("transport: bulk connection ended with a message on it")

// stage is a session's queue of large messages.
type stage struct {
	mu       sync.Mutex // guards all below
	queue    []staged
	bytes    int
	sent     int // messages sent whole, or in a writer's hands, that the peer has not confirmed
	received sync.Mutex
	wake     chan struct{} // capacity 1
}

// settle returns when no message that came in pieces is being handled.
func (st *stage) settle() {
	st.received.Lock()
	defer st.received.Unlock()
}

type staged struct {
	msg  []byte
	call uint64 // the message is its request; 0: no call's
}

// put queues an encoded message. One is taken whatever its size.
func (s *session) put(msg []byte, call uint64) error {
	g := &s.stage
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.ended.Load() {
		return ErrNotSent
	}
	if len(g.queue) > 0 && g.bytes+len(msg) > stageFactor*s.t.cfg.QueueBytes {
		return ErrOverloaded
	}
	g.queue = append(g.queue, staged{msg, call})
	g.bytes += len(msg)
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return nil
}

// sendStaged sends what is queued, until the session ends.
func (s *session) sendStaged() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.writers.Go(func() { // ends with the session
		<-s.over
		cancel()
	})
	g := &s.stage
	for {
		select {
		case <-g.wake:
		case <-s.over:
			return
		}
		for {
			g.mu.Lock()
			if len(g.queue) == 0 {
				g.mu.Unlock()
				break
			}
			next := g.queue[0]
			g.queue = slices.Delete(g.queue, 0, 1)
			g.mu.Unlock()
			// A call whose caller waits no more is not sent.
			for (next.call == 0 || s.p.calls.has(next.call)) && !s.sendPieces(ctx, next.msg) {
				if s.ended.Load() {
					return
				}
			}
			g.mu.Lock()
			g.bytes -= len(next.msg)
			g.mu.Unlock()
		}
	}
}

// sendPieces sends one message over the bulk lane there is; false means that
// the lane or the session has ended first.
func (s *session) sendPieces(ctx context.Context, msg []byte) bool {
	l, err := s.bulkLane(ctx)
	if err != nil {
		return false
	}
	for off := 0; off < len(msg); off += pieceSize {
		part := msg[off:min(off+pieceSize, len(msg))]
		enc := newEncoder(s.t.cfg.Self.ID)
		enc.buf = *s.t.pool.Get(len(part) + sizeChunk)
		enc.piece(&piece{total: len(msg), off: off, body: part})
		b := &batch{data: &enc.buf, pool: &s.t.pool, completes: off+len(part) == len(msg)}
		if s.sendOn(ctx, l, b) != nil {
			return false
		}
	}
	return true
}

// completed counts a message whose last piece is on its way.
func (s *session) completed() {
	s.stage.mu.Lock()
	s.stage.sent++
	s.stage.mu.Unlock()
}

// confirmed counts a message that has come through.
func (s *session) confirmed() {
	s.stage.mu.Lock()
	s.stage.sent = max(s.stage.sent-1, 0)
	s.stage.mu.Unlock()
}

// piecesLost ends the session if the bulk connection that ended had a message
// on it that the peer has not confirmed: whoever waits for it would wait in
// vain.
func (s *session) piecesLost() {
	s.stage.mu.Lock()
	lost := s.stage.sent > 0
	s.stage.mu.Unlock()
	if lost {
		s.end(CauseOther, errPiecesLost)
	}
}

// piece is a part of a large message on its way.
type piece struct {
	total, off int
	body       []byte
}

// whole puts pieces together.
type whole struct {
	buf   []byte
	total int
}

// add takes a piece; done says that the message is whole.
func (w *whole) add(p *piece, limit int) (done bool, err error) {
	if p.off == 0 {
		if p.total > limit {
			return false, fmt.Errorf("%w: %d bytes in pieces", ErrBadFrame, p.total)
		}
		*w = whole{buf: make([]byte, 0, min(p.total, firstPiece)), total: p.total}
	}
	if p.off != len(w.buf) || p.total != w.total || len(p.body) > w.total-len(w.buf) || len(p.body) == 0 {
		return false, fmt.Errorf("%w: piece at %d of %d, want %d of %d", ErrBadFrame, p.off, p.total, len(w.buf), w.total)
	}
	if len(w.buf)+len(p.body) > cap(w.buf) {
		w.buf = append(make([]byte, 0, w.total), w.buf...)
	}
	w.buf = append(w.buf, p.body...)
	return len(w.buf) == w.total, nil
}

// onWhole handles a message that came in pieces.
func (s *session) onWhole(d *decoder, msg []byte) error {
	s.stage.received.Lock()
	defer s.stage.received.Unlock()
	if s.ended.Load() {
		return ErrClosed
	}
	k, body, rest, err := next(msg)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes after a message in pieces, %v", ErrBadFrame, len(rest), err)
	}
	s.t.corks.enter()
	defer s.t.corks.leave(true)
	out := s.data.out
	if err := s.note(kindWhole); err != nil {
		return err
	}
	switch k {
	case kindRequest, kindResponse, kindAppend:
		return s.onMessage(d, &frame{b: msg}, k, body, out.bytes() >= out.limit)
	}
	return nil
}
