package node

import (
	"context"

	"github.com/slotmesh/slotmesh/shard"
)

// Node is one member of the cluster.
type Node struct{ cfg Config }

// Open starts a node; ctx bounds the start only.
func Open(ctx context.Context, cfg Config) (*Node, error) { return nil, ErrClosed }

// Do runs one call wherever its slot is served, within ctx or OpTimeout.
// ErrNotFound is for callers that need a value; Get and Peek report a miss as
// Result.Found false.
func (n *Node) Do(ctx context.Context, c *Call) (Result, error) { return Result{}, ErrClosed }

// DoMany runs calls of any slots side by side; results and errors are by index.
func (n *Node) DoMany(ctx context.Context, calls []Call) ([]Result, []error) { return nil, nil }

// Ready returns when the node has joined, every slot is claimed and this
// node's own copies are caught up.
func (n *Node) Ready(ctx context.Context) error { return ErrClosed }

// Shutdown hands every slot over and leaves; Close leaves at once.
func (n *Node) Shutdown(ctx context.Context) error { return ErrClosed }
func (n *Node) Close() error                       { return nil }

func (n *Node) Self() Member        { return Member{} }
func (n *Node) Members() []Member   { return nil }
func (n *Node) Table() *shard.Table { return nil }
func (n *Node) Stats() Stats        { return Stats{} }
func (n *Node) Health() Health      { return Health{} }

// Balanced reports whether every slot is where the plan wants it, with its backups.
func (n *Node) Balanced() bool { return false }

// Err is ErrSuperseded once the node has closed itself for that, else nil.
func (n *Node) Err() error { return nil }
