package node

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Codes of the node's own among those of transport.
const codeRepeat transport.Code = 100 // given a version under a claim that ended: ask again by call ID

// Request answers a peer's call. (transport.Handler)
func (n *Node) Request(p *transport.Peer, req *transport.Request) {
	if int(req.Slot) >= shard.Slots || req.Op == opRemove || n.checkSize(&req.Call) != nil {
		p.Respond(req.ID, &transport.Response{Code: transport.CodeInvalid})
		return
	}
	if req.Op == transport.OpPublish {
		p.Respond(req.ID, &transport.Response{Result: Result{Int: int64(n.hub.deliver(req.Key, req.Value))}})
		return
	}
	if req.Op == transport.OpAsk {
		n.answerAsk(p, req)
		return
	}
	if req.Flags&transport.FlagRelay != 0 && n.relay(p, req) {
		return
	}
	if req.Flags&transport.FlagCopy != 0 && req.CallID.Node != p.ID() {
		req.Flags &^= transport.FlagCopy // it came by way of another, to whom the answer goes
	}
	id, slot := req.ID, req.Slot
	if looks(req.Op) {
		n.answerRead(p, req)
		return
	}
	w := n.answering()
	w.p, w.id, w.slot, w.op = p, id, slot, req.Op
	w.end = n.serveTraced(p, req)
	if w.began = 0; meter.Sampled(id, callSamples) {
		w.began = n.now()
		n.touch(&req.Call, callSamples)
	}
	if err := n.run(&req.Call, req, &w.res, w.done); err != nil {
		w.done(err)
	}
}

// answering is a peer's write on its way here. They are pooled, and so is the
// function that the write's end calls.
type answering struct {
	p    *transport.Peer
	id   uint64
	slot uint16
	op   transport.Op
	res  Result
	done func(error)

	end   func(error) // of a trace; nil if there is none
	began int64       // on the node's clock; 0: it is not among the samples
}

func (n *Node) answering() *answering {
	if w, ok := n.answers.Get().(*answering); ok {
		return w
	}
	w := &answering{}
	w.done = func(err error) {
		if errors.Is(err, errAnswered) {
			err = nil
		} else {
			n.respond(w.p, w.id, w.slot, &w.res, err)
		}
		n.served(w, err)
		if w.end != nil {
			w.end(err)
			w.end = nil
		}
		w.p, w.res = nil, Result{}
		n.answers.Put(w)
	}
	return w
}

// served counts a call answered for a peer.
func (n *Node) served(w *answering, err error) {
	if int(w.op) >= len(opNames) || internal(err) {
		return
	}
	n.count(SourceServed, w.op, err)
	if w.began > 0 {
		n.stats.calls[SourceServed][w.op].took.Add(time.Duration(n.now()-w.began), callSamples)
	}
}

// answerRead answers a read, perhaps when a write it depends on is
// acknowledged.
func (n *Node) answerRead(p *transport.Peer, req *transport.Request) {
	var res Result
	end := n.serveTraced(p, req)
	req.Call.Value = nil // no buffer of the receiver's
	near := req.Flags&transport.FlagNear != 0 && req.Op == transport.OpGet
	if near {
		began := n.now()
		if lease := n.grant(p, &req.Call, &res); lease > 0 {
			n.looked(SourceServed, &req.Call, res.Found, began)
			p.Respond(req.ID, &transport.Response{Result: res, Mark: n.fronts[req.Slot].acked.Load(), Lease: lease.Microseconds()})
			if end != nil {
				end(nil)
			}
			return
		}
	}
	wait, began, err := n.read(&req.Call, &res)
	if err == nil {
		n.looked(SourceServed, &req.Call, res.Found, began)
	}
	id, slot := req.ID, req.Slot
	if err == nil && wait > 0 {
		later, call := res, Call{Slot: slot}
		if near {
			call.Op, call.Key = transport.OpGet, strings.Clone(req.Key)
		}
		err = n.readLater(slot, wait, func(err error) {
			lease := time.Duration(0)
			if err == nil && near { // or all who read a hot key would ask again at each write
				lease = n.grant(p, &call, &later)
			}
			if lease > 0 {
				p.Respond(id, &transport.Response{Result: later, Mark: n.fronts[slot].acked.Load(), Lease: lease.Microseconds()})
			} else {
				n.respond(p, id, slot, &later, err)
			}
			if end != nil {
				end(err)
			}
		})
		if err == nil {
			return
		}
	}
	n.respond(p, id, slot, &res, err)
	if end != nil {
		end(err)
	}
}

func (n *Node) respond(p *transport.Peer, id uint64, slot uint16, r *Result, err error) {
	rsp := transport.Response{Result: *r, Mark: n.fronts[slot].acked.Load()}
	rsp.Code = codeOf(err)
	switch rsp.Code {
	case transport.CodeMoved:
		if cl := n.table.Load().Claim(slot); cl != nil {
			rsp.Claim = cl.Append(nil)
		}
	case transport.CodeAsk:
		s := &n.slots[slot]
		s.mu.Lock()
		rsp.Node = transport.NodeID(s.view.Handover)
		s.mu.Unlock()
	case transport.CodeDisk, transport.CodeLoadFailed:
		rsp.Text = err.Error()
		if len(rsp.Text) > 512 {
			rsp.Text = rsp.Text[:512]
		}
	}
	p.Respond(id, &rsp)
}

// pairs couples errors with their codes on the wire.
var pairs = []struct {
	err  error
	code transport.Code
}{
	{errMoved, transport.CodeMoved}, {errAsk, transport.CodeAsk}, {errNotYet, transport.CodeNotYet},
	{errRepeat, codeRepeat}, {ErrNotFound, transport.CodeNotFound},
	{ErrVersionMismatch, transport.CodeVersionMismatch}, {ErrConditionFailed, transport.CodeConditionFailed},
	{ErrNoPrimary, transport.CodeNoPrimary}, {ErrNotEnoughBackups, transport.CodeNotEnough},
	{ErrTooLarge, transport.CodeTooLarge}, {ErrNoMemory, transport.CodeNoMemory},
	{ErrUnknownOutcome, transport.CodeUnknownOutcome}, {ErrOverloaded, transport.CodeOverloaded},
	{ErrNotInteger, transport.CodeNotInteger}, {ErrInvalid, transport.CodeInvalid}, {ErrDisk, transport.CodeDisk},
	{ErrConflict, transport.CodeConflict}, {ErrLocked, transport.CodeLocked},
}

func codeOf(err error) transport.Code {
	if err == nil {
		return transport.CodeOK
	}
	if errors.Is(err, ErrClosed) { // this node goes: another will serve
		return transport.CodeNotYet
	}
	if _, ok := errors.AsType[*LoadFailed](err); ok {
		return transport.CodeLoadFailed
	}
	for _, p := range pairs {
		if errors.Is(err, p.err) {
			return p.code
		}
	}
	return transport.CodeUnknownOutcome
}

func (n *Node) codeError(rsp *transport.Response) error {
	switch rsp.Code {
	case transport.CodeOK:
		return nil
	case transport.CodeExpired, transport.CodeClosed:
		return errNotYet
	case transport.CodeLost:
		return errAnswerLost
	case transport.CodeLoadFailed:
		return &LoadFailed{rsp.Text}
	}
	for _, p := range pairs {
		if p.code == rsp.Code {
			if rsp.Text != "" {
				return fmt.Errorf("%w: peer: %s", p.err, strings.TrimPrefix(rsp.Text, p.err.Error()+": "))
			}
			return p.err
		}
	}
	return fmt.Errorf("%w: answer code %d", ErrUnknownOutcome, rsp.Code)
}
