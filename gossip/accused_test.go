package gossip_test

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// forgetful loses the next packets that tell of a living member.
type forgetful struct {
	net.PacketConn
	lose atomic.Int32
}

func (f *forgetful) WriteTo(b []byte, to net.Addr) (int, error) {
	if tellsOfTheLiving(b[2+len("test"):]) && f.lose.Add(-1) >= 0 {
		return len(b), nil
	}
	return f.PacketConn.WriteTo(b, to)
}

// tellsOfTheLiving reads a packet of memberlist's after the label.
func tellsOfTheLiving(b []byte) bool {
	const alive, compound, checksum = 4, 7, 12
	if b[0] == checksum {
		b = b[1+4:]
	}
	if b[0] != compound {
		return b[0] == alive
	}
	lengths, rest := b[2:2+2*int(b[1])], b[2+2*int(b[1]):]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		if rest[0] == alive {
			return true
		}
		rest = rest[binary.BigEndian.Uint16(lengths):]
	}
	return false
}

// accusation is the packet by which from says that node is suspect.
func accusation(node, from gossip.NodeID) []byte {
	field := func(key string, value []byte) []byte {
		return slices.Concat([]byte{0xa0 | byte(len(key))}, []byte(key), value)
	}
	name := func(id gossip.NodeID) []byte { return append([]byte{0xda, 0, 32}, hex.EncodeToString(id[:])...) }
	const suspect = 3
	return slices.Concat([]byte{244, 4}, []byte("test"), []byte{suspect, 0x83},
		field("Incarnation", []byte{100}), field("Node", name(node)), field("From", name(from)))
}

// Who is accused and answers stays, though four packets in a row are lost.
func TestAnswerToAnAccusationArrivesThoughPacketsAreLost(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		var lossy *forgetful
		gossipOnly := func(c *gossip.Config) { c.StateInterval = time.Hour }
		a := begin(t, open, "a", addrs[0], nil, gossipOnly)
		b := begin(t, open, "b", addrs[1], []string{addrs[0]}, gossipOnly)
		c := begin(t, open, "c", addrs[2], []string{addrs[0]}, func(c *gossip.Config) {
			gossipOnly(c)
			lossy = &forgetful{PacketConn: c.Packet}
			c.Packet = lossy
		})
		for _, p := range []*peer{a, b, c} {
			p.awaitMembers(t, "a", "b", "c")
		}
		<-time.After(10 * time.Second)
		lossy.lose.Store(4)
		_, pc, _ := open(t, "10.0.0.9:7946")
		defer pc.Close()
		if _, err := pc.WriteTo(accusation(c.self.ID, a.self.ID), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addrs[0]))); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		if left := lossy.lose.Load(); left > 0 {
			t.Errorf("%d packets fewer than 4 were lost", left)
		}
		if a.heard(gossip.Failed, "c") || b.heard(gossip.Failed, "c") {
			t.Error("c failed")
		}
	})
}
