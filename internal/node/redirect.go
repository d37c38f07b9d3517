package node

import (
	"context"

	"github.com/slotmesh/slotmesh/shard"
)

type noForward struct{}

// Redirect makes the error of a call that would have left this node for
// another: because that one serves the slot, or with ask for this one call.
type Redirect func(slot uint16, to Member, ask bool) error

// NoForward marks a context: its calls do not leave this node. They are looked
// for only where a call would.
func NoForward(ctx context.Context, redirect Redirect) context.Context {
	return context.WithValue(ctx, noForward{}, redirect)
}

// redirected is the error of a call that may not go to a node.
func (n *Node) redirected(redirect Redirect, t *trip, id shard.NodeID) error {
	n.membersMu.Lock()
	m, ok := n.members[id]
	state := "alive"
	if !ok {
		m, ok = n.vanished[id]
		state = "suspect"
	}
	n.membersMu.Unlock()
	if !ok { // it is gone, and its slot is being taken over
		return errNotYet
	}
	return redirect(t.req.Slot, n.member(id, m, state), t.req.Asked)
}
