package main

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"sync"

	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// The bare stream is one bidirectional gRPC stream whose messages are batches
// of fixed-size requests or answers, without any encoding: what slotmesh's
// calls could cost at best if they kept to grpc-go's stream interface.

// raw passes byte slices through grpc as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

const (
	bareMethod = "/bare.Bare/Stream"
	bareWindow = 4 << 20
	bareBuffer = 32 << 10
)

var bareDesc = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}

func serveStream() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.WriteBufferSize(bareBuffer), grpc.ReadBufferSize(bareBuffer),
		grpc.StaticStreamWindowSize(bareWindow), grpc.StaticConnWindowSize(bareWindow))
	desc := bareDesc
	desc.Handler = func(_ any, st grpc.ServerStream) error {
		for {
			var in []byte
			if err := st.RecvMsg(&in); err != nil {
				return err
			}
			out := make([]byte, len(in)/requestSize*answerSize)
			for i := range len(in) / requestSize {
				copy(out[i*answerSize:], in[i*requestSize:i*requestSize+8])
			}
			if err := st.SendMsg(&out); err != nil {
				return err
			}
		}
	}
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "bare.Bare", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc}}, nil)
	go func() { _ = srv.Serve(ln) }() // ends with the process
	return ln.Addr().String(), nil
}

// bare is the calling side: a writer goroutine sends what has queued up.
type bare struct {
	st   grpc.ClientStream
	wake chan struct{}

	mu      sync.Mutex // guards below
	queue   []byte
	waiting []chan struct{} // in the order of the requests
	idle    bool
	crowd   bool // the last batch held more than one
}

func dialStream(addr string) (*bare, error) {
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})),
		grpc.WithWriteBufferSize(bareBuffer), grpc.WithReadBufferSize(bareBuffer),
		grpc.WithStaticStreamWindowSize(bareWindow), grpc.WithStaticConnWindowSize(bareWindow))
	if err != nil {
		return nil, err
	}
	st, err := cc.NewStream(context.Background(), &bareDesc, bareMethod)
	if err != nil {
		return nil, err
	}
	b := &bare{st: st, wake: make(chan struct{}, 1)}
	go b.write() // ends with the process
	go b.read()  // ends with the process
	return b, nil
}

func (b *bare) write() {
	for {
		b.mu.Lock()
		for len(b.queue) == 0 {
			b.idle = true
			crowd := b.crowd
			b.mu.Unlock()
			<-b.wake
			if crowd {
				runtime.Gosched()
			}
			b.mu.Lock()
		}
		out := b.queue
		b.queue = make([]byte, 0, len(out))
		b.crowd = len(out) > requestSize
		b.mu.Unlock()
		if b.st.SendMsg(&out) != nil {
			return
		}
	}
}

func (b *bare) read() {
	for {
		var in []byte
		if b.st.RecvMsg(&in) != nil {
			return
		}
		b.mu.Lock()
		n := len(in) / answerSize
		ready := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		for _, c := range ready {
			c <- struct{}{}
		}
	}
}

func (b *bare) caller() load.Call {
	done := make(chan struct{}, 1)
	var out [requestSize]byte
	return func(context.Context, []string, []byte) error {
		binary.BigEndian.PutUint64(out[:], binary.BigEndian.Uint64(out[:])+1)
		b.mu.Lock()
		b.queue = append(b.queue, out[:]...)
		b.waiting = append(b.waiting, done)
		wake := b.idle
		b.idle = false
		b.mu.Unlock()
		if wake {
			b.wake <- struct{}{}
		}
		<-done
		return nil
	}
}
