package node

import (
	"errors"
	"testing"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// What waits at a node is counted in and out, and bounded.
func TestGuestsAreCounted(t *testing.T) {
	n := &Node{lobby: newLobby(), env: env.System()}
	s := &n.slots[7]
	s.no = 7
	park := func(from shard.NodeID) *guest {
		c := Call{Op: transport.OpLock, Key: "k", Value: Lock{Token: 9, TTL: 1e9}.Call(7, "k").Value}
		g := n.newGuest(&c, &transport.Request{CallID: transport.CallID{Node: transport.NodeID(from)}}, &Result{}, func(error) {})
		if !n.checkIn(0) {
			t.Fatal("no room for a guest")
		}
		return g
	}
	a, b := shard.NodeID{1}, shard.NodeID{2}
	g := n.guestsLocked(s)
	g.lines = map[string][]*guest{"k": {park(a), park(b), park(a)}}
	g.loads = map[string]*loadLease{"x": {token: 1, holder: a, waiters: []*guest{park(b), park(a)}}, "y": {token: 2, holder: b}}
	n.lobby.leases.Store(2)
	g.polls = []*guest{park(a)}
	n.leave(a)
	// Left are b's place in line, and b's wait for the load that a made, which
	// is to be asked for again.
	if count, leases := n.lobby.count.Load(), n.lobby.leases.Load(); count != 1 || leases != 1 || len(n.lobby.ready) != 1 {
		t.Errorf("%d guests, %d leases, %d to ask again, want 1 of each", count, leases, len(n.lobby.ready))
	}
	n.callAgain(n.takeGuestsLocked(s))
	if count, leases := n.lobby.count.Load(), n.lobby.leases.Load(); count != 0 || leases != 0 || len(n.lobby.ready) != 2 {
		t.Errorf("%d guests, %d leases, %d to ask again, want 0, 0 and 2", count, leases, len(n.lobby.ready))
	}
	n.lobby.count.Store(maxGuests)
	if n.checkIn(0) {
		t.Error("room for a guest too many")
	}
	n.lobby.count.Store(0)
	if n.checkIn(maxGuestsHere) {
		t.Error("room for one too many at a key")
	}
	var told error
	n.lobby.shut = true
	n.lobby.count.Store(1)
	n.callAgain([]*guest{{done: func(err error) { told = err }}})
	if !errors.Is(told, ErrClosed) {
		t.Errorf("a guest of a closed node was told %v, want ErrClosed", told)
	}
}
