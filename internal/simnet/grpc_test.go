package simnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slotmesh/slotmesh/internal/simnet"
)

// echo answers unary calls and streams with what they send.
var echo = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		m := new(wrapperspb.StringValue)
		return m, dec(m)
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Stream", ClientStreams: true, ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for m := new(wrapperspb.StringValue); ; {
			if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
	}}},
}

func TestGRPCRunsOverIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		n.SetDefault(simnet.Link{Delay: 2 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.01})
		ln, err := n.Host("b").Listen(t.Context(), ":7000")
		if err != nil {
			t.Fatal(err)
		}
		srv := grpc.NewServer()
		srv.RegisterService(&echo, nil)
		go func() { _ = srv.Serve(ln) }()
		defer srv.Stop()
		cc, err := grpc.NewClient("passthrough:///b:7000", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return n.Host("a").Dial(ctx, addr) }))
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		for range 50 {
			var out wrapperspb.StringValue
			if err := cc.Invoke(t.Context(), "/test.Echo/Call", wrapperspb.String("hi"), &out); err != nil || out.Value != "hi" {
				t.Fatalf("Call = %q, %v", out.Value, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := cc.NewStream(ctx, &echo.Streams[0], "/test.Echo/Stream")
		if err != nil {
			t.Fatal(err)
		}
		turn := func() error {
			if err := s.SendMsg(wrapperspb.String("hi")); err != nil {
				return err
			}
			return s.RecvMsg(new(wrapperspb.StringValue))
		}
		for range 50 {
			if err := turn(); err != nil {
				t.Fatal(err)
			}
		}
		n.Cut("a", "b")
		time.AfterFunc(20*time.Second, n.HealAll)
		if err := turn(); err != nil {
			t.Errorf("a stream did not outlive a short cut: %v", err)
		}
		n.Crash("b")
		if err := turn(); err == nil {
			t.Error("a stream outlived its server")
		}
	})
}
