package node

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

// This file finds out, as a node starts, what is wrong with where it runs: its
// clock, the address it says it has, UDP. None of it keeps the node from
// starting, because the peer may be at fault; all of it is logged.

const (
	eventClockOff    = "this node's clock is off a peer's"
	eventUnreachable = "a peer cannot reach the advertised address"
	eventNoPackets   = "no gossip packet has arrived: is UDP blocked?"
)

const (
	maxClockOff  = 2 * time.Second // beyond it, expiry is late or early by as much
	probeBack    = 700 * time.Millisecond
	maxProbes    = 8 // of addresses of starting nodes, at once
	quietTimeout = 8 // failure timeouts with members and without a packet
)

// What a Hello asks for, and what it is answered about the asker's address.
// Values are part of the wire format.
const (
	helloProbe uint64 = 1 << 0 // try my address

	probeUnknown uint64 = 0
	probeReached uint64 = 1
	probeFailed  uint64 = 2
)

// helloAnswer is what a node that is asked at a Hello tells. An older release
// ends after used.
type helloAnswer struct {
	used   uint64 // highest counter of an ID of the asker's name that is known
	clock  int64  // milliseconds; 0: not told
	probed uint64
}

func (a *helloAnswer) append(b []byte) []byte {
	b = binary.AppendUvarint(b, a.used)
	b = binary.AppendUvarint(b, uint64(a.clock))
	return binary.AppendUvarint(b, a.probed)
}

func parseHello(b []byte) (a helloAnswer) {
	f := fields{b: b}
	a.used = f.num()
	a.clock = int64(f.num())
	a.probed = f.num()
	return a
}

// surroundings notes what the answer to a Hello, asked at began, says of this
// node's place, and logs what is wrong once.
func (n *Node) surroundings(addr string, a helloAnswer, began, now time.Time) {
	if a.clock > 0 {
		halfway := began.Add(now.Sub(began) / 2)
		off := halfway.Sub(time.UnixMilli(a.clock))
		if off.Abs() > maxClockOff+now.Sub(began)/2 && n.toldClock.CompareAndSwap(false, true) {
			n.log.Warn(eventClockOff, "peer", addr, "off", off.Round(time.Millisecond))
		}
	}
	if a.probed == probeFailed && n.toldAddress.CompareAndSwap(false, true) {
		n.log.Warn(eventUnreachable, "peer", addr, "addr", n.addr)
	}
}

// probe tries the address that a starting node says it has.
func (n *Node) probe(from *transport.Identity) uint64 {
	defer n.probes.Add(-1)
	if n.probes.Add(1) > maxProbes || from.Addr == "" {
		return probeUnknown
	}
	ctx, cancel := context.WithTimeout(n.ctx, probeBack)
	defer cancel()
	if n.transport.Probe(ctx, from.Addr) != nil {
		return probeFailed
	}
	return probeReached
}

// lookForPackets tells once when there have been members for a while and not
// one datagram came. TCP keeps them members, slower.
func (n *Node) lookForPackets() {
	n.membersMu.Lock()
	met := len(n.members) > 0
	n.membersMu.Unlock()
	switch {
	case n.toldPackets || n.stats.gossipIn.Load() > 0:
	case !met:
		n.metAt = 0
	case n.metAt == 0:
		n.metAt = n.now()
	case n.now()-n.metAt > quietTimeout*int64(n.cfg.FailureTimeout):
		n.toldPackets = true
		n.log.Warn(eventNoPackets, "addr", n.addr)
	}
}
