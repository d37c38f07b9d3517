package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// bulkHands is how many chunks of a connection are taken in side by side: those of one
// slot in order.
const bulkHands = 2

// bulk is a session's second connection, which carries chunks only. It is
// opened by the side that dials when either side first has a chunk to send,
// and opened again should it end before the session.
type bulk struct {
	mu   sync.Mutex // guards lane and up
	lane *bulkLane
	up   chan struct{} // closed while lane is not nil

	want chan struct{} // capacity 1: somebody waits for the lane
}

type bulkLane struct {
	conn   *conn
	stream stream
	in     chan *batch   // unbuffered: the writer takes one at a time
	done   chan struct{} // closed when the lane has ended
}

func (b *bulk) init() {
	b.up = make(chan struct{})
	b.want = make(chan struct{}, 1)
}

// ask tells the dialing side's bulkLoop that the lane is wanted.
func (b *bulk) ask() {
	select {
	case b.want <- struct{}{}:
	default:
	}
}

func (b *bulk) get() (*bulkLane, chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lane, b.up
}

// attach makes l the lane, in place of one that has not noticed its end.
func (b *bulk) attach(l *bulkLane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lane != nil {
		b.lane.conn.shut(CauseClosedByUs)
	} else {
		close(b.up)
	}
	b.lane = l
}

func (b *bulk) detach(l *bulkLane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lane == l {
		b.lane = nil
		b.up = make(chan struct{})
	}
}

// runBulk serves l until it or the session ends.
func (s *session) runBulk(c *conn, st stream) {
	l := &bulkLane{conn: c, stream: st, in: make(chan *batch), done: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { s.writeBulk(l) }) // ends with the lane
	wg.Go(func() {                   // likewise, and ends it with the session
		select {
		case <-s.over:
			c.shut(CauseClosedByUs)
		case <-l.done:
		}
	})
	s.bulk.attach(l)
	err := s.readBulk(l)
	s.bulk.detach(l)
	close(l.done)
	c.shut(CauseOther)
	wg.Wait()
	s.piecesLost() // what the writer took is counted by now
	if !s.ended.Load() {
		s.t.log.Warn("bulk connection ended", "peer", s.ident.Name, "err", err)
	}
}

func (s *session) writeBulk(l *bulkLane) {
	for {
		select {
		case b := <-l.in:
			if b.completes {
				s.completed()
			}
			if err := l.stream.SendMsg(b); err != nil {
				l.conn.shut(CauseOther)
				return
			}
		case <-l.done:
			return
		}
	}
}

// readBulk reads l until it ends. Chunks are taken in beside it, since to store one takes
// longer than to read it.
func (s *session) readBulk(l *bulkLane) (err error) {
	var failed atomic.Pointer[error]
	var hands [bulkHands]chan frame
	var wg sync.WaitGroup
	for i := range hands {
		hands[i] = make(chan frame)
		wg.Go(func() { // ends with hands
			d := newDecoder(s.ident.ID, s.t.cfg.MaxMessage, s.t.cfg.MaxFrame)
			for f := range hands[i] {
				if failed.Load() != nil {
					f.free()
				} else if err := s.onChunks(d, &f); err != nil {
					failed.CompareAndSwap(nil, &err)
					l.conn.shut(CauseOther)
				}
			}
		})
	}
	defer func() {
		for _, c := range hands {
			close(c)
		}
		wg.Wait()
		if e := failed.Load(); e != nil {
			err = *e
		}
	}()
	d := newDecoder(s.ident.ID, s.t.cfg.MaxMessage, s.t.cfg.MaxFrame)
	large := newDecoder(s.ident.ID, s.t.cfg.MaxMessage, s.t.cfg.MaxFrame)
	var w whole
	for {
		var f frame
		if err := l.stream.RecvMsg(&f); err != nil {
			return err
		}
		k, msg, rest, err := s.first(&f)
		if err == nil && k == kindChunk {
			slot, _ := slotOf(k, msg)
			hands[slot%bulkHands] <- f
			continue
		}
		for err == nil {
			if k == kindPiece {
				err = s.onPiece(d, large, &w, msg)
			}
			if err != nil || len(rest) == 0 {
				break
			}
			k, msg, rest, err = next(rest)
		}
		f.free()
		if err != nil {
			return err
		}
	}
}

// onChunks takes in a frame of chunks, and frees it.
func (s *session) onChunks(d *decoder, f *frame) error {
	defer f.free()
	k, msg, rest, err := s.first(f)
	for err == nil {
		if s.ended.Load() {
			return ErrClosed
		}
		if k == kindChunk {
			d.open(msg)
			c := d.chunk()
			if d.err != nil {
				return d.err
			}
			s.t.cfg.Handler.Chunk(s.p, c)
		}
		if len(rest) == 0 {
			return nil
		}
		k, msg, rest, err = next(rest)
	}
	return err
}

func (s *session) onPiece(d, large *decoder, w *whole, msg []byte) error {
	d.open(msg)
	p := d.piece()
	if d.err != nil {
		return d.err
	}
	done, err := w.add(&p, s.t.cfg.MaxMessage+maxOverhead)
	if err != nil || !done {
		return err
	}
	b := w.buf
	*w = whole{}
	return s.onWhole(large, b)
}

// sendChunk waits for the lane and for its writer.
func (s *session) sendChunk(ctx context.Context, b *batch) error {
	l, err := s.bulkLane(ctx)
	if err != nil {
		return err
	}
	return s.sendOn(ctx, l, b)
}

// bulkLane waits for the lane.
func (s *session) bulkLane(ctx context.Context) (*bulkLane, error) {
	l, up := s.bulk.get()
	for l == nil {
		if err := s.wantBulk(); err != nil {
			return nil, err
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNotSent, ctx.Err())
		case <-s.over:
			return nil, ErrNotSent
		}
		l, up = s.bulk.get()
	}
	return l, nil
}

// sendOn waits for a lane's writer.
func (s *session) sendOn(ctx context.Context, l *bulkLane, b *batch) error {
	select {
	case l.in <- b:
		return nil
	case <-l.done:
		return ErrNotSent
	case <-s.over:
		return ErrNotSent
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotSent, ctx.Err())
	}
}

func (s *session) wantBulk() error {
	if dials(s.t.cfg.Self.ID, s.ident.ID) {
		s.bulk.ask()
		return nil
	}
	return s.note(kindWantBulk)
}

// note queues a message that has nothing to say but its kind. A peer that does not even
// read those is disconnected.
func (s *session) note(k kind) error {
	at, err := s.data.out.lock(prefixSize, urgent)
	if err != nil {
		s.refused(err)
		return err
	}
	s.data.out.enc.begin(k)
	s.data.out.enc.end()
	s.data.out.unlock(at.off)
	return nil
}
