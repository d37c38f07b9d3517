package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// Liveness is gossip's work; this only clears away connections whose other
	// end vanished without a word.
	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 20 * time.Second

	streamWindow = 4 << 20
	connWindow   = 8 << 20
	ioBuffer     = 32 << 10
	maxHeader    = 8 << 10
	maxHalves    = 1024 // data streams that wait for their control stream
	maxUnlisted  = 256  // streams that wait for their peer to be listed

	// listWait is for how long they do: gossip may know of a peer a moment after it
	// has dialed. Then they are refused.
	listWait = 3 * time.Second
)

func (t *Transport) newServer() *grpc.Server {
	srv := grpc.NewServer(
		grpc.ForceServerCodecV2(codec{&t.pool}),
		grpc.MaxRecvMsgSize(t.cfg.maxReceive()),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.WriteBufferSize(ioBuffer),
		grpc.ReadBufferSize(ioBuffer),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.MaxConcurrentStreams(4),
		grpc.ConnectionTimeout(connectTime),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, MaxConnectionIdle: 30 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Hello", Handler: t.serveHello}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Data", Handler: t.serveData, ServerStreams: true, ClientStreams: true},
			{StreamName: "Control", Handler: t.serveControl, ServerStreams: true, ClientStreams: true},
			{StreamName: "Bulk", Handler: t.serveBulk, ServerStreams: true, ClientStreams: true},
		},
	}, t)
	return srv
}

// half is a session whose control stream has not come yet.
type half struct {
	conn    *conn
	from    Identity
	stream  stream
	session chan *session // capacity 1; nil: it failed
}

// accepted is a stream whose handshake has been read.
type accepted struct {
	t    *Transport
	st   grpc.ServerStream
	conn *conn
	hs   handshake
}

// accept reads a stream's handshake and judges it.
func (t *Transport) accept(st grpc.ServerStream) (*accepted, error) {
	c := connOf(st.Context())
	if c == nil {
		return nil, status.Error(codes.Internal, "unknown connection")
	}
	a := &accepted{t: t, st: st, conn: c}
	var f frame
	err := st.RecvMsg(&f)
	if err == nil {
		a.hs, err = decodeHandshake(f.b, kindHandshake, 0)
		f.free()
	}
	if err != nil {
		t.turned.log(t.log, "stream refused", "peer", c.Conn.RemoteAddr(), "err", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	self := &t.cfg.Self
	v := judge(self, &a.hs.from)
	switch {
	case v != verdictOK:
	case a.hs.to != self.ID:
		v = verdictWrongNode
	case !dials(a.hs.from.ID, self.ID):
		v = verdictDirection
	}
	if v == verdictOK && !t.awaitListed(st.Context(), a.hs.from.ID) {
		v = verdictUnlisted
	}
	if v != verdictOK {
		return nil, a.refuse(v)
	}
	return a, nil
}

// shown is what a node of which v was found learns of this one: who is of
// another cluster, nothing; who speaks another protocol, which would do.
func (t *Transport) shown(v verdict) Identity {
	switch v {
	case verdictCluster:
		return Identity{}
	case verdictProtocol:
		return Identity{MinProto: t.cfg.Self.MinProto, MaxProto: t.cfg.Self.MaxProto}
	default:
		return t.cfg.Self
	}
}

// welcome sends the answer to the handshake.
func (a *accepted) welcome(v verdict) error {
	enc := newEncoder(NodeID{})
	enc.welcome(kindWelcome, &welcome{verdict: v, from: a.t.shown(v)})
	return a.st.SendMsg(&batch{data: &enc.buf, pool: &a.t.pool})
}

// refuse answers with v and ends the stream.
func (a *accepted) refuse(v verdict) error {
	_ = a.welcome(v) // the stream ends either way
	err := fmt.Errorf("refused: %w", v.err())
	a.t.turned.log(a.t.log, "stream refused", "peer", a.hs.from.Name, "addr", a.hs.from.Addr, "err", err)
	return status.Error(codes.FailedPrecondition, err.Error())
}

var errStreamOver = status.Error(codes.Unavailable, "session over")

// serveData is the data stream's reader until it ends.
func (t *Transport) serveData(_ any, st grpc.ServerStream) error {
	a, err := t.accept(st)
	if err != nil {
		return err
	}
	h := &half{conn: a.conn, from: a.hs.from, stream: st, session: make(chan *session, 1)}
	if !a.conn.in.claim() || !t.putHalf(a.hs.session, h) {
		return a.refuse(verdictBusy)
	}
	if err := a.welcome(verdictOK); err != nil {
		if t.takeHalf(a.hs.session, a.hs.from.ID) == h {
			return err
		}
	}
	var s *session
	select {
	case s = <-h.session:
	case <-st.Context().Done():
		if t.takeHalf(a.hs.session, a.hs.from.ID) == h {
			return st.Context().Err()
		}
		s = <-h.session // the control stream's handler has it and will say
	}
	if s == nil {
		return errStreamOver
	}
	a.conn.taken()
	s.run()
	return errStreamOver
}

// serveControl joins the two streams to a session and reads the control one.
func (t *Transport) serveControl(_ any, st grpc.ServerStream) error {
	a, err := t.accept(st)
	if err != nil {
		return err
	}
	a.conn.passAll()
	h := t.takeHalf(a.hs.session, a.hs.from.ID)
	if h == nil {
		return a.refuse(verdictNoSession)
	}
	s, err := t.accepted(h, a)
	h.session <- s
	if err != nil {
		if errors.Is(err, errUnlisted) {
			return a.refuse(verdictUnlisted)
		}
		return a.refuse(verdictClosing)
	}
	if err := a.welcome(verdictOK); err != nil {
		s.end(CauseOther, err)
	}
	a.conn.taken()
	s.readControl()
	return errStreamOver
}

func (t *Transport) accepted(h *half, a *accepted) (*session, error) {
	p, err := t.hold(h.from.ID)
	if err != nil {
		return nil, err
	}
	defer t.release(p)
	s := t.newSession(p, h.from, a.hs.session, h.conn, a.conn, h.stream, a.st)
	if err := t.install(a.st.Context(), s); err != nil {
		return nil, err
	}
	return s, nil
}

// serveBulk is the bulk stream's reader until it ends.
func (t *Transport) serveBulk(_ any, st grpc.ServerStream) error {
	a, err := t.accept(st)
	if err != nil {
		return err
	}
	a.conn.passAll()
	t.mu.Lock()
	var s *session
	if p := t.peers[a.hs.from.ID]; p != nil && p.cur != nil && p.cur.number == a.hs.session {
		s = p.cur
	}
	t.mu.Unlock()
	if s == nil {
		return a.refuse(verdictNoSession)
	}
	a.conn.taken()
	if err := a.welcome(verdictOK); err != nil {
		return err
	}
	s.runBulk(a.conn, st)
	return errStreamOver
}

func (t *Transport) serveHello(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var f frame
	if err := decode(&f); err != nil {
		return nil, err
	}
	hs, err := decodeHandshake(f.b, kindHello, maxHello)
	f.free()
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	v := judge(&t.cfg.Self, &hs.from)
	w := welcome{from: t.shown(v), verdict: v}
	if w.verdict == verdictOK {
		if w.body, err = t.cfg.Handler.Hello(hs.from, hs.body); err != nil {
			w.verdict, w.text = verdictFailed, err.Error()
			w.text = w.text[:min(len(w.text), MaxText)]
		}
	} else {
		t.turned.log(t.log, "hello refused", "peer", hs.from.Name, "addr", hs.from.Addr, "err", w.verdict.err())
	}
	enc := newEncoder(NodeID{})
	enc.welcome(kindHelloed, &w)
	return &batch{data: &enc.buf, pool: &t.pool}, nil
}
