package transport

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// stream is either end of a gRPC stream.
type stream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// lane is one of a session's streams with its outgoing queue.
type lane struct {
	stream stream
	out    *outbox
	dec    *decoder
}

// session is one established connection set with a peer: from both streams
// being ready to the end of either. Two goroutines read, two write.
type session struct {
	t       *Transport
	p       *Peer
	ident   Identity
	number  uint64 // ties its streams together
	conn    *conn  // of the data stream
	aside   *conn  // of the control stream; the same where the peer opened both on one
	cause   Cause  // set by end
	release func() // gives back what the dialing side holds; may be nil

	data, control *lane
	writers       sync.WaitGroup
	controlDone   chan struct{} // the control stream is read no more

	ended atomic.Bool
	over  chan struct{} // closed by end
	gone  chan struct{} // closed when PeerDown has returned

	late   lateness // of requests on the data stream
	readAt int64    // when the batch at hand was read, in microseconds; likewise
	slots  []uint16 // for ahead; likewise

	bulk  bulk
	stage stage
}

func (t *Transport) newSession(p *Peer, ident Identity, number uint64, c, aside *conn, data, control stream) *session {
	s := &session{
		t: t, p: p, ident: ident, number: number, conn: c, aside: aside,
		data: t.newLane(data, ident.ID), control: t.newLane(control, ident.ID),
		controlDone: make(chan struct{}), over: make(chan struct{}), gone: make(chan struct{}),
	}
	out, flow := s.data.out, c.in.out
	out.head, out.sink, out.corks = dataHead, flow, &t.corks
	out.fail = func(err error) { s.end(CauseOther, err) }
	out.nudge = flow.nudge
	flow.box = out
	if flow.raw != nil {
		out.eager = flow
	}
	waitHere(aside.Conn)
	s.bulk.init()
	s.stage.wake = make(chan struct{}, 1)
	return s
}

func (t *Transport) newLane(st stream, peer NodeID) *lane {
	l := &lane{
		stream: st,
		out:    newOutbox(t.cfg.Self.ID, &t.pool, t.cfg.QueueBytes),
		dec:    newDecoder(peer, t.cfg.MaxMessage, t.cfg.MaxFrame),
	}
	l.out.sink = grpcSink{st}
	return l
}

// grpcSink leaves batches to grpc, which frees them.
type grpcSink struct{ stream stream }

func (g grpcSink) send(b *batch, _ int) error { return g.stream.SendMsg(b) }

// end ends the session, whoever calls first. It does not wait.
func (s *session) end(cause Cause, why error) {
	if !s.ended.CompareAndSwap(false, true) {
		return
	}
	s.cause = cause
	for _, c := range []*conn{s.aside, s.conn} {
		if was := c.ended(); was != 0 {
			s.cause = was
		}
	}
	s.conn.shut(cause)
	s.aside.shut(cause)
	s.data.out.close()
	s.control.out.close()
	close(s.over)
	if errors.Is(why, ErrBadFrame) || errors.Is(why, ErrStalled) {
		s.t.log.Warn("peer misbehaves", "peer", s.ident.Name, "err", why)
	}
	s.p.setErr(why)
}

// run serves an installed session until it ends. The data stream is read by
// its connection's inflow; what is left of it here is its end.
func (s *session) run() {
	s.writers.Go(func() { s.write(s.data) })    // ends with the outbox
	s.writers.Go(func() { s.write(s.control) }) // likewise
	s.writers.Go(s.sendStaged)                  // ends with the session
	s.conn.in.attach(s)
	s.read(s.data, func(*frame) error { return fmt.Errorf("%w: message past the inflow", ErrBadFrame) })
	s.conn.in.detach()
	s.stage.settle() // and nothing that came in pieces is being handled
	<-s.controlDone
	<-s.over
	if s.release != nil {
		s.release()
	}
	s.writers.Wait()
	taken := s.data.out.close()
	for _, c := range s.p.calls.drain() {
		if c.at.seq > taken {
			c.done(nil, ErrNotSent)
		} else {
			c.done(nil, ErrLost)
		}
	}
	s.t.log.Info("peer down", "peer", s.ident.Name, "cause", s.cause)
	s.t.cfg.Handler.PeerDown(s.p, s.cause)
	s.t.uninstall(s)
}

func (s *session) readControl() {
	defer close(s.controlDone)
	s.read(s.control, s.onControl)
}

func (s *session) write(l *lane) {
	s.end(CauseOther, l.out.write())
}

// read hands what arrives to on until the stream ends.
func (s *session) read(l *lane, on func(*frame) error) {
	var f frame
	for {
		err := l.stream.RecvMsg(&f)
		if err == nil {
			err = on(&f)
			f.free()
		}
		if err != nil {
			s.end(CauseOther, err)
			return
		}
	}
}

// first cuts the first message off a frame and checks the frame's size: only
// a message that travels alone may exceed MaxFrame.
func (s *session) first(f *frame) (k kind, msg, rest []byte, err error) {
	if len(f.b) == 0 {
		return kindVoid, nil, nil, nil
	}
	k, msg, rest, err = next(f.b)
	if err == nil && len(rest) > 0 && len(f.b) > s.t.cfg.MaxFrame {
		err = fmt.Errorf("%w: batch of %d bytes", ErrBadFrame, len(f.b))
	}
	return k, msg, rest, err
}

func (s *session) onData(f *frame) error {
	out := s.data.out
	k, msg, rest, err := s.first(f)
	busy := out.bytes() >= out.limit
	s.readAt = s.t.now() / 1000
	for batch, i := f.b, 0; err == nil; i++ {
		if i%aheadMost == 0 && len(rest) > 0 {
			s.ahead(batch)
		}
		err = s.onMessage(s.data.dec, f, k, msg, busy)
		if batch = rest; err != nil || len(rest) == 0 {
			break
		}
		k, msg, rest, err = next(rest)
	}
	return err
}

// onMessage is on the hot path.
func (s *session) onMessage(d *decoder, f *frame, k kind, msg []byte, busy bool) error {
	h := s.t.cfg.Handler
	switch k {
	case kindRequest:
		d.open(msg)
		r := d.request()
		switch {
		case d.err != nil:
			return d.err
		case busy: // the peer does not read its answers: take no more work from it
			s.p.respond(s, r.ID, &Response{Code: CodeOverloaded})
		case d == s.data.dec && s.late.expired(r, s.readAt):
			s.p.respond(s, r.ID, &Response{Code: CodeExpired})
		default:
			h.Request(s.p, r)
		}
	case kindResponse:
		return s.onResponse(d, f, msg)
	case kindAppend:
		d.open(msg)
		a := d.append()
		if d.err != nil {
			return d.err
		}
		h.Append(s.p, a)
	case kindAck:
		d.open(msg)
		a := d.appendAck()
		if d.err != nil {
			return d.err
		}
		h.AppendAck(s.p, a)
	case kindClaims:
		d.open(msg)
		b := d.bytes(d.body)
		if d.err != nil {
			return d.err
		}
		h.Claims(s.p, b)
	case kindWhole:
		s.confirmed()
	case kindWantBulk:
		s.bulk.ask()
	}
	return nil
}

// keepValue is the size from which a value that fills most of its frame is
// handed over with the frame's memory instead of copied.
const keepValue = 32 << 10

func (s *session) onResponse(d *decoder, f *frame, msg []byte) error {
	d.open(msg)
	id := d.responseID()
	if d.err != nil {
		return d.err
	}
	c, ok := s.p.calls.take(id)
	if !ok {
		return nil // too late: its deadline has passed or it was cancelled
	}
	r := d.response(id)
	if d.err != nil {
		c.done(nil, ErrLost)
		return d.err
	}
	if n := len(r.Value); n >= keepValue && 2*n >= len(f.b) && !f.borrowed {
		f.keep()
	} else {
		r.Value = bytes.Clone(r.Value)
	}
	if r.Claim != nil {
		r.Claim = bytes.Clone(r.Claim)
	}
	if r.Text != "" {
		r.Text = strings.Clone(r.Text)
	}
	c.done(r, nil)
	return nil
}

func (s *session) onControl(f *frame) error {
	d := s.control.dec
	k, msg, rest, err := s.first(f)
	for err == nil {
		if k == kindControl {
			d.open(msg)
			b := d.bytes(d.body)
			if d.err != nil {
				return d.err
			}
			s.t.cfg.Handler.Control(s.p, b)
		}
		if len(rest) == 0 {
			break
		}
		k, msg, rest, err = next(rest)
	}
	return err
}
