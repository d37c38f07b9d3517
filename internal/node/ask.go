package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

const (
	maxAsked  = 4 // questions of peers that are being answered at once
	askPause  = 20 * time.Millisecond
	maxAnswer = 1 << 20
)

// Ask puts a question to the node of that name, which may be this one, and
// returns its answer. While the node cannot be reached it tries on, within ctx
// or OpTimeout.
func (n *Node) Ask(ctx context.Context, name, what string, arg []byte) ([]byte, error) {
	if n.closing.Load() {
		return nil, n.closedErr()
	}
	if name == n.cfg.Name {
		return n.answer(what, arg)
	}
	ctx, cancel := context.WithDeadline(ctx, n.Deadline(ctx))
	defer cancel()
	tick := time.NewTicker(askPause)
	defer tick.Stop()
	for {
		b, err := n.askOnce(ctx, name, what, arg)
		if !errors.Is(err, transport.ErrNotSent) && !errors.Is(err, ErrOverloaded) {
			return b, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not answer: %w", name, ctx.Err())
		case <-n.stop:
			return nil, n.closedErr()
		}
	}
}

// called is the member of a name, visitors too: of several starts the newest that does
// not count as dead, where there is one.
func (n *Node) called(name string) (found Member, ok bool) {
	for _, m := range n.Members() { // the newest of a name comes last
		if m.Name == name && (!ok || m.State != "suspect" || found.State == "suspect") {
			found, ok = m, true
		}
	}
	return found, ok
}

func (n *Node) askOnce(ctx context.Context, name, what string, arg []byte) ([]byte, error) {
	m, ok := n.called(name)
	if !ok {
		return nil, fmt.Errorf("%w: there is no node %q", ErrInvalid, name)
	}
	t := n.peer(m.ID).live()
	if t == nil {
		return nil, transport.ErrNotSent
	}
	type outcome struct {
		b   []byte
		err error
	}
	answered := make(chan outcome, 1)
	// Asked, so that it does not go when slot 0 does.
	req := transport.Request{Asked: true, Call: Call{Op: transport.OpAsk, Key: what, Value: arg}}
	deadline, _ := ctx.Deadline()
	id := t.Call(deadline, &req, func(rsp *transport.Response, err error) {
		switch {
		case err != nil:
			answered <- outcome{nil, err}
		case rsp.Code == transport.CodeOK:
			answered <- outcome{rsp.Value, nil}
		default:
			answered <- outcome{nil, n.codeError(rsp)}
		}
	})
	select {
	case o := <-answered:
		if o.err != nil && !errors.Is(o.err, transport.ErrNotSent) {
			o.err = fmt.Errorf("ask %s: %w", name, o.err)
		}
		return o.b, o.err
	case <-ctx.Done():
		t.Cancel(id)
		return nil, fmt.Errorf("%s does not answer: %w", name, ctx.Err())
	}
}

// answerAsk answers a peer's question on a goroutine of its own, few at a time.
func (n *Node) answerAsk(p *transport.Peer, req *transport.Request) {
	id, what, arg := req.ID, strings.Clone(req.Key), slices.Clone(req.Value)
	if n.asked.Add(1) > maxAsked {
		n.asked.Add(-1)
		p.Respond(id, &transport.Response{Code: transport.CodeOverloaded})
		return
	}
	if !n.background(func() { // as long as answering takes
		defer n.asked.Add(-1)
		b, err := n.answer(what, arg)
		rsp := transport.Response{Code: codeOf(err)}
		if err != nil {
			rsp.Text = err.Error()[:min(len(err.Error()), 512)]
		} else {
			rsp.Value = b
		}
		p.Respond(id, &rsp)
	}) {
		n.asked.Add(-1)
	}
}

func (n *Node) answer(what string, arg []byte) ([]byte, error) {
	if n.cfg.Asked == nil {
		return nil, fmt.Errorf("%w: nothing is answered here", ErrInvalid)
	}
	b, err := n.cfg.Asked(n, what, arg)
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("%w: answer of %d bytes", ErrTooLarge, len(b))
	}
	return b, err
}

// Protocols is the range of protocol versions that this release speaks.
func Protocols() [2]int { return [2]int{protoMin, protoMax} }

// Started is when the node was opened.
func (n *Node) Started() time.Time { return n.start }

// Connected reports whether calls can be sent to a node.
func (n *Node) Connected(id shard.NodeID) bool { return n.peer(id).live() != nil }
