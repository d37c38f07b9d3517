package node

import (
	"errors"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A call for a slot whose primary is cut off from this node goes by way of a member
// that hears it. That one hands the call on as it is, with its call ID, and the answer
// back: the primary answers as it would have, and a repeat is known for what it is.

// detour chooses by whose way a call goes, and marks it; nil: there is none. An ASK
// is worth a moment only, and is not followed around.
func (n *Node) detour(t *trip) *transport.Peer {
	if t.req.Asked {
		return nil
	}
	var via *peer
	if h := t.peer.hearsay.Load(); h != nil {
		via = h.from
	}
	if via == nil || via.live() == nil || via.cut.Load() || t.attempts%4 == 0 {
		via = n.anyHeard(t.attempts)
	}
	if via == nil {
		return nil
	}
	t.req.Flags = t.req.Flags&^transport.FlagNear | transport.FlagRelay
	t.near = nearTicket{}
	n.stats.detours.Add(1)
	return via.live()
}

// anyHeard returns one of the peers that this node hears, another with each attempt.
func (n *Node) anyHeard(attempt int) *peer {
	if heard := n.allHeard(); len(heard) > 0 {
		return heard[attempt/4%len(heard)]
	}
	return nil
}

// relay hands a call on to the primary of its slot. It reports false where that is
// this node, or is cut off from here too: the call is answered as any other then.
func (n *Node) relay(p *transport.Peer, req *transport.Request) (handed bool) {
	req.Flags &^= transport.FlagRelay
	cl := n.table.Load().Claim(req.Slot)
	if cl == nil || cl.Primary == n.id || cl.Primary == shard.NodeID(p.ID()) {
		return false
	}
	primary := n.peer(cl.Primary)
	to := primary.live()
	if to == nil || primary.cut.Load() {
		return false
	}
	wait := time.Duration(req.Timeout) * time.Microsecond
	if wait <= 0 {
		wait = n.cfg.OpTimeout
	}
	on, id := *req, req.ID
	answer := func(rsp *transport.Response, err error) {
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrLost):
			rsp = &transport.Response{Code: codeRepeat} // it may have taken effect
		case errors.Is(err, transport.ErrOverloaded):
			rsp = &transport.Response{Code: transport.CodeOverloaded}
		case errors.Is(err, transport.ErrTooLarge):
			rsp = &transport.Response{Code: transport.CodeTooLarge}
		default:
			rsp = &transport.Response{Code: transport.CodeNotYet}
		}
		p.Respond(id, rsp)
	}
	sent := to.Call(time.Now().Add(wait), &on, answer)
	if n.table.Load().Claim(on.Slot).Primary != cl.Primary { // see overtaken
		if pending, left := to.Cancel(sent); pending && left {
			answer(nil, transport.ErrLost)
		} else if pending {
			answer(nil, transport.ErrNotSent)
		}
	}
	return true
}
