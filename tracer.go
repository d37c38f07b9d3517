package slotmesh

import (
	"context"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Tracer follows calls across nodes. The module metrics/otel has one for
// OpenTelemetry. Without WithTracer a call costs a comparison more; with one
// that follows nothing, a call of Call.
//
// Its methods may be called from any goroutine. What they return is called
// once.
type Tracer interface {
	// Call is told of a call made here, before it is made, with the operation as
	// in CallStats, or "batch" for several side by side. It returns what is to
	// travel with the call to the node that answers it, at most 128 bytes, and
	// what to call when the call has ended. A nil end: it is not followed.
	Call(ctx context.Context, op string, slot uint16) (trace []byte, end func(CallEnd))
	// Serve is told of a call that the node named caller has made here with a
	// trace, which is not to be kept. A nil end: it is not followed. It must not
	// wait for anything: calls behind this one do.
	Serve(trace []byte, op string, slot uint16, caller string) (end func(err error))
}

// CallEnd says how a call went.
type CallEnd struct {
	Source   string // as in CallStats
	Peer     string // the node that was asked last; "" if none was
	Attempts int    // 0 where it was answered at once
	Err      error
}

func newTrace(t Tracer) *node.Trace {
	if t == nil {
		return nil
	}
	return &node.Trace{
		Serve: t.Serve,
		Call: func(ctx context.Context, op string, slot uint16) ([]byte, func(node.CallEnd)) {
			trace, end := t.Call(ctx, op, slot)
			if end == nil {
				return nil, nil
			}
			return trace, func(e node.CallEnd) {
				end(CallEnd{Source: e.Source.String(), Peer: e.Peer, Attempts: e.Attempts, Err: e.Err})
			}
		},
	}
}
