package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Ballot is an epoch and the node it was promised to.
type Ballot struct {
	Epoch uint64
	To    NodeID
}

// MsgKind says what a Message is. Values are part of the wire format.
type MsgKind uint8

const (
	MsgFence        MsgKind = 1 // promise Epoch to me, and say what you accepted
	MsgFenceReply   MsgKind = 2
	MsgAccept       MsgKind = 3 // accept Claim
	MsgAcceptReply  MsgKind = 4
	MsgInvite       MsgKind = 5 // I fenced myself at Epoch for you: promote yourself
	MsgInForce      MsgKind = 6 // Known is in force and succeeds you
	MsgInForceReply MsgKind = 7
)

// Message is what the Cores of two nodes say to each other about one slot.
type Message struct {
	Kind  MsgKind
	Slot  uint16
	Epoch uint64 // fence, invite: the ballot; accept and its reply: the claim's
	Rev   uint32 // accept and its reply: the claim's
	// Seat is the group member that is asked, and answers. A node restarted
	// with its disk answers for the seats it had.
	Seat NodeID
	OK   bool // replies
	// NoSeat, in a reply: the asked node has no memory of that seat.
	NoSeat bool
	// Busy, in a refusal: a lease or an unfinished copy stands against it now.
	Busy bool
	// Careful, in a fence: its sender does not hear the primary to be succeeded,
	// and others do. Whoever hears it refuses.
	Careful  bool
	Promised Ballot // replies: the highest promise
	// Claim is the one to accept; in replies the newest accepted. Known is the newest
	// in force that the sender knows. Consents have neither where the question had it.
	Claim, Known *Claim
}

// ErrMessage means that bytes are no message or claim of this protocol.
var ErrMessage = errors.New("shard: malformed message")

// maxMessages bounds a batch: one message of each kind for every slot.
const maxMessages = 8 * Slots

// AppendMessages appends the wire form of a batch.
func AppendMessages(dst []byte, ms []Message) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ms)))
	for i := range ms {
		m := &ms[i]
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0) // length, so that unknown trailing fields are skipped
		var flags byte
		for bit, on := range []bool{m.OK, m.NoSeat, m.Busy, m.Claim != nil, m.Known != nil, m.Careful} {
			if on {
				flags |= 1 << bit
			}
		}
		dst = append(dst, byte(m.Kind), flags)
		dst = binary.AppendUvarint(dst, uint64(m.Slot))
		dst = binary.AppendUvarint(dst, m.Epoch)
		dst = binary.AppendUvarint(dst, uint64(m.Rev))
		dst = append(dst, m.Seat[:]...)
		dst = binary.AppendUvarint(dst, m.Promised.Epoch)
		dst = append(dst, m.Promised.To[:]...)
		if m.Claim != nil {
			dst = m.Claim.Append(dst)
		}
		if m.Known != nil {
			dst = m.Known.Append(dst)
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}

// DecodeMessages reads a batch.
func DecodeMessages(b []byte) ([]Message, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > maxMessages || n > uint64(len(b)) {
		return nil, fmt.Errorf("%w: batch size", ErrMessage)
	}
	b = b[w:]
	ms := make([]Message, 0, n)
	for range n {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: truncated batch", ErrMessage)
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: truncated message", ErrMessage)
		}
		m, err := decodeMessage(b[:size])
		if err != nil {
			return nil, err
		}
		ms, b = append(ms, m), b[size:]
	}
	return ms, nil
}

func decodeMessage(b []byte) (m Message, err error) {
	r := reader{b: b}
	m.Kind = MsgKind(r.byte())
	flags := r.byte()
	slot := r.uvarint()
	m.Epoch = r.uvarint()
	rev := r.uvarint()
	r.id(&m.Seat)
	m.Promised.Epoch = r.uvarint()
	r.id(&m.Promised.To)
	if r.bad || slot >= Slots || rev > 1<<32-1 || m.Epoch > MaxEpoch || m.Promised.Epoch > MaxEpoch {
		return m, fmt.Errorf("%w: kind %d", ErrMessage, m.Kind)
	}
	m.Slot, m.Rev = uint16(slot), uint32(rev)
	m.OK, m.NoSeat, m.Busy, m.Careful = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&32 != 0
	rest := r.b
	for bit, dst := range []**Claim{&m.Claim, &m.Known} {
		if flags&(8<<bit) == 0 {
			continue
		}
		if *dst, rest, err = DecodeClaim(rest); err != nil {
			return m, fmt.Errorf("%w: %w", ErrMessage, err)
		}
		if (*dst).Slot != m.Slot {
			return m, fmt.Errorf("%w: claim of another slot", ErrMessage)
		}
	}
	if m.Kind == MsgAccept && m.Claim == nil {
		return m, fmt.Errorf("%w: accept without a claim", ErrMessage)
	}
	return m, nil
}

// reader takes fields off a buffer; bad stays true after the first failure.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) id(dst *NodeID) {
	if len(r.b) < len(dst) {
		r.bad = true
		return
	}
	copy(dst[:], r.b)
	r.b = r.b[len(dst):]
}
