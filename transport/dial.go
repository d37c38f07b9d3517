package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// connectTime bounds dialing and handshakes together.
const connectTime = 5 * time.Second

// dialLoop keeps p connected until ctx ends. It alone dials p.
func (t *Transport) dialLoop(ctx context.Context, p *Peer, addr string) {
	pause := t.cfg.BackoffMin
	quiet := false // one log line per outage
	for {
		began := time.Now()
		s, err := t.connect(ctx, p, addr)
		switch {
		case err == nil:
			quiet = false
			t.wg.Go(s.readControl)            // ends with the session
			t.wg.Go(func() { t.bulkLoop(s) }) // likewise
			s.run()
			if time.Since(began) > t.cfg.BackoffMax {
				pause = t.cfg.BackoffMin
			}
		case ctx.Err() == nil:
			p.setErr(err)
			if !quiet {
				t.log.Warn("cannot connect", "peer", addr, "err", err)
				quiet = true
			}
		}
		if !sleep(ctx, jitter(pause)) {
			return
		}
		pause = min(2*pause, t.cfg.BackoffMax)
	}
}

// bulkLoop connects s's bulk connection whenever it is wanted, with pauses where it
// does not last.
func (t *Transport) bulkLoop(s *session) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t.wg.Go(func() { // ends with ctx
		select {
		case <-s.over:
			cancel()
		case <-ctx.Done():
		}
	})
	for pause := t.cfg.BackoffMin; ; {
		select {
		case <-s.over:
			return
		case <-s.bulk.want:
		}
		for served := false; !served; {
			began := time.Now()
			if served = t.connectBulk(ctx, s) == nil; served && time.Since(began) > t.cfg.BackoffMax {
				pause = t.cfg.BackoffMin
				break
			}
			if !sleep(ctx, jitter(pause)) {
				return
			}
			pause = min(2*pause, t.cfg.BackoffMax)
		}
	}
}

// connectBulk opens and serves a bulk connection; an error means that it
// could not be opened.
func (t *Transport) connectBulk(ctx context.Context, s *session) error {
	l, err := t.dial(ctx, s.p.dialAddr(t), false)
	if err != nil {
		return err
	}
	defer l.close()
	st, _, err := l.open(methodBulk, &handshake{from: t.cfg.Self, to: s.p.id, session: s.number})
	if err != nil {
		return err
	}
	l.established()
	s.runBulk(l.conn, st)
	return nil
}

func (p *Peer) dialAddr(t *Transport) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.addr
}

// connect establishes a session with p and installs it.
func (t *Transport) connect(ctx context.Context, p *Peer, addr string) (*session, error) {
	h := &handshake{from: t.cfg.Self, to: p.id, session: rand.Uint64()}
	l, data, from, err := t.dialStream(ctx, addr, methodData, h)
	if err != nil {
		return nil, err
	}
	l2, control, _, err := t.dialStream(ctx, addr, methodControl, h)
	if err != nil {
		l.close()
		return nil, err
	}
	l.established()
	l2.established()
	s := t.newSession(p, from, h.session, l.conn, l2.conn, data, control)
	s.release = func() { l.close(); l2.close() }
	if err := t.install(ctx, s); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (t *Transport) dialStream(ctx context.Context, addr, method string, h *handshake) (*link, stream, Identity, error) {
	l, err := t.dial(ctx, addr, method == methodData)
	if err != nil {
		return nil, nil, Identity{}, err
	}
	st, from, err := l.open(method, h)
	if err != nil {
		l.close()
		return nil, nil, Identity{}, err
	}
	return l, st, from, nil
}

// link is a dialed connection.
type link struct {
	t      *Transport
	conn   *conn
	cc     *grpc.ClientConn
	ctx    context.Context // of its streams
	cancel context.CancelFunc
	timer  *time.Timer
	stop   func() bool
}

// dial connects to addr. Until established is called the link is closed by
// the end of ctx or of connectTime. With data its first stream is claimed.
func (t *Transport) dial(ctx context.Context, addr string, data bool) (*link, error) {
	dctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	raw, err := t.cfg.Guard.Dial(t.cfg.Dial)(dctx, addr)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	l := &link{t: t, conn: newConn(raw)}
	if data {
		l.conn.in = newInflow(l.conn, &t.pool, t.cfg.maxReceive(), 0)
		l.conn.in.claim()
	}
	l.cc, err = t.client(l.conn)
	if err != nil {
		l.conn.shut(CauseOther)
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	abort := func() { l.conn.shut(CauseClosedByUs); l.cancel() }
	l.timer = time.AfterFunc(connectTime, abort)
	l.stop = context.AfterFunc(ctx, abort)
	return l, nil
}

func (l *link) established() {
	l.timer.Stop()
	l.stop()
}

// turnedAway reports whether the other end closed the connection before it said
// anything of HTTP/2, as guards do to those who know of no guard.
func (l *link) turnedAway() bool {
	cause, state := l.conn.ended(), l.cc.GetState()
	// grpc fails calls a moment before it leaves Connecting.
	return (cause == CauseEOF || cause == CauseReset) && (state == connectivity.Connecting || state == connectivity.TransientFailure)
}

func (l *link) close() {
	l.established()
	l.conn.shut(CauseClosedByUs)
	l.cancel()
	_ = l.cc.Close()
}

var streamDesc = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// open opens a stream and shakes hands on it.
func (l *link) open(method string, h *handshake) (stream, Identity, error) {
	st, err := l.cc.NewStream(l.ctx, &streamDesc, method)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", method, err)
	}
	enc := newEncoder(NodeID{})
	enc.handshake(kindHandshake, h)
	if err := st.SendMsg(&batch{data: &enc.buf, pool: &l.t.pool}); err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", method, err)
	}
	var f frame
	if err := st.RecvMsg(&f); err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", method, err)
	}
	defer f.free()
	w, err := decodeWelcome(f.b, kindWelcome, 0)
	if err != nil {
		return nil, Identity{}, err
	}
	if w.verdict == verdictOK {
		w.verdict = judge(&l.t.cfg.Self, &w.from)
	}
	if w.verdict == verdictOK && w.from.ID != h.to {
		w.verdict = verdictWrongNode
	}
	return st, w.from, w.verdict.err()
}

// client makes a gRPC connection out of c. grpc is not to dial again: how an
// end is noticed and what follows is this package's affair.
func (t *Transport) client(c *conn) (*grpc.ClientConn, error) {
	once := make(chan *conn, 1)
	once <- c
	return grpc.NewClient("passthrough:///slotmesh",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, ErrNotSent
			}
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(codec{&t.pool}),
			grpc.MaxCallRecvMsgSize(t.cfg.maxReceive()),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0),
		grpc.WithUserAgent("slotmesh"),
	)
}

// HelloTo asks whoever is at addr. With ErrProtocol the identity holds the
// range of versions that is spoken there. A body above 32 KiB is ErrTooLarge.
func (t *Transport) HelloTo(ctx context.Context, addr string, body []byte) (Identity, []byte, error) {
	if len(body) > maxHello {
		return Identity{}, nil, ErrTooLarge
	}
	l, err := t.dial(ctx, addr, false)
	if err != nil {
		return Identity{}, nil, err
	}
	defer l.close()
	enc := newEncoder(NodeID{})
	enc.handshake(kindHello, &handshake{from: t.cfg.Self, body: body})
	var f frame
	if err := l.cc.Invoke(l.ctx, methodHello, &batch{data: &enc.buf, pool: &t.pool}, &f); err != nil {
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case !t.cfg.Guard.proves() && l.turnedAway():
			err = fmt.Errorf("%w: the other end may want a secret or a certificate: %w", ErrUntrusted, err)
		}
		return Identity{}, nil, fmt.Errorf("hello to %s: %w", addr, err)
	}
	defer f.free()
	w, err := decodeWelcome(f.b, kindHelloed, t.cfg.MaxFrame)
	if err != nil {
		return Identity{}, nil, fmt.Errorf("hello to %s: %w", addr, err)
	}
	if err := w.verdict.err(); err != nil {
		return w.from, nil, fmt.Errorf("hello to %s: %w: %s", addr, err, w.text)
	}
	return w.from, w.body, nil
}

// Probe tries whether anything listens at addr: nil, ErrRefused if certainly
// nothing does, or another error if that stays unknown.
func (t *Transport) Probe(ctx context.Context, addr string) error {
	c, err := t.cfg.Dial(ctx, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return err
	}
	return c.Close()
}

// jitter spreads d over its upper half, so that peers do not come in step.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep returns false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
