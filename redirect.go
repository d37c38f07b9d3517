package slotmesh

import (
	"context"
	"fmt"

	"github.com/slotmesh/slotmesh/internal/node"
)

// MovedError is what a call gets that was made with NoForward and whose slot
// another node serves. Nothing happened. It matches with errors.As.
type MovedError struct {
	Slot uint16
	Node Node // that serves the slot
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("slotmesh: slot %d is served by %s at %s", e.Slot, e.Node.Name, e.Node.Addr)
}

// AskError is what a call gets that was made with NoForward while its slot is
// on its way to another node. That node takes the call, as long as it takes
// calls of others: later ones of the slot may still belong here. Nothing
// happened.
type AskError struct {
	Slot uint16
	Node Node // to be asked
}

func (e *AskError) Error() string {
	return fmt.Sprintf("slotmesh: slot %d moves to %s at %s", e.Slot, e.Node.Name, e.Node.Addr)
}

// NoForward returns a context whose calls do not leave this node: where
// another one serves the slot, the call fails at once with a *MovedError or an
// *AskError that says which. It is for programs that let their own clients
// know where to go, as Redis Cluster does.
//
// A call waits, as ever, while its slot has no living primary. A write whose
// primary was lost while it was under way still looks up at the new one
// whether it took effect.
//
// It costs nothing for calls that are answered here.
func NoForward(ctx context.Context) context.Context { return node.NoForward(ctx, redirect) }

func redirect(slot uint16, to node.Member, ask bool) error {
	if ask {
		return &AskError{slot, newNode(to)}
	}
	return &MovedError{slot, newNode(to)}
}
