package transport

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Of HTTP/2 (RFC 9113) and gRPC's use of it.
const (
	frameHead     = 9
	grpcHead      = 5 // compressed flag and length of a message
	maxData       = 16384
	prefaceSize   = 24
	initialWindow = 65535

	frameData    = 0
	frameHeaders = 1
	frameSetting = 4
	frameWindow  = 8

	flagAck       = 1
	flagEndStream = 1
	flagPadded    = 8

	settingWindow = 4
)

// inflow reads a connection on grpc's behalf and gives it every frame but
// those of its one data stream after that stream's first message, which
// carries the handshake. Those it cuts into messages itself and hands to the
// session, on grpc's reader goroutine. So a message reaches the handlers
// without a further goroutine to wake, which costs more than all else about a
// message, and the connection is still gRPC to whoever is at the other end.
//
// read is for one goroutine; the others' methods for any.
type inflow struct {
	raw     net.Conn
	limit   int // of a message
	pool    *pool
	buf     []byte
	r, w    int
	preface int // bytes of the client's preface to come
	pass    int // bytes of a frame for grpc to come
	first   int // bytes of the first message to come, its head included
	strange int // bytes of messages for grpc, before it is known whose they are
	head    [grpcHead]byte
	heads   int // bytes of head that are there

	msg      *[]byte // a message that spans frames, as far as it is there
	size     int     // its length
	pooled   bool
	consumed int    // bytes that the peer was not told it may send anew
	corked   *corks // held since the first of the messages read together

	plain    atomic.Bool // no frame is kept back: nothing needs to be looked at
	claimed  atomic.Bool
	stream   atomic.Uint32 // the first that was opened
	streams  atomic.Int32
	out      *outflow
	attached chan struct{} // closed by attach
	gone     chan struct{} // closed by close
	once     sync.Once

	mu sync.Mutex // held while a message is handled; guards s
	s  *session
}

const inflowSize = 64 << 10

func newInflow(c *conn, p *pool, limit, preface int) *inflow {
	return &inflow{
		raw: c.Conn, pool: p, limit: limit, preface: preface, first: -1,
		out: newOutflow(c), attached: make(chan struct{}), gone: make(chan struct{}),
	}
}

// claim keeps the first stream's messages from grpc, from the second on. It
// fails if there are more streams already.
func (f *inflow) claim() bool {
	if f.streams.Load() > 1 {
		return false
	}
	f.claimed.Store(true)
	return true
}

// attach says who gets the messages.
func (f *inflow) attach(s *session) {
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	close(f.attached)
}

// detach returns when no message is being handled, and none will be.
func (f *inflow) detach() {
	f.mu.Lock()
	f.s = nil
	f.mu.Unlock()
}

func (f *inflow) close() { f.once.Do(func() { close(f.gone) }) }

func (f *inflow) read(p []byte) (int, error) {
	if f.plain.Load() && f.r == f.w {
		f.buf, f.r, f.w = nil, 0, 0
		return f.raw.Read(p)
	}
	defer f.uncork()
	for {
		if n, err := f.step(p); n > 0 || err != nil {
			return n, err
		}
		f.uncork()
		if f.r == f.w {
			f.r, f.w = 0, 0
		} else if len(f.buf)-f.r < frameHead+maxData {
			f.w = copy(f.buf, f.buf[f.r:f.w])
			f.r = 0
		}
		if f.buf == nil {
			f.buf = make([]byte, inflowSize)
		}
		n, err := f.raw.Read(f.buf[f.w:])
		f.w += n
		if err != nil && n == 0 {
			return 0, err
		}
	}
}

// step gives grpc some of what has been read, and deals with the rest as far
// as it goes. No bytes and no error mean that more must be read.
func (f *inflow) step(p []byte) (int, error) {
	for {
		b := f.buf[f.r:f.w]
		switch {
		case len(b) == 0:
			return 0, nil
		case f.plain.Load():
			n := copy(p, b)
			f.r += n
			return n, nil
		case f.preface > 0:
			n := copy(p, b[:min(len(b), f.preface)])
			f.preface -= n
			f.r += n
			return n, nil
		case f.pass > 0:
			n := copy(p, b[:min(len(b), f.pass)])
			f.pass -= n
			f.r += n
			return n, nil
		case len(b) < frameHead:
			return 0, nil
		}
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if n > maxData {
			return 0, fmt.Errorf("%w: HTTP/2 frame of %d bytes", ErrBadFrame, n)
		}
		if len(b) < frameHead+n {
			return 0, nil
		}
		stream := binary.BigEndian.Uint32(b[5:]) &^ (1 << 31)
		if err := f.frame(b[3], b[4], stream, b[:frameHead+n]); err != nil {
			return 0, err
		}
	}
}

// frame looks at a frame and either has it passed on or takes it.
func (f *inflow) frame(typ, flags byte, stream uint32, b []byte) error {
	body := b[frameHead:]
	switch {
	case typ == frameHeaders:
		if f.stream.CompareAndSwap(0, stream) || f.stream.Load() != stream {
			f.streams.Add(1)
		}
	case typ == frameSetting && flags&flagAck == 0:
		for ; len(body) >= 6; body = body[6:] {
			if binary.BigEndian.Uint16(body) == settingWindow {
				f.out.initial(int64(binary.BigEndian.Uint32(body[2:])))
			}
		}
	case typ == frameWindow && len(body) == 4:
		n := int64(binary.BigEndian.Uint32(body) &^ (1 << 31))
		if stream == 0 || stream == f.stream.Load() {
			f.out.allowed(stream == 0, n)
			if f.claimed.Load() {
				f.r += len(b)
				return nil
			}
		}
	case typ == frameData && !f.claimed.Load():
		if f.strange += len(body); f.strange > maxStrange {
			return fmt.Errorf("%w: more than %d bytes in a handshake", ErrBadFrame, maxStrange)
		}
		if stream == f.stream.Load() && f.first != 0 {
			f.countFirst(body)
		}
	case typ == frameData && stream == f.stream.Load():
		if f.first != 0 {
			f.countFirst(body)
			break
		}
		if len(body) == 0 {
			break
		}
		if flags&(flagPadded|flagEndStream) != 0 {
			return fmt.Errorf("%w: HTTP/2 flags %#x", ErrBadFrame, flags)
		}
		f.r += len(b)
		return f.take(body)
	}
	f.pass = len(b)
	return nil
}

// countFirst counts the bytes of the first message.
func (f *inflow) countFirst(b []byte) {
	if f.first < 0 {
		n := copy(f.head[f.heads:], b)
		f.heads += n
		b = b[n:]
		if f.heads < grpcHead {
			return
		}
		f.first, f.heads = int(binary.BigEndian.Uint32(f.head[1:])), 0
	}
	f.first -= min(len(b), f.first)
}

// take cuts a claimed frame's bytes into messages.
func (f *inflow) take(b []byte) error {
	f.consumed += len(b)
	for len(b) > 0 {
		if f.msg == nil && f.heads == 0 && len(b) >= grpcHead {
			if n := int(binary.BigEndian.Uint32(b[1:])); b[0] == 0 && n <= len(b)-grpcHead {
				if err := f.deliver(&frame{b: b[grpcHead : grpcHead+n], borrowed: true}); err != nil {
					return err
				}
				b = b[grpcHead+n:]
				continue
			}
		}
		if f.msg == nil {
			n := copy(f.head[f.heads:], b)
			f.heads += n
			b = b[n:]
			if f.heads < grpcHead {
				break
			}
			if err := f.begin(); err != nil {
				return err
			}
		}
		n := min(len(b), f.size-len(*f.msg))
		f.grow(n)
		*f.msg = append(*f.msg, b[:n]...)
		b = b[n:]
		if len(*f.msg) == f.size {
			if err := f.finish(); err != nil {
				return err
			}
		}
	}
	if f.consumed >= creditEvery {
		if s := f.session(); s != nil {
			s.data.out.allow(f.consumed)
			f.consumed = 0
		}
	}
	return nil
}

const (
	creditEvery = 1 << 20
	firstPiece  = 1 << 20 // of a message: more is allocated once so much has come
)

func (f *inflow) begin() error {
	f.heads = 0
	f.size = int(binary.BigEndian.Uint32(f.head[1:]))
	if f.head[0] != 0 || f.size > f.limit {
		return fmt.Errorf("%w: message of %d bytes, compressed %d", ErrBadFrame, f.size, f.head[0])
	}
	if f.pooled = f.size <= poolMax; f.pooled {
		f.msg = f.pool.Get(f.size)
	} else {
		b := make([]byte, 0, min(f.size, firstPiece))
		f.msg = &b
	}
	return nil
}

// grow makes room for n bytes more.
func (f *inflow) grow(n int) {
	if len(*f.msg)+n > cap(*f.msg) {
		b := make([]byte, len(*f.msg), f.size)
		copy(b, *f.msg)
		*f.msg = b
	}
}

func (f *inflow) finish() error {
	msg := f.msg
	f.msg = nil
	fr := frame{b: *msg}
	err := f.deliver(&fr)
	if f.pooled && !fr.kept {
		f.pool.Put(msg)
	}
	return err
}

// deliver has the session handle a message; it waits for the session.
func (f *inflow) deliver(fr *frame) error {
	select {
	case <-f.attached:
	default:
		select {
		case <-f.attached:
		case <-f.gone:
			return net.ErrClosed
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.s == nil {
		return net.ErrClosed
	}
	if f.corked == nil {
		f.corked = &f.s.t.corks
		f.corked.enter()
	}
	if err := f.s.onData(fr); err != nil {
		f.s.end(CauseOther, err)
		return err
	}
	return nil
}

// uncork lets the answers to all messages that were read together leave.
func (f *inflow) uncork() {
	if c := f.corked; c != nil {
		f.corked = nil
		c.leave(true)
	}
}

func (f *inflow) session() *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s
}
