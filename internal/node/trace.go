package node

import (
	"context"

	"github.com/slotmesh/slotmesh/transport"
)

// Trace is how somebody follows calls across nodes. A nil Trace costs a
// comparison.
type Trace struct {
	// Call is told of a call of this node's callers before it is made. It
	// returns what is to travel with it, at most transport.MaxTrace bytes, and
	// what to call at its end; nil if it does not follow this call.
	Call func(ctx context.Context, op string, slot uint16) (trace []byte, end func(CallEnd))
	// Serve is told of a call of another node's that carries a trace, which is
	// valid only until it returns. It runs on the goroutine that reads that
	// node's calls, and must not wait.
	Serve func(trace []byte, op string, slot uint16, caller string) (end func(error))
}

// CallEnd says how a call went.
type CallEnd struct {
	Source   Source
	Peer     string // that was asked last; "" if none was
	Attempts int
	Err      error
}

// doTraced is DoInto of a node whose calls are followed.
func (n *Node) doTraced(ctx context.Context, c *Call, r *Result) error {
	name := opNames[transport.OpExplain]
	if int(c.Op) < len(opNames) {
		name = opNames[c.Op]
	}
	trace, end := n.cfg.Trace.Call(ctx, name, c.Slot)
	if end == nil {
		return n.do(ctx, c, r, nil)
	}
	if len(trace) <= transport.MaxTrace {
		c.Trace = trace
	}
	e := CallEnd{Source: SourceLocal}
	e.Err = n.do(ctx, c, r, &e)
	end(e)
	return e.Err
}

// traceMany follows calls that are made side by side as one; what it returns is called
// with how they ended.
func (n *Node) traceMany(ctx context.Context, calls []Call) func([]Result, []error) {
	trace, end := n.cfg.Trace.Call(ctx, "batch", calls[0].Slot)
	if end == nil {
		return func([]Result, []error) {}
	}
	if len(trace) <= transport.MaxTrace {
		for i := range calls {
			calls[i].Trace = trace
		}
	}
	return func(results []Result, errs []error) {
		e := CallEnd{Source: SourceLocal, Attempts: 1}
		for i := range results {
			if !results[i].Local {
				e.Source = SourceRemote
			}
			if e.Err == nil {
				e.Err = errs[i]
			}
		}
		end(e)
	}
}

// serveTraced follows a call of a peer's; nil: it is not followed.
func (n *Node) serveTraced(p *transport.Peer, req *transport.Request) func(error) {
	if n.cfg.Trace == nil || len(req.Trace) == 0 || int(req.Op) >= len(opNames) {
		return nil
	}
	return n.cfg.Trace.Serve(req.Trace, opNames[req.Op], req.Slot, p.Identity().Name)
}
