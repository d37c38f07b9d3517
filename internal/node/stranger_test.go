package node

import (
	"errors"
	"net"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Who knows the cluster's name but is no member in gossip gets no stream: neither
// the table nor a hearing for claims of its own.
func TestStrangerIsNotTalkedTo(t *testing.T) {
	n := start(t, "victim", nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := transport.NewMux(ln, nil)
	defer mux.Close()
	low, high := n.protocols()
	self := shard.NodeID{15: 1} // below the other, so that it dials
	tr, err := transport.New(transport.Config{
		Self:     transport.Identity{Cluster: "test", ID: transport.NodeID(self), Name: "stranger", Addr: ln.Addr().String(), MinProto: low, MaxProto: high},
		Listener: mux.GRPC(), Dial: n.env.Dial, Handler: struct{ transport.Handler }{}, // which panics when it is called
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	tr.SetPeers([]transport.PeerAddr{{ID: transport.NodeID(n.id), Addr: n.addr}})
	p := tr.Peer(transport.NodeID(n.id))
	awaitNode(t, "the stranger is answered", func() bool { return p.Up() || p.Err() != nil })
	if p.Up() || !errors.Is(p.Err(), transport.ErrDeclined) {
		t.Errorf("up %v, the stranger was told %v, want ErrDeclined", p.Up(), p.Err())
	}
	n.peersMu.RLock()
	defer n.peersMu.RUnlock()
	if n.peers[self] != nil {
		t.Error("something is kept of the stranger")
	}
}
