package node

import (
	"encoding/binary"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
)

// Names of node IDs, of those who are members and of earlier starts that claims
// on some disk still tell of: by name a node knows what is its own again. A fleet
// that is redeployed for years meets more IDs than are worth keeping, so at more
// than maxNames those go that no claim needs, the oldest first. Their number is
// looked at every two seconds; between, it may be twice as high, because a peer
// tells its names before the claims that need them.
const maxNames = 4096

// noteNameLocked keeps the name of a node ID.
func (n *Node) noteNameLocked(id shard.NodeID, name string) {
	was, known := n.past.names[id]
	if known && was == name {
		return
	}
	if !known && len(n.past.names) >= 2*maxNames {
		n.pruneNamesLocked()
	}
	n.past.names[id] = name
	n.namesDirty = true
}

// pruneNamesLocked leaves at most maxNames names: those of members and of the
// holders of claims rather than others, and of each kind the newest. Node IDs
// order by time.
func (n *Node) pruneNamesLocked() {
	if len(n.past.names) <= maxNames {
		return
	}
	needed := n.claimedLocked()
	for id := range n.members {
		needed[id] = true
	}
	for id := range n.vanished {
		needed[id] = true
	}
	ids := make([]shard.NodeID, 0, len(n.past.names))
	for id := range n.past.names {
		if id != n.id {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b shard.NodeID) int {
		if needed[a] != needed[b] {
			if needed[a] {
				return 1
			}
			return -1
		}
		return a.Compare(b)
	})
	for _, id := range ids[:len(n.past.names)-maxNames] {
		delete(n.past.names, id)
	}
	n.namesDirty = true
}

// claimedLocked is whom a claim in force tells of, one that a disk remembers, or
// one that this node's own disk did when it was opened and may again.
func (n *Node) claimedLocked() map[shard.NodeID]bool {
	ids := map[shard.NodeID]bool{}
	for id := range n.past.held {
		ids[id] = true
	}
	for cl := range n.table.Load().All() {
		addHolders(ids, cl)
	}
	for _, cl := range n.past.claims {
		addHolders(ids, cl)
	}
	return ids
}

// isBack: see shard.CoreConfig. What the one that is back knows of claims has been heard.
func (n *Node) isBack(id shard.NodeID) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	name, known := n.past.names[id]
	if !known || name == n.cfg.Name {
		return known
	}
	for other, m := range n.members {
		if m.Name == name && !m.Visitor && other.Compare(id) > 0 {
			if p := n.knownPeer(other); p != nil && p.up.Load() && p.tableSeen.Load() {
				return true
			}
		}
	}
	return false
}

func addHolders(ids map[shard.NodeID]bool, cl *shard.Claim) {
	ids[cl.Primary] = true
	for _, id := range cl.Backups {
		ids[id] = true
	}
}

// pruneNames keeps to maxNames, and saves what has changed.
func (n *Node) pruneNames() {
	n.membersMu.Lock()
	n.pruneNamesLocked()
	dirty := n.namesDirty
	n.membersMu.Unlock()
	if dirty {
		n.savePast()
	}
}

func (n *Node) namesLocked() (b []byte) {
	for id, name := range n.past.names {
		b = append(b, id[:]...)
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	return b
}

// takeNames reads names; the caller holds membersMu, or the node alone.
func (n *Node) takeNames(f *fields) {
	for f.more() {
		id, _ := f.id()
		size := f.num()
		if f.bad || size > uint64(len(f.b)) || size > 256 {
			return
		}
		if _, known := n.past.names[id]; !known { // who it was may have said more lately what it is called
			n.noteNameLocked(id, string(f.b[:size]))
		}
		f.b = f.b[size:]
	}
}
