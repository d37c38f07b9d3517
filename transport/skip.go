package transport

import (
	"encoding/binary"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// skip passes over n values of any type, which a later release added to a
// record. It counts instead of recursing, as the library's Skip does, so that
// deep nesting cannot exhaust the stack.
func (d *decoder) skip(n int) {
	for ; n > 0 && d.err == nil; n-- {
		size, inner := d.extent()
		if rest := len(d.src.b) - d.src.off; size > rest || inner > rest {
			d.fail("value of %d bytes and %d parts in %d", size, inner, rest)
			return
		}
		d.src.off += size
		n += inner
	}
}

// extent reads a value's code and length: how many bytes follow, and how many
// values it contains.
func (d *decoder) extent() (size, inner int) {
	c := byte(d.length(1))
	switch {
	case msgpcode.IsFixedNum(c), c == msgpcode.Nil, c == msgpcode.False, c == msgpcode.True:
		return 0, 0
	case msgpcode.IsFixedMap(c):
		return 0, 2 * int(c&msgpcode.FixedMapMask)
	case msgpcode.IsFixedArray(c):
		return 0, int(c & msgpcode.FixedArrayMask)
	case msgpcode.IsFixedString(c):
		return int(c & msgpcode.FixedStrMask), 0
	}
	switch c {
	case msgpcode.Uint8, msgpcode.Int8:
		return 1, 0
	case msgpcode.Uint16, msgpcode.Int16:
		return 2, 0
	case msgpcode.Uint32, msgpcode.Int32, msgpcode.Float:
		return 4, 0
	case msgpcode.Uint64, msgpcode.Int64, msgpcode.Double:
		return 8, 0
	case msgpcode.Str8, msgpcode.Bin8:
		return d.length(1), 0
	case msgpcode.Str16, msgpcode.Bin16:
		return d.length(2), 0
	case msgpcode.Str32, msgpcode.Bin32:
		return d.length(4), 0
	case msgpcode.Array16:
		return 0, d.length(2)
	case msgpcode.Array32:
		return 0, d.length(4)
	case msgpcode.Map16:
		return 0, 2 * d.length(2)
	case msgpcode.Map32:
		return 0, 2 * d.length(4)
	case msgpcode.FixExt1:
		return 2, 0
	case msgpcode.FixExt2:
		return 3, 0
	case msgpcode.FixExt4:
		return 5, 0
	case msgpcode.FixExt8:
		return 9, 0
	case msgpcode.FixExt16:
		return 17, 0
	case msgpcode.Ext8:
		return 1 + d.length(1), 0
	case msgpcode.Ext16:
		return 1 + d.length(2), 0
	case msgpcode.Ext32:
		return 1 + d.length(4), 0
	}
	d.fail("code %#x", c)
	return 0, 0
}

// length reads a big-endian number of n bytes.
func (d *decoder) length(n int) int {
	rest := d.src.b[d.src.off:]
	if len(rest) < n {
		d.fail("cut off in a length")
		return 0
	}
	d.src.off += n
	var b [8]byte
	copy(b[8-n:], rest[:n])
	return int(binary.BigEndian.Uint64(b[:]))
}
