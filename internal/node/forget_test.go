//go:build !race || slow

package node

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
)

// byID counts what is kept under node IDs anywhere in n but in its slots, by
// where it is.
func (n *Node) byID() map[string]int {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	n.granting.mu.Lock()
	defer n.granting.mu.Unlock()
	n.offersMu.Lock()
	defer n.offersMu.Unlock()
	n.merger.mu.Lock()
	defer n.merger.mu.Unlock()
	sizes := map[string]int{}
	countKeyed(sizes, "node", reflect.ValueOf(n).Elem())
	return sizes
}

func countKeyed(sizes map[string]int, at string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch name {
			case "downNow", "strangers", "slots": // made anew as a whole; bounded by claims
				continue
			}
			countKeyed(sizes, at+"."+name, v.Field(i))
		}
	case reflect.Pointer: // what is a node's own and has such maps
		if name := v.Type().Elem().Name(); !v.IsNil() && (name == "Core" || name == "lending") {
			countKeyed(sizes, at, v.Elem())
		}
	case reflect.Map:
		switch v.Type().Key() {
		case reflect.TypeFor[shard.NodeID](), reflect.TypeFor[offerKey](), reflect.TypeFor[gossip.NodeID]():
			sizes[at] = v.Len()
		}
	}
}

// visit has n meet so many nodes that come and go, all that a node may notice of
// one included.
func visit(n *Node, from, count int, visitor bool, end gossip.EventKind) {
	for i := from; i < from+count; i++ {
		id := shard.NewNodeID(uint64(i), 7)
		m := gossip.Member{ID: gossip.NodeID(id), Name: fmt.Sprint("tool-", i), Addr: fmt.Sprint("192.0.2.1:", i), MinProto: protoMin, MaxProto: protoMax, Visitor: visitor}
		n.onMember(gossip.Event{Kind: gossip.Joined, Member: m})
		p := n.peer(id)
		p.up.Store(true)
		p.heardAt.Store(n.now())
		n.core.Lend(id, n.now()+int64(n.cfg.Lease))
		n.granting.mu.Lock()
		n.granting.slots[id] = map[uint16]struct{}{5: {}}
		n.granting.mu.Unlock()
		n.merger.share(offerKey{from: id, slot: 5}, 1)
		n.offersMu.Lock()
		n.offers[offerKey{id, 5, 1}] = 2 // it went in the middle
		n.offersMu.Unlock()
		p.up.Store(false)
		n.onMember(gossip.Event{Kind: end, Member: m})
		n.post(event{kind: evGone, id: id})
	}
}

// TestThousandVisitsLeaveNothing has a thousand tools come and go, some without a
// goodbye, three of them in earnest. Half an hour later nothing is kept under their IDs.
func TestThousandVisitsLeaveNothing(t *testing.T) {
	var ahead atomic.Int64
	n := start(t, "victim", func(c *Config) {
		c.Env.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	before := n.byID()
	if len(before) < 8 {
		t.Fatalf("found only %v under node IDs: has something been renamed?", before)
	}
	for i := range 3 { // real ones
		v := start(t, fmt.Sprint("real-", i), func(c *Config) { c.Visitor, c.Weight, c.Seeds = true, 0, seeds(n.addr) })
		awaitNode(t, "the visitor is connected", func() bool { return n.peer(v.id).up.Load() })
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		awaitNode(t, "the visitor is gone", func() bool { return !n.peer(v.id).up.Load() && len(n.Members()) == 1 })
	}
	visit(n, 1, 900, true, gossip.Left)
	visit(n, 901, 100, true, gossip.Failed)
	visit(n, 1001, 3, false, gossip.Failed) // nodes with data, which may be back
	awaitNode(t, "the control loop knows of all deaths", func() bool { return n.byID()["node.core.down"] >= 1003 })
	if now := n.byID(); now["node.peers"] < 1000 || now["node.gone"] < 900 || now["node.vanished"] < 3 {
		t.Fatalf("after 1,003 visits there are %v", now)
	}
	grownBy := func(missed int) func() bool {
		return func() bool {
			for at, size := range n.byID() {
				if size > before[at]+missed && at != "node.past.names" { // those have a bound of their own
					return false
				}
			}
			return true
		}
	}
	ahead.Add(int64(forgetAfter))
	awaitNode(t, "who failed is found idle", func() bool {
		for _, p := range n.allPeers() {
			if p.idleSince.Load() == 0 {
				return false
			}
		}
		return true
	})
	ahead.Add(int64(forgetAfter))
	awaitNode(t, "all but three are forgotten", grownBy(3))
	if now := n.byID(); now["node.vanished"] != 3 {
		t.Errorf("of nodes that have data and are missed, %d are left, want 3", now["node.vanished"])
	}
	ahead.Add(int64(forgetMissed))
	awaitNode(t, "all are forgotten", grownBy(0))
}
