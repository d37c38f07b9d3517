package node

import (
	"maps"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

const (
	forgetEvery = time.Minute
	// forgetAfter is how long a node is remembered that is no member, has no
	// connection and that no claim names, and forgetMissed how long one with data
	// that fell silent without proof of its end. Whoever is back later is a newcomer,
	// if under the same ID.
	forgetAfter  = 10 * time.Minute
	forgetMissed = 24 * time.Hour
)

// forget drops what is kept by node ID of nodes that nothing refers to any more,
// so that tools which come and go for years leave nothing behind. Only houseLoop
// calls it.
func (n *Node) forget(now int64) {
	if now-n.forgotAt < int64(forgetEvery) || !n.joined.Load() {
		return
	}
	n.forgotAt = now
	old := n.forgettable(now)
	for cl := range n.table.Load().All() {
		if len(old) == 0 {
			return
		}
		delete(old, cl.Primary)
		for i := range cl.Backups {
			delete(old, cl.Backups[i])
		}
		for i := range cl.Witnesses {
			delete(old, cl.Witnesses[i])
		}
	}
	n.coreMu.Lock()
	n.core.Forget(old)
	n.coreMu.Unlock()

	n.peersMu.Lock()
	maps.DeleteFunc(n.peers, func(id shard.NodeID, p *peer) bool { return old[id] && !p.up.Load() })
	n.peersMu.Unlock()
	n.membersMu.Lock()
	for id := range old {
		delete(n.gone, id)
		delete(n.vanished, id)
	}
	n.membersMu.Unlock()
	n.granting.mu.Lock()
	for id := range old {
		delete(n.granting.slots, id)
	}
	n.granting.mu.Unlock()
	of := func(k offerKey, _ uint64) bool { return old[k.from] }
	n.offersMu.Lock()
	maps.DeleteFunc(n.offers, of)
	n.offersMu.Unlock()
	n.merger.mu.Lock()
	maps.DeleteFunc(n.merger.shared, of)
	n.merger.mu.Unlock()
	n.setPeers()
}

// forgettable returns who has been away for long enough, whatever claims say.
func (n *Node) forgettable(now int64) map[shard.NodeID]bool {
	old, kept := map[shard.NodeID]bool{}, n.keptFor()
	for _, p := range n.allPeers() {
		after, is := kept[p.id]
		if !is {
			after = forgetAfter
		}
		switch {
		case p.up.Load() || after == 0:
			p.idleSince.Store(0)
		case p.idleSince.Load() == 0:
			p.idleSince.Store(now)
		case now-p.idleSince.Load() >= int64(after):
			old[p.id] = true
		}
	}
	n.coreMu.Lock()
	dead := n.core.Dead(now - int64(forgetAfter))
	n.coreMu.Unlock()
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for id, at := range n.gone {
		if now-at >= int64(forgetAfter) {
			dead = append(dead, id)
		}
	}
	for _, id := range dead {
		if _, is := kept[id]; !is {
			old[id] = true
		}
	}
	return old
}

// keptFor lists who is a member, for ever, and who was and may be back; those are
// kept for so long. Who is neither is not listed.
func (n *Node) keptFor() map[shard.NodeID]time.Duration {
	const ever = 0
	kept := map[shard.NodeID]time.Duration{n.id: ever}
	living := n.gossip.Members() // one may be cut off from this node alone
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for id, m := range n.vanished {
		if !m.Visitor {
			kept[id] = forgetMissed
		}
	}
	for id := range n.members {
		kept[id] = ever
	}
	for _, m := range living {
		kept[shard.NodeID(m.ID)] = ever
	}
	return kept
}
