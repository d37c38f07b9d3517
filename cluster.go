package slotmesh

import (
	"encoding/hex"
	"fmt"
	"iter"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/shard"
)

// Cluster shows the cluster as this node sees it, and changes where slots are.
// What takes no context asks no other node: news from them arrives within
// milliseconds, or when they can be reached again.
type Cluster struct{ n *node.Node }

// Cluster returns the cluster's view from this node.
func (c *Cache) Cluster() Cluster { return Cluster{c.n} }

// Node is a member of the cluster.
type Node struct {
	Name string // as set by WithName: the same after a restart
	ID   string // 32 hexadecimal digits, new at every start
	Addr string // host:port that others reach it at
	Zone string // as set by WithZone
	// Weight is its share of the slots relative to others; 0 for a node that
	// uses the cache and holds nothing.
	Weight int
	State  string // "alive", "suspect" (does not answer) or "leaving"
	Self   bool   // this very node
	// Visitor tells a node that came by WithVisitor: it counts for nothing.
	Visitor bool
	// Attributes are what the node tells of itself: see WithAttribute. They are
	// shared, and not to be changed.
	Attributes map[string]string
}

// Slot says where one slot is.
type Slot struct {
	Number  uint16 // in [0, 16384)
	Epoch   uint64 // counts the changes of its primary
	Primary string // name of the node that serves it; "" if never claimed
	// Backups are the names of the nodes with a copy that every acknowledged
	// write has reached, in the order in which they would take over.
	Backups []string
}

// Health sums up all slots. Of a cluster at rest every number is 0 and State is
// "ok".
type Health struct {
	// NoPrimary are slots that have had no live primary for longer than a hand-over may
	// take: twice WithFailureTimeout and a second. Until then they are among those Moving.
	NoPrimary    int
	ShortBackups int // slots with fewer backups than asked for and possible
	Moving       int // slots on their way to another node
	Forked       int // slots that went on without a majority and are being merged
	Unclaimed    int // slots that nobody has served yet
	// State is "ok", "degraded" (slots are short of backups, forked or not
	// claimed yet, or this node's disk has failed) or "failing" (slots have no
	// live primary). That slots move leaves it "ok".
	State string
	// MoveBytes is what this node still has to copy to others, about, and
	// MoveTime what it needs for that at its present pace.
	MoveBytes int64
	MoveTime  time.Duration
	// Balanced means that every slot and its backups are where they should be.
	Balanced bool
	Reasons  []string // for people: what keeps the cluster from being at rest
}

// Self returns this node.
func (c Cluster) Self() Node { return newNode(c.n.Self()) }

// Nodes returns the living members in the order of their names, this one
// included.
func (c Cluster) Nodes() []Node {
	members := c.n.Members()
	nodes := make([]Node, len(members))
	for i, m := range members {
		nodes[i] = newNode(m)
	}
	return nodes
}

// Slots yields all 16384 slots in order, as one snapshot.
func (c Cluster) Slots() iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		table, names := c.n.Table(), c.names()
		for number := range uint16(hashtag.Slots) {
			slot := Slot{Number: number}
			if claim := table.Claim(number); claim != nil {
				slot.Epoch = claim.Epoch
				slot.Primary = names.of(claim.Primary)
				for _, id := range claim.Backups {
					slot.Backups = append(slot.Backups, names.of(id))
				}
			}
			if !yield(slot) {
				return
			}
		}
	}
}

// Owner returns the node that serves key's slot: its primary. ErrNoPrimary
// means that the slot was never claimed or that its primary is no living
// member.
func (c Cluster) Owner(key string) (Node, error) {
	slot := hashtag.Slot(key)
	if claim := c.n.Table().Claim(slot); claim != nil {
		for _, m := range c.n.Members() {
			if m.ID == claim.Primary {
				return newNode(m), nil
			}
		}
	}
	return Node{}, fmt.Errorf("slot %d: %w", slot, ErrNoPrimary)
}

// KeySlot returns the slot of key, in [0, 16384), as Redis Cluster's CLUSTER
// KEYSLOT does: that of "foo" is 12182. It does not allocate.
func (c Cluster) KeySlot(key string) uint16 { return hashtag.Slot(key) }

// KeysIn counts the keys of a slot, 0 to 16383, in this node's own copy: 0 where
// it has none. Keys that have expired count until they are removed, about a
// second later, and so do locks. It costs one look-up.
func (c Cluster) KeysIn(slot uint16) int {
	if slot >= hashtag.Slots {
		return 0
	}
	stats := c.n.Engine().SlotStats(slot)
	return max(stats.Records-stats.Tombstones, 0)
}

// Health looks at every slot; it costs about a millisecond.
func (c Cluster) Health() Health {
	h := c.n.Health()
	return Health{
		NoPrimary:    h.NoPrimary,
		ShortBackups: h.ShortBackups,
		Moving:       h.Moving,
		Forked:       h.Forked,
		Unclaimed:    h.Unclaimed,
		State:        healthState(&h),
		MoveBytes:    h.MoveBytes,
		MoveTime:     h.MoveTime,
		Balanced:     h.Balanced,
		Reasons:      h.Reasons,
	}
}

func healthState(h *node.Health) string {
	switch {
	case h.NoPrimary > 0:
		return "failing"
	case h.ShortBackups+h.Forked+h.Unclaimed > 0 || h.LostDisk:
		return "degraded"
	}
	return "ok"
}

func newNode(m node.Member) Node {
	return Node{
		Name:       m.Name,
		ID:         hex.EncodeToString(m.ID[:]),
		Addr:       m.Addr,
		Zone:       m.Zone,
		Weight:     m.Weight,
		State:      m.State,
		Self:       m.Self,
		Attributes: m.Attributes,
		Visitor:    m.Visitor,
	}
}

// nodeNames maps the IDs of members to their names.
type nodeNames map[shard.NodeID]string

func (c Cluster) names() nodeNames {
	names := make(nodeNames)
	for _, m := range c.n.Members() {
		names[m.ID] = m.Name
	}
	return names
}

// of falls back to the ID for a node that is no member any more.
func (n nodeNames) of(id shard.NodeID) string {
	if name, ok := n[id]; ok {
		return name
	}
	return hex.EncodeToString(id[:])
}
