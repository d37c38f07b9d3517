package gossip

import (
	"encoding/binary"
	"errors"
	"net"
)

// This file looks at what strangers send before memberlist's decoder does. A
// datagram of 200 random bytes behind the label can keep that decoder busy for
// seconds and have it allocate gigabytes, and a stream of 20 bytes can have it
// make room for a million nodes. With secrets nothing of a stranger's reaches
// the decoder, and none of this is needed.

// memberlist's message types that are told apart here.
const (
	typePushPull byte = 6
	typeCompound byte = 7
	typeUser     byte = 8
	typeCompress byte = 9
	typeEncrypt  byte = 10
	typeCRC      byte = 12
	typeLast     byte = 13
	typeLabel    byte = 244
)

const (
	maxMap      = 4 << 10        // bytes of one message's fields
	maxNodes    = 4 * MaxMembers // in a push/pull, the dead included
	labelHeader = 2              // bytes before the label
	crcHeader   = 5              // bytes
)

// screen is a rule for one cluster.
type screen struct {
	label    string
	maxState int // bytes of state in a push/pull, for which memberlist makes room beforehand
}

var errScreened = errors.New("gossip: malformed message")

// packet reports whether a datagram is well formed.
func (s *screen) packet(b []byte) bool {
	if len(b) < labelHeader || b[0] != typeLabel || int(b[1]) != len(s.label) {
		return false
	}
	b = b[labelHeader:]
	if len(b) <= len(s.label) || string(b[:len(s.label)]) != s.label {
		return false
	}
	b = b[len(s.label):]
	if b[0] == typeCRC {
		if len(b) <= crcHeader {
			return false
		}
		b = b[crcHeader:]
	}
	if b[0] == typeCompound {
		return compound(b[1:])
	}
	return message(b)
}

// compound is a count, two bytes of length for each part, and the parts.
func compound(b []byte) bool {
	if len(b) < 1 || len(b) < 1+2*int(b[0]) {
		return false
	}
	lengths, parts := b[1:1+2*int(b[0])], b[1+2*int(b[0]):]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		if n > len(parts) || !message(parts[:n]) {
			return false
		}
		parts = parts[n:]
	}
	return true
}

// message is a type and a map, or a user's bytes.
func message(b []byte) bool {
	switch {
	case len(b) < 1:
		return false
	case b[0] == typeUser:
		return true
	case b[0] > typeLast, b[0] == typePushPull, b[0] == typeCompound, b[0] == typeCompress, b[0] == typeEncrypt, b[0] == typeCRC:
		return false
	}
	return mapLen(b[1:], nil) > 0
}

// mapLen returns the length of the msgpack map of scalars that b begins with:
// 0 when b is too short to tell, -1 when it is something else. Numbers are
// given to field.
func mapLen(b []byte, field func(key string, n uint64)) int {
	if len(b) == 0 {
		return 0
	}
	if b[0]&0xf0 != 0x80 { // memberlist's have at most seven fields
		return -1
	}
	at := 1
	for range int(b[0] & 0x0f) {
		k := scalar(b[at:])
		if k.size <= 0 {
			return k.size
		}
		if k.text == nil {
			return -1
		}
		at += k.size
		v := scalar(b[at:])
		if v.size <= 0 {
			return v.size
		}
		at += v.size
		if field != nil && v.text == nil {
			field(string(k.text), v.number)
		}
	}
	return at
}

// value is a scalar: text or bytes, or a number, nil or bool. size is 0 when
// it is not complete and -1 when it is no scalar.
type value struct {
	size   int
	text   []byte
	number uint64
}

func scalar(b []byte) value {
	if len(b) == 0 {
		return value{}
	}
	text := func(header, n int) value {
		if n > maxMap {
			return value{size: -1}
		}
		if len(b) < header+n {
			return value{}
		}
		return value{size: header + n, text: b[header : header+n : header+n]}
	}
	number := func(bytes int) value {
		if len(b) < 1+bytes {
			return value{}
		}
		var n uint64
		for _, c := range b[1 : 1+bytes] {
			n = n<<8 | uint64(c)
		}
		return value{size: 1 + bytes, number: n}
	}
	switch c := b[0]; {
	case c <= 0x7f, c >= 0xe0: // small numbers
		return value{size: 1, number: uint64(c)}
	case c&0xe0 == 0xa0: // short text
		return text(1, int(c&0x1f))
	case c == 0xc0, c == 0xc2, c == 0xc3: // nil, false, true
		return value{size: 1}
	case c >= 0xcc && c <= 0xd3: // numbers of 1, 2, 4 or 8 bytes, without and with sign
		return number(1 << (c & 3))
	case c == 0xd9 || c == 0xc4:
		if len(b) < 2 {
			return value{}
		}
		return text(2, int(b[1]))
	case c == 0xda || c == 0xc5:
		if len(b) < 3 {
			return value{}
		}
		return text(3, int(binary.BigEndian.Uint16(b[1:])))
	}
	return value{size: -1}
}

// screenedConn screens what is read from a stream: a label where the other end
// dialed, a type, maps, and for the rest bytes whose number the first map says.
type screenedConn struct {
	net.Conn
	s       screen
	labeled bool // a label is still to come
	typed   bool // the type was read
	maps    int  // still to come
	raw     bool // what comes now is not looked at
	first   bool // the next map is the first
	pending []byte
	bad     bool
}

func (c *screenedConn) Read(b []byte) (int, error) {
	if c.bad {
		return 0, errScreened
	}
	n, err := c.Conn.Read(b)
	if n > 0 && !c.raw && !c.look(b[:n]) {
		c.bad = true
		return 0, errScreened
	}
	return n, err
}

// look reports whether b may follow what came before.
func (c *screenedConn) look(b []byte) bool {
	c.pending = append(c.pending, b...)
	for len(c.pending) > 0 && !c.raw {
		n := c.next()
		if n < 0 {
			return false
		}
		if n == 0 {
			return len(c.pending) <= maxMap+len(b)
		}
		c.pending = c.pending[n:]
	}
	if c.raw {
		c.pending = nil
	}
	return true
}

// next returns the length of the part that pending begins with, like mapLen.
func (c *screenedConn) next() int {
	switch b := c.pending; {
	case c.labeled:
		n := labelHeader + len(c.s.label)
		if b[0] != typeLabel || len(b) > 1 && int(b[1]) != len(c.s.label) {
			return -1
		}
		if len(b) < n {
			return 0
		}
		if string(b[labelHeader:n]) != c.s.label {
			return -1
		}
		c.labeled = false
		return n
	case !c.typed:
		if t := b[0]; t > typeLast || t == typeUser || t == typeCompound || t == typeCompress || t == typeEncrypt || t == typeCRC {
			return -1
		}
		c.typed, c.first, c.maps = true, true, 1
		return 1
	default:
		ok := true
		nodes := 0
		n := mapLen(b, func(key string, n uint64) {
			if !c.first {
				return
			}
			switch key {
			case "Nodes":
				ok = ok && n <= maxNodes
				nodes = int(min(n, maxNodes))
			case "UserStateLen":
				ok = ok && n <= uint64(c.s.maxState)
			}
		})
		if n <= 0 {
			return n
		}
		if !ok {
			return -1
		}
		if c.first {
			c.maps += nodes
		}
		c.first = false
		c.maps--
		c.raw = c.maps == 0
		return n
	}
}
