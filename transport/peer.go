package transport

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Peer is another node, connected or not. Its methods may be called from any
// goroutine, handlers included, and but for WaitRoom and SendChunk never wait
// for the network.
type Peer struct {
	t     *Transport
	id    NodeID
	calls calls

	session atomic.Pointer[session] // nil, or ended, while down
	ident   atomic.Pointer[Identity]
	err     atomic.Pointer[error]

	// Guarded by t.mu.
	cur    *session // installed and not yet uninstalled
	addr   string
	listed bool
	held   int                // handshakes in progress
	stop   context.CancelFunc // of the dial loop; nil if there is none
}

// PeerAddr says where a peer is.
type PeerAddr struct {
	ID   NodeID
	Addr string
}

// ID returns the peer's node ID.
func (p *Peer) ID() NodeID { return p.id }

// Identity returns what the peer said of itself when it was last connected;
// before that, its ID and address as far as known. A zero Peer has said nothing.
func (p *Peer) Identity() Identity {
	if id := p.ident.Load(); id != nil {
		return *id
	}
	return Identity{}
}

// Up says whether the peer is connected. It turns true before PeerUp runs and
// false before PeerDown runs.
func (p *Peer) Up() bool {
	s := p.session.Load()
	return s != nil && !s.ended.Load()
}

// Err returns why the last connection, or attempt at one, ended; nil if none
// has.
func (p *Peer) Err() error {
	if e := p.err.Load(); e != nil {
		return *e
	}
	return nil
}

func (p *Peer) setErr(err error) { p.err.Store(&err) }

// Call sends r and arranges that done runs exactly once: with the answer, or
// with an error that is, for errors.Is, ErrNotSent, ErrOverloaded or
// ErrTooLarge if the request certainly never left, ErrLost if it may have.
// When the deadline (zero: none) passes first it is context.DeadlineExceeded
// as well. r and what it refers to may be reused at once.
//
// done runs on the stream's reader goroutine, or on that of the deadlines, or
// where the stream's end is noticed, and must not block; when the request is
// refused at once it runs before Call returns. The Response is valid until
// done returns, but Value, Claim and Text are done's to keep.
//
// The result names the call for Cancel; it is 0 when done has run.
func (p *Peer) Call(deadline time.Time, r *Request, done func(*Response, error)) uint64 {
	return p.start(deadline, r, done, false)
}

// CallHeld is Call, but between Transport.Hold and Release the request waits
// for others to leave with it.
func (p *Peer) CallHeld(deadline time.Time, r *Request, done func(*Response, error)) uint64 {
	return p.start(deadline, r, done, true)
}

func (p *Peer) start(deadline time.Time, r *Request, done func(*Response, error), held bool) uint64 {
	id, err := p.call(deadline, r, done, held)
	if err != nil {
		done(nil, err)
		return 0
	}
	return id
}

func (p *Peer) call(deadline time.Time, r *Request, done func(*Response, error), held bool) (uint64, error) {
	s := p.session.Load()
	if s == nil {
		return 0, ErrNotSent
	}
	size := sizeRequest + len(r.Key) + len(r.Field) + len(r.Value) + len(r.Old)
	if len(r.Key) > MaxKey || len(r.Field) > MaxKey || size > p.t.cfg.MaxMessage {
		return 0, ErrTooLarge
	}
	limit := int64(noDeadline)
	r.Timeout, r.Sent = 0, 0
	if !deadline.IsZero() {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, errExpiredNotSent
		}
		r.Timeout = max(left.Microseconds(), 1)
		limit = int64(deadline.Sub(p.t.start))
		r.Sent = limit/1000 - r.Timeout
	}
	if size > LargeMessage {
		return p.callLarge(s, r, size, limit, done)
	}
	out := s.data.out
	at, err := out.lock(size, normal)
	if err != nil {
		return 0, err
	}
	id, live := p.calls.add(call{at: at, slot: r.Slot, elsewhere: r.elsewhere(), deadline: limit, done: done})
	if r.ID = id; id == 0 {
		out.unlock(at.off)
		return 0, ErrOverloaded
	}
	out.enc.request(r)
	if held {
		out.unlock(at.off)
	} else {
		out.unlockCall(at.off, live)
	}
	if limit != noDeadline {
		p.t.sweep.note(limit)
	}
	return id, nil
}

// callLarge sends a request in pieces. It counts as sent from the beginning.
func (p *Peer) callLarge(s *session, r *Request, size int, limit int64, done func(*Response, error)) (uint64, error) {
	id, _ := p.calls.add(call{slot: r.Slot, elsewhere: r.elsewhere(), deadline: limit, done: done})
	if r.ID = id; id == 0 {
		return 0, ErrOverloaded
	}
	enc := newEncoder(p.t.cfg.Self.ID)
	enc.buf = make([]byte, 0, size)
	enc.request(r)
	if err := s.put(enc.buf, id); err != nil {
		if _, ok := p.calls.take(id); !ok {
			return id, nil // the session's end has told already
		}
		return 0, err
	}
	if limit != noDeadline {
		p.t.sweep.note(limit)
	}
	return id, nil
}

// Abandon ends the calls to p that which picks, as Cancel does, but their done
// runs: with ErrNotSent or ErrLost. elsewhere tells calls sent after an ASK, and
// those with FlagRelay, whose slots p is not known to serve.
func (p *Peer) Abandon(which func(slot uint16, elsewhere bool) bool) {
	for _, c := range p.calls.remove(func(c *call) bool { return which(c.slot, c.elsewhere) }) {
		if c.at.withdraw() {
			c.done(nil, ErrNotSent)
		} else {
			c.done(nil, ErrLost)
		}
	}
}

// Cancel gives a call up. If pending is true its done will not run; sent then
// says whether the request may have left.
func (p *Peer) Cancel(id uint64) (pending, sent bool) {
	c, ok := p.calls.take(id)
	if !ok {
		return false, false
	}
	return true, !c.at.withdraw()
}

// expire ends the calls whose deadline has come.
func (p *Peer) expire(now int64) (earliest int64) {
	late, earliest := p.calls.expire(now)
	for _, c := range late {
		if c.at.withdraw() {
			c.done(nil, errExpiredNotSent)
		} else {
			c.done(nil, errExpiredLost)
		}
	}
	return earliest
}

// Answer ends the call that an append answers, if it still waits. Its done runs before
// Answer returns.
func (p *Peer) Answer(a *Append) {
	if c, ok := p.calls.take(a.Answers); ok {
		r := Response{ID: a.Answers, Mark: a.Mark, Result: a.Result}
		r.Value = bytes.Clone(r.Value)
		c.done(&r, nil)
	}
}

// Respond answers the request id that the handler was given. It is dropped if
// the stream it came by has ended. A peer that lets twice QueueBytes pile up
// is disconnected; where several times that waits in large answers, it is told
// CodeLost instead of another.
func (p *Peer) Respond(id uint64, r *Response) {
	if s := p.session.Load(); s != nil {
		p.respond(s, id, r)
	}
}

func (p *Peer) respond(s *session, id uint64, r *Response) {
	size := sizeResponse + len(r.Value) + len(r.Claim) + len(r.Text)
	if size > p.t.cfg.MaxMessage || len(r.Claim) > maxClaim {
		r = &Response{Code: CodeTooLarge, Mark: r.Mark}
		size = sizeResponse
	}
	if size > LargeMessage {
		enc := newEncoder(p.t.cfg.Self.ID)
		enc.buf = make([]byte, 0, size)
		enc.response(id, r)
		if s.put(enc.buf, 0) == nil {
			return
		}
		r, size = &Response{Code: CodeLost, Mark: r.Mark}, sizeResponse
	}
	at, err := s.data.out.lock(size, urgent)
	if err != nil {
		s.refused(err)
		return
	}
	s.data.out.enc.response(id, r)
	s.data.out.unlock(at.off)
}

// refused ends a session whose peer does not read what may not be lost.
func (s *session) refused(err error) {
	if errors.Is(err, ErrStalled) {
		s.end(CauseOther, err)
	}
}

// SendAppend queues an append. ErrNotSent, ErrOverloaded and ErrTooLarge mean
// that it was not queued; what is queued arrives in order or the peer goes
// down. One for which Large is true arrives in no order with others.
func (p *Peer) SendAppend(a *Append) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	size := sizeAppend + len(a.Result.Value) + recordsSize(a.Records)
	if size > p.t.cfg.MaxMessage || !recordsFit(a.Records) {
		return ErrTooLarge
	}
	if size > LargeMessage {
		enc := newEncoder(p.t.cfg.Self.ID)
		enc.buf = make([]byte, 0, size)
		enc.append(a)
		return s.put(enc.buf, 0)
	}
	at, err := s.data.out.lock(size, normal)
	if err != nil {
		return err
	}
	s.data.out.enc.append(a)
	s.data.out.unlock(at.off)
	return nil
}

// Large reports whether SendAppend sends a in pieces, over the bulk connection.
func (a *Append) Large() bool {
	return sizeAppend+len(a.Result.Value)+recordsSize(a.Records) > LargeMessage
}

func recordsFit(rs []Record) bool {
	for i := range rs {
		if len(rs[i].Key) > MaxKey || len(rs[i].Field) > MaxKey {
			return false
		}
	}
	return len(rs) <= MaxRecords
}

// SendAck queues an acknowledgement; it may replace one of the same slot,
// epoch and session that has not left yet. It is never refused while the peer
// is up; one that does not read is disconnected.
func (p *Peer) SendAck(a *AppendAck) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	err := s.data.out.ack(a)
	s.refused(err)
	return err
}

// SendClaims queues claims on the data stream, SendControl a message on the
// control stream. Both are bounded by MaxFrame.
func (p *Peer) SendClaims(claims []byte) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	return p.sendBody(s.data.out, kindClaims, claims)
}

// SendControl is documented with SendClaims.
func (p *Peer) SendControl(body []byte) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	return p.sendBody(s.control.out, kindControl, body)
}

// SendFirst is SendControl for what is worth nothing late: it leaves before all that
// waits on the control stream.
func (p *Peer) SendFirst(body []byte) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	if len(body) > p.t.cfg.MaxFrame {
		return ErrTooLarge
	}
	return s.control.out.hasten(kindControl, body)
}

func (p *Peer) sendBody(out *outbox, k kind, body []byte) error {
	if len(body) > p.t.cfg.MaxFrame {
		return ErrTooLarge
	}
	at, err := out.lock(len(body)+sizeAck, normal)
	if err != nil {
		return err
	}
	out.enc.body(k, body)
	out.unlock(at.off)
	return nil
}

// SendChunk hands c to the bulk connection, which it opens if need be, and
// waits while the receiver is busy with those before. c may be reused at once.
// nil does not mean that it arrived: if the bulk connection ends, some of the
// last chunks are missing at the receiver, which sees it by their Seq.
func (p *Peer) SendChunk(ctx context.Context, c *Chunk) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	size := sizeChunk + len(c.Body) + recordsSize(c.Records)
	if size > p.t.cfg.MaxMessage || !recordsFit(c.Records) {
		return ErrTooLarge
	}
	enc := newEncoder(p.t.cfg.Self.ID)
	enc.buf = *p.t.pool.Get(size)
	enc.chunk(c)
	return s.sendChunk(ctx, &batch{data: &enc.buf, pool: &p.t.pool})
}

// Queued returns the bytes on their way out on the data stream that the
// peer's flow control has not let through, 0 if the peer is down.
func (p *Peer) Queued() int {
	if s := p.session.Load(); s != nil {
		return s.data.out.bytes()
	}
	return 0
}

// ControlQueued is Queued for the control stream, without what lies in gRPC's and the
// kernel's buffers.
func (p *Peer) ControlQueued() int {
	if s := p.session.Load(); s != nil {
		return s.control.out.bytes()
	}
	return 0
}

// WaitRoom returns nil when Call and SendAppend would find room in the queue,
// ErrNotSent when the peer is down, or the context's error.
func (p *Peer) WaitRoom(ctx context.Context) error {
	s := p.session.Load()
	if s == nil {
		return ErrNotSent
	}
	return s.data.out.wait(ctx)
}
