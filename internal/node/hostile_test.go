package node

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// FuzzPeer lets a peer that is no member say anything at all on each stream;
// the node has to live and to answer its own callers.
func FuzzPeer(f *testing.F) {
	cl := &shard.Claim{Slot: 5, Epoch: 9, Rev: 1, Primary: shard.NewNodeID(7, 7), Lineage: []uint64{1}}
	f.Add(byte(0), uint16(5), append([]byte{ctlOffer, 5}, cl.Append(nil)...))
	f.Add(byte(0), uint16(0), body(ctlBeat, 1, 1<<40, 1<<60, 3))
	f.Add(byte(0), uint16(0), body(ctlBeatReply, 1, 1<<20, 16383, 1<<63))
	f.Add(byte(0), uint16(0), body(ctlSettle, 16384, 1, 5, 1<<63))
	f.Add(byte(0), uint16(0), body(ctlCopy, 5, 1, copyNeed))
	f.Add(byte(0), uint16(0), body(ctlCopy, 5, 1, copyWant, 0, 255))
	f.Add(byte(0), uint16(0), body(ctlOfferOK, 5, 1, 1))
	f.Add(byte(0), uint16(0), body(ctlMarks, 1, 1, 1, 5, 1, 1))
	f.Add(byte(0), uint16(0), append([]byte{ctlNames}, make([]byte, 40)...))
	f.Add(byte(0), uint16(0), append([]byte{ctlPast}, cl.Append(nil)...))
	f.Add(byte(0), uint16(0), append([]byte{ctlDigests}, make([]byte, 8*shard.Blocks)...))
	f.Add(byte(0), uint16(0), body(ctlFare, 1<<63))
	f.Add(byte(0), uint16(0), append(body(ctlAround, 1), make([]byte, 40)...))
	f.Add(byte(0), uint16(0), append(body(ctlHeard, 1), make([]byte, 17)...))
	f.Add(byte(1), uint16(5), cl.Append(nil))
	f.Add(byte(2), uint16(5), []byte("\x09\x01\x00value"))
	f.Add(byte(3), uint16(5), []byte("\x09\x01\x00value"))
	f.Add(byte(4), uint16(16384), []byte("\x09\x01\x00value"))
	f.Add(byte(5), uint16(5), []byte("\x01\x00\x00value"))
	f.Add(byte(6), uint16(0), (&helloAnswer{used: 1 << 60, clock: 1 << 41, probed: probeFailed}).append(nil))
	n := start(f, "victim", nil)
	p := &transport.Peer{}
	f.Fuzz(func(t *testing.T, stream byte, slot uint16, b []byte) {
		num := func(i int) uint64 {
			if i < len(b) {
				return uint64(b[i]) << (i * 8 % 56)
			}
			return 0
		}
		call := transport.Call{Op: transport.Op(num(0)), Slot: slot, Key: string(b), Value: b, Old: b, Flags: uint16(num(1)), Kind: uint8(num(2)), Expiry: int64(num(3)), Version: num(4)}
		recs := []transport.Record{{Key: string(b), Value: b, Version: num(1), Kind: uint8(num(2)), Tombstone: num(3)&1 == 0}}
		switch stream % 7 {
		case 0:
			n.Control(p, b)
		case 1:
			n.Claims(p, b)
		case 2:
			n.Request(p, &transport.Request{Call: call, ID: 1, Epoch: num(5), Mark: num(6), Timeout: 1, Repeat: num(7)&1 == 0})
		case 3:
			n.Append(p, &transport.Append{Slot: slot, Epoch: num(0), Prev: num(1), Version: num(2), Mark: num(3), Cause: uint8(num(4)), Session: num(5), Answers: num(6), Records: recs})
		case 4:
			n.AppendAck(p, &transport.AppendAck{Slot: slot, Epoch: num(0), Version: num(1), Session: num(2), Gap: num(3)&1 == 0, Refused: num(4)&1 == 0, Short: num(5)&1 == 0})
		case 5:
			n.Chunk(p, &transport.Chunk{Slot: slot, Session: num(0), Kind: uint8(num(1)), Seq: num(2), Last: true, Lo: num(3), Hi: num(4), Count: num(5), Body: b, Records: recs})
		case 6: // before there is a stream
			if _, err := n.Hello(transport.Identity{Name: string(b)}, b); err != nil {
				t.Fatal(err)
			}
			n.surroundings("seed", parseHello(b), time.Now(), time.Now())
		}
		if n.closing.Load() {
			t.Fatal("the node has closed")
		}
	})
}

// The control loop's queue is bounded by what events hold and not by their number.
func TestEventsOfPeersAreBounded(t *testing.T) {
	n := &Node{wake: make(chan struct{}, 1), eventsSize: maxEvents - 10} // nobody takes from it
	if n.post(event{kind: evMessages, messages: make([]shard.Message, 1000)}) {
		t.Error("1000 messages were queued where there is room for 9")
	}
	if !n.post(event{kind: evMessages, messages: make([]shard.Message, 9)}) {
		t.Error("9 messages were refused where there is room for them")
	}
}
