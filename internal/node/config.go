package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Call, Result and the Op values are those that travel between nodes.
type (
	Call   = transport.Call
	Result = transport.Result
)

// PartitionPolicy says what a slot does that has lost its quorum.
type PartitionPolicy uint8

const (
	Available PartitionPolicy = iota // goes on after PartitionWait as a fork, and heals
	Majority                         // waits for the quorum
)

// Config is everything a node is told at Open. The public package fills
// every gap and checks it before.
type Config struct {
	Name          string
	Cluster       string
	Addr          string // host:port to listen on, TCP and UDP
	AdvertiseAddr string // host:port peers reach it at; empty: the listener's
	Zone, Seat    string
	Weight        int
	Attributes    map[string]string // at first; see SetAttribute
	// Seeds lists addresses to join; nil for a node that starts by itself.
	Seeds           func(ctx context.Context) ([]string, error)
	BootstrapExpect int // members to await before slots are founded

	Backups             int
	MinBackups          int
	AckPrimary          bool
	FailureTimeout      time.Duration
	ReplicationTimeout  time.Duration
	RepairDelay         time.Duration
	MoveBudget          int64         // bytes a second of all copies sent; 0: by how calls fare
	SettleDelay         time.Duration // quiet time of the member list before moves and founding
	PartitionWait       time.Duration
	OrphanWait          time.Duration
	ColdStartWait       time.Duration
	OpTimeout           time.Duration // for calls whose context has no deadline
	Lease               time.Duration
	Policy              PartitionPolicy
	RequireFullCoverage bool
	// Merge decides about values that both sides of a fork wrote; nil: the one
	// of the newer origin stands. It is called under no lock, and may panic.
	Merge MergeFunc

	MaxKey, MaxValue int
	EvictNone        bool           // writes get ErrNoMemory at the limit; otherwise victims go
	Secret           [][]byte       // gossip's keys, and what connections are authenticated by
	TLS              *transport.TLS // nil: none

	NearBytes  int64 // of the near cache; 0: none
	KeepGrants bool  // never revokes a read lease: a rule switched off in tests

	// SyncWrites: a copy acknowledges a write when its engine has synced it.
	SyncWrites bool

	// Asked answers what other nodes ask of this one by Ask. It runs on a
	// goroutine of its own; nil answers nothing.
	Asked func(n *Node, what string, arg []byte) ([]byte, error)
	// Visitor: the node has no vote and counts for no plan. Its Weight is 0.
	Visitor bool

	Off RulesOff // for tests alone

	Engine   store.Engine  // owned: closed by Close
	Trace    *Trace        // nil: calls are not followed
	SlowCall time.Duration // calls that take as long are logged; 0: none are

	Env    env.Env
	Logger *slog.Logger // never nil; discards by default
	// Recorder is what Logger writes to first; nil: events are not kept.
	Recorder *Recorder
}

// Member is a node of the cluster as this one sees it.
type Member struct {
	Name, Addr, Zone, Seat string
	ID                     shard.NodeID
	Weight                 int
	Attributes             map[string]string // not to be changed
	State                  string            // alive, leaving, suspect
	Self, Visitor          bool
}

// Health sums up the slots as this node sees them.
type Health struct {
	NoPrimary    int           // slots that have had no live primary for longer than a hand-over takes
	ShortBackups int           // slots with fewer in-sync backups than asked for and possible
	Moving       int           // slots whose primary differs from the plan, that are being copied, or that pass to another primary now
	Forked       int           // slots with a heal under way
	Unclaimed    int           // slots never claimed
	MoveBytes    int64         // that this node has to copy to others, about
	MoveTime     time.Duration // that it needs for them at its present pace; 0 if there are none
	LostDisk     bool          // this node's disk has failed
	Balanced     bool          // every slot is where the plan wants it, with its backups
	Reasons      []string
}

// RulesOff switches single rules of the protocol off. The simulated cluster shows
// that it finds what each of them is for.
type RulesOff struct {
	Leases    bool // a primary answers without leases
	Gate      bool // an answer does not wait for the write it depends on
	Fence     bool // a copy takes appends of an epoch below what it promised
	Leftovers bool // a learner keeps what it has
	Offers    bool // the loser of a fork offers nothing
	Force     bool // a claim counts as in force once its proposer accepted it
}
