package node

import (
	"fmt"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// redeploy tells n of so many nodes, each started after the one before, and
// returns the last of them.
func redeploy(t *testing.T, n *Node, from, count int) (last shard.NodeID) {
	t.Helper()
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for i := from; i < from+count; i++ {
		last = shard.NewNodeID(uint64(i), 1)
		n.noteNameLocked(last, fmt.Sprint("pod-", i))
		if len(n.past.names) > 2*maxNames {
			t.Fatalf("%d names are kept, want at most %d", len(n.past.names), 2*maxNames)
		}
		if n.past.names[last] == "" {
			t.Fatalf("the name of node %d, the newest, is not kept", i)
		}
	}
	return last
}

// TestNamesKeepTheNewestAndThoseClaimsNeed redeploys a fleet 20,000 times. A disk
// tells of a claim from its beginning, and the heir is found all the same.
func TestNamesKeepTheNewestAndThoseClaimsNeed(t *testing.T) {
	n := start(t, "victim", nil)
	first, here := shard.NewNodeID(1, 1), shard.NewNodeID(2, 1)
	old := &shard.Claim{Slot: 5, Epoch: 9, Primary: here, Backups: []shard.NodeID{first}, Lineage: []uint64{1}}
	n.membersMu.Lock()
	n.noteNameLocked(first, "elsewhere")
	n.noteNameLocked(here, "victim")
	n.noteNameLocked(n.id, "victim") // as those with a disk do
	n.past.claims[5] = old
	n.membersMu.Unlock()
	const count = 20_000
	last := redeploy(t, n, 3, count)
	n.pruneNames()
	n.membersMu.Lock()
	size := len(n.past.names)
	for i := count + 2; i > count+2-(maxNames-10); i-- {
		if id := shard.NewNodeID(uint64(i), 1); n.past.names[id] == "" {
			t.Fatalf("of %d names that of node %d is missing, want the newest", size, i)
		}
	}
	if n.past.names[first] == "" || n.past.names[here] == "" || n.past.names[n.id] == "" {
		t.Error("the name of a claim's holder, or this node's own, was dropped")
	}
	said := n.namesLocked()
	n.membersMu.Unlock()
	if size > maxNames {
		t.Errorf("%d names are kept, want at most %d", size, maxNames)
	}
	later := n.openedAt + int64(n.cfg.ColdStartWait)
	if got := n.heir(old, last, n.idsByName(), later).first; got != n.id {
		t.Errorf("heir of a claim that this node's earlier start held = %v, want this node", got)
	}

	// A node that knows as many others learns the newest too.
	o := start(t, "other", nil)
	redeploy(t, o, 3, maxNames)
	o.membersMu.Lock()
	o.takeNames(&fields{b: said})
	o.membersMu.Unlock()
	o.pruneNames()
	o.membersMu.Lock()
	defer o.membersMu.Unlock()
	if o.past.names[last] == "" || len(o.past.names) > maxNames {
		t.Errorf("told of %d names, a node keeps %d, the newest %q", size, len(o.past.names), o.past.names[last])
	}
}

// TestNewestNameFitsThoughClaimsNeedAll has more holders in claims than names
// may be kept.
func TestNewestNameFitsThoughClaimsNeedAll(t *testing.T) {
	n := start(t, "victim", nil)
	n.membersMu.Lock()
	for i := range 2 * maxNames {
		no := uint16(i)
		n.past.claims[no] = &shard.Claim{Slot: no, Epoch: 1, Primary: shard.NewNodeID(uint64(i+1), 1), Lineage: []uint64{1}}
	}
	n.membersMu.Unlock()
	redeploy(t, n, 1, 5*maxNames)
	n.pruneNames()
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	if len(n.past.names) > maxNames {
		t.Errorf("%d names are kept, want at most %d", len(n.past.names), maxNames)
	}
}
