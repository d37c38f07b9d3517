package node

import (
	"encoding/binary"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Kinds of control bodies: the first byte. Values are part of the wire format.
const (
	ctlMessages  byte = 1 // a batch of shard.Messages
	ctlBeat      byte = 2 // heartbeat
	ctlBeatReply byte = 3
	ctlSettle    byte = 4  // report your records above the mark: slot, epoch pairs
	ctlCopy      byte = 5  // a learner's word on a copy
	ctlDigests   byte = 6  // digests of the table's blocks
	ctlOffer     byte = 7  // the loser of a fork has records to offer
	ctlOfferOK   byte = 8  // the winner takes offers, or has taken all
	ctlTableEnd  byte = 9  // all that the disks remember was sent before this
	ctlNames     byte = 10 // names of node IDs, for what follows
	ctlPast      byte = 11 // claims that disks remember
	ctlMarks     byte = 12 // acknowledged marks, for a backup that answers stale reads
	ctlSettings  byte = 13 // shard.Settings
	ctlRenew     byte = 14 // read leases are good for longer
	ctlFare      byte = 15 // how long the slowest hundredth of the sender's calls took, in nanoseconds
	ctlGather    byte = 16 // slots recovered by the sender, and under which epoch: has the other side anything to offer?
	ctlGathered  byte = 17 // slots to which the sender has nothing to offer
	ctlOwn       byte = 18 // node IDs that the disk of the sender was used under
	ctlForgo     byte = 19 // the sender can store nothing any more; slots whose copies there lack something
	ctlAround    byte = 20 // when were these nodes heard of?
	ctlHeard     byte = 21 // how long before ctlAround they were
	ctlClaims    byte = 23 // claims in force; none: the whole table was sent before this
	ctlStepDown  byte = 22 // the sender is about to be away for a while, and no copy there is to be waited for
)

// fields reads what a control body is made of.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) num() uint64 {
	v, w := binary.Uvarint(f.b)
	if w <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[w:]
	return v
}

func (f *fields) id() (id shard.NodeID, ok bool) {
	if copy(id[:], f.b) < len(id) {
		f.bad, f.b = true, nil
		return id, false
	}
	f.b = f.b[len(id):]
	return id, true
}

func (f *fields) more() bool { return !f.bad && len(f.b) > 0 }

func body(kind byte, nums ...uint64) []byte {
	b := append(make([]byte, 0, 1+len(nums)*5), kind)
	for _, v := range nums {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func claimsBody(claims []*shard.Claim) []byte { return shard.AppendClaims([]byte{ctlClaims}, claims) }

// sendClaims sends a claimsBody. Earlier releases take claims from the data stream.
func (n *Node) sendClaims(tp *transport.Peer, body []byte) error {
	if !n.speaks(tp, protoClaims) {
		return tp.SendClaims(body[1:])
	}
	return tp.SendControl(body)
}

func settleBody(slots []uint16, epochs map[uint16]uint64) []byte {
	b := []byte{ctlSettle}
	for _, no := range slots {
		b = binary.AppendUvarint(b, uint64(no))
		b = binary.AppendUvarint(b, epochs[no])
	}
	return b
}

func (n *Node) sendControl(to shard.NodeID, b []byte) {
	n.peer(to).control(b)
}

// Control takes in what came on a control stream. (transport.Handler)
func (n *Node) Control(tp *transport.Peer, b []byte) {
	if len(b) == 0 {
		return
	}
	id := shard.NodeID(tp.ID())
	f := fields{b: b[1:]}
	switch b[0] {
	case ctlMessages:
		ms, err := shard.DecodeMessages(f.b)
		if err != nil {
			n.log.Warn("peer sent a malformed message", "peer", id, "err", err)
			return
		}
		if p := n.peer(id); p.up.Load() {
			p.heardAt.Store(n.now()) // an earlier release's heartbeats stand in line behind these
		}
		n.post(event{kind: evMessages, id: id, messages: ms})
	case ctlBeat:
		n.onBeat(tp, id, &f)
	case ctlBeatReply:
		n.onBeatReply(id, &f)
	case ctlSettle:
		for f.more() {
			if no, epoch := f.num(), f.num(); !f.bad && no < shard.Slots {
				n.report(id, uint16(no), epoch)
			}
		}
	case ctlCopy:
		no, session, what := f.num(), f.num(), f.num()
		if !f.bad && no < shard.Slots {
			n.onCopyWord(id, uint16(no), session, what, &f)
		}
	case ctlDigests:
		n.onDigests(tp, &f)
	case ctlOffer:
		no := f.num()
		if cl, rest, err := shard.DecodeClaim(f.b); err == nil && !f.bad && no == uint64(cl.Slot) {
			since := fields{b: rest} // peers of before send none: 0
			n.post(event{kind: evOffer, slot: cl.Slot, id: id, epoch: since.num(), claims: []*shard.Claim{cl}})
		}
	case ctlOfferOK:
		no, session, what := f.num(), f.num(), f.num()
		if !f.bad && no < shard.Slots {
			n.onOfferWord(id, uint16(no), session, what)
		}
	case ctlNames:
		n.membersMu.Lock()
		n.takeNames(&f)
		n.membersMu.Unlock()
	case ctlOwn:
		n.onOwn(id, f.b)
	case ctlPast:
		n.onPast(f.b)
	case ctlMarks:
		n.onMarks(id, &f)
	case ctlSettings:
		n.onSettings(id, f.b)
	case ctlRenew:
		n.onRenew(id, &f)
	case ctlFare:
		if slowest := f.num(); !f.bad {
			n.pacer.hear(n.now(), id, float64(slowest))
		}
	case ctlGather:
		n.onGather(id, &f)
	case ctlGathered:
		n.onGathered(id, &f)
	case ctlForgo:
		n.onForgo(id, &f)
	case ctlAround:
		n.onAround(tp, &f)
	case ctlHeard:
		n.onHeard(id, &f)
	case ctlClaims:
		if n.speaks(tp, protoClaims) {
			n.Claims(tp, f.b)
		}
	case ctlStepDown:
		n.onStepDown(id)
	case ctlTableEnd:
		n.peer(id).pastSeen.Store(true)
		n.poke()
	}
}
