package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A peer that was not sent all claims must not be told that it was: it would found
// the slots of the others.
func TestEndOfTheTableComesAfterAllOfIt(t *testing.T) {
	n, _ := openSlot(t)
	p := n.peer(shard.NewNodeID(2, 1))
	p.up.Store(true)
	full, sent := 3, make(chan byte, 3)
	send := func(b []byte) error {
		if b[0] == 2 && full > 0 {
			full--
			return transport.ErrOverloaded
		}
		sent <- b[0]
		return nil
	}
	bodies := [][]byte{{1}, {2}, {3}}
	n.inTurn(p, send, bodies)
	for want := byte(1); want <= 3; want++ {
		if got := <-sent; got != want {
			t.Errorf("sent %d, want %d", got, want)
		}
	}
	n.wg.Wait()

	n.inTurn(p, func([]byte) error { return transport.ErrNotSent }, bodies)
	full = 1
	n.inTurn(p, func(b []byte) error {
		p.up.Store(false)
		return send(b)
	}, bodies[1:])
	n.wg.Wait()
	if len(sent) > 0 {
		t.Errorf("%d bodies were sent over a connection that had ended", len(sent))
	}
}
