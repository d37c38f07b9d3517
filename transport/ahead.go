package transport

import (
	"encoding/binary"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// aheadMost is how many messages of a batch the handler hears of at a time: their
// slots' memory has to fit into a processor's first cache, 32 KiB or more.
const aheadMost = 32

// ahead tells the handler which slots the next messages of a batch are for, but for
// requests to get. What it does not find it leaves out: the messages are decoded, and
// judged, when their turn comes.
func (s *session) ahead(batch []byte) {
	s.slots = s.slots[:0]
	for i := 0; i < aheadMost && len(batch) > 0; i++ {
		k, msg, rest, err := next(batch)
		if err != nil {
			break
		}
		if slot, ok := slotOf(k, msg); ok {
			s.slots = append(s.slots, slot)
		}
		batch = rest
	}
	if len(s.slots) > 1 {
		s.t.cfg.Handler.Ahead(s.slots)
	}
}

// slotOf finds a message's slot where it is written as our encoder writes it.
func slotOf(k kind, msg []byte) (uint16, bool) {
	if len(msg) < 3 || msg[0] != msgpcode.Array16 {
		return 0, false
	}
	fields, b := int(binary.BigEndian.Uint16(msg[1:])), msg[3:]
	switch {
	case (k == kindAppend || k == kindAck || k == kindChunk) && fields >= 1:
	case k == kindRequest && fields >= 3: // its ID and op come before
		if b = skipUint(b); len(b) == 0 || b[0] > msgpcode.PosFixedNumHigh || Op(b[0]) == OpGet {
			return 0, false
		}
		b = b[1:]
	default:
		return 0, false
	}
	switch {
	case len(b) > 0 && b[0] <= msgpcode.PosFixedNumHigh:
		return uint16(b[0]), true
	case len(b) > 1 && b[0] == msgpcode.Uint8:
		return uint16(b[1]), true
	case len(b) > 2 && b[0] == msgpcode.Uint16:
		return binary.BigEndian.Uint16(b[1:]), true
	}
	return 0, false
}

// skipUint returns what comes after an unsigned number; nil: there is none.
func skipUint(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	size := 1
	switch b[0] {
	case msgpcode.Uint8:
		size = 2
	case msgpcode.Uint16:
		size = 3
	case msgpcode.Uint32:
		size = 5
	case msgpcode.Uint64:
		size = 9
	default:
		if b[0] > msgpcode.PosFixedNumHigh {
			return nil
		}
	}
	if len(b) < size {
		return nil
	}
	return b[size:]
}
