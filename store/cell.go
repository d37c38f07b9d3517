package store

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// A record lies in one cell:
//
//	version 8 | sum 4 | flags 1 | kind 1 | key length 2 | value length 2
//	then, each where its flag is set: both lengths in 4 bytes each,
//	field length 4, expiry 6 and the wheel's mark 2, origin 8, schema 4
//	key, field, refs of the value's extents 8 each, the value's first bytes
//
// A value of 16 KiB or more lies mostly in extents: cells filled to the last
// byte, whose sizes follow from the value's length. An extent begins with the
// hash of its record's address, so that it can be moved.
const (
	flagTombstone = 1 << iota
	flagLong
	flagField
	flagExpiry
	flagOrigin
	flagSchema
	flagExtents
	flagStub
)

const fixedSize = 18

// headSizes maps the flags to the offset of the key.
var headSizes = func() (table [256]uint8) {
	for flags := range table {
		n := fixedSize
		for _, f := range []struct{ flag, size int }{{flagLong, 8}, {flagField, 4}, {flagExpiry, 8}, {flagOrigin, 8}, {flagSchema, 4}} {
			if flags&f.flag != 0 {
				n += f.size
			}
		}
		table[flags] = uint8(n)
	}
	return table
}()

// extentHead is the size of the hash in front of an extent's bytes.
const extentHead = 8

// extentSizes are the bytes that extents hold, whose cells are a page, a half,
// a quarter and an eighth.
var extentSizes = [4]int{pageSize - 16, pageSize/2 - 16, pageSize/4 - 16, pageSize/8 - 16}

// nextExtent returns the size of the first extent of the last n bytes of a
// value; 0: they lie in the record's cell.
func nextExtent(n int) int {
	for _, size := range extentSizes {
		if n >= size {
			return size
		}
	}
	return 0
}

// split returns how many bytes of a value of n lie in its record's cell, and
// in how many extents the rest lies.
func split(n int) (inline, extents int) {
	for size := nextExtent(n); size != 0; size = nextExtent(n) {
		n -= size
		extents++
	}
	return n, extents
}

// head is a decoded cell without its strings.
type head struct {
	version, origin    uint64
	expiry             int64
	sum, schema        uint32
	flags, kind        uint8
	mark               uint16 // of the wheel's bucket that names the record; 0: none
	klen, flen, vlen   int
	key, field, values int // offsets
	ahead              uint8
}

func (h *head) tombstone() bool { return h.flags&flagTombstone != 0 }
func (h *head) stub() bool      { return h.flags&flagStub != 0 }

// size returns the bytes of a cell without extents.
func (h *head) size() int { return h.values + h.vlen }

// parse decodes the head of a record or a stub.
func parse(c []byte) (h head) {
	le := binary.LittleEndian
	c = c[:fixedSize:cap(c)]
	h.version, h.sum, h.flags, h.kind = le.Uint64(c), le.Uint32(c[8:]), c[12], c[13]
	if h.flags&flagStub != 0 {
		return parseStub(c, h)
	}
	h.klen, h.vlen = int(le.Uint16(c[14:])), int(le.Uint16(c[16:]))
	h.key = fixedSize
	if h.flags&^flagTombstone != 0 {
		parseMore(c[:cap(c)], &h)
	}
	h.field = h.key + h.klen
	h.values = h.field + h.flen
	return h
}

func parseMore(c []byte, h *head) {
	le := binary.LittleEndian
	p := fixedSize
	if h.flags&flagLong != 0 {
		h.klen, h.vlen = int(le.Uint32(c[p:])), int(le.Uint32(c[p+4:]))
		p += 8
	}
	if h.flags&flagField != 0 {
		h.flen = int(le.Uint32(c[p:]))
		p += 4
	}
	if h.flags&flagExpiry != 0 {
		v := le.Uint64(c[p:])
		h.expiry, h.mark = int64(v<<16)>>16, uint16(v>>48)
		p += 8
	}
	if h.flags&flagOrigin != 0 {
		h.origin = le.Uint64(c[p:])
		p += 8
	}
	if h.flags&flagSchema != 0 {
		h.schema = le.Uint32(c[p:])
		p += 4
	}
	h.key = p
}

// setMark stores the wheel's mark into a record with an expiry.
func setMark(c []byte, flags uint8, mark uint16) {
	p := fixedSize
	if flags&flagLong != 0 {
		p += 8
	}
	if flags&flagField != 0 {
		p += 4
	}
	binary.LittleEndian.PutUint16(c[p+6:], mark)
}

// flagsOf returns the flags of a record's cell.
func flagsOf(r *Record) (flags uint8) {
	if len(r.Key) > 0xFFFF || len(r.Value) > 0xFFFF {
		flags |= flagLong
	}
	if r.Field != "" {
		flags |= flagField
	}
	if r.Origin != 0 && r.Origin != r.Version {
		flags |= flagOrigin
	}
	if r.Tombstone {
		return flags&^flagLong | flagTombstone | longKey(r)
	}
	if r.Expiry != 0 {
		flags |= flagExpiry
	}
	if r.Schema != 0 {
		flags |= flagSchema
	}
	if nextExtent(len(r.Value)) != 0 {
		flags |= flagExtents
	}
	return flags
}

func longKey(r *Record) uint8 {
	if len(r.Key) > 0xFFFF {
		return flagLong
	}
	return 0
}

// cellSize returns the bytes of the record's cell without the extents.
func cellSize(r *Record, flags uint8) int {
	n := int(headSizes[flags]) + len(r.Key) + len(r.Field)
	switch {
	case flags&flagTombstone != 0:
		return n
	case flags&flagExtents != 0:
		inline, extents := split(len(r.Value))
		return n + inline + 8*extents
	}
	return n + len(r.Value)
}

// encode writes a record's cell but for its extents, and returns their offset.
func encode(c []byte, r *Record, flags uint8, sum uint32) (extents int) {
	le := binary.LittleEndian
	vlen := len(r.Value)
	if r.Tombstone {
		vlen = 0
	}
	le.PutUint64(c, r.Version)
	le.PutUint32(c[8:], sum)
	c[12], c[13] = flags, r.Kind
	le.PutUint16(c[14:], uint16(len(r.Key)))
	le.PutUint16(c[16:], uint16(vlen))
	p := fixedSize
	if flags&flagLong != 0 {
		le.PutUint32(c[p:], uint32(len(r.Key)))
		le.PutUint32(c[p+4:], uint32(vlen))
		p += 8
	}
	if flags&flagField != 0 {
		le.PutUint32(c[p:], uint32(len(r.Field)))
		p += 4
	}
	if flags&flagExpiry != 0 {
		le.PutUint64(c[p:], uint64(expiryOf(r))<<16>>16)
		p += 8
	}
	if flags&flagOrigin != 0 {
		le.PutUint64(c[p:], r.Origin)
		p += 8
	}
	if flags&flagSchema != 0 {
		le.PutUint32(c[p:], r.Schema)
		p += 4
	}
	p += copy(c[p:], r.Key)
	p += copy(c[p:], r.Field)
	if vlen == 0 {
		return p
	}
	if flags&flagExtents == 0 {
		copy(c[p:], r.Value)
		return p
	}
	inline, n := split(vlen)
	copy(c[p+8*n:], r.Value[:inline])
	return p
}

// is reports whether the cell is that of an address. Stubs see stub.go.
func (h *head) is(m *Memory, c []byte, a *addr) bool {
	if h.stub() {
		return m.stubIs(c, a)
	}
	return h.kind == a.kind && h.klen == len(a.key) && h.flen == len(a.field) &&
		string(c[h.key:h.key+h.klen]) == a.key && (h.flen == 0 || string(c[h.field:h.field+h.flen]) == a.field)
}

// addr is an address within a slot with its hash.
type addr struct {
	hash       uint64
	kind       uint8
	key, field string
	// ahead is how far into a cell that find looks at a write will reach: it
	// reads there, so that the memory is on its way.
	ahead int
}

func addrOf(kind uint8, key, field string) addr {
	return addr{hash: Hash(kind, key, field), kind: kind, key: key, field: field}
}

// addr returns the address of a cell, whose strings alias it. A stub has a hash
// alone.
func (h *head) addr(c []byte, e entry) addr {
	if h.stub() {
		return addr{hash: e.tag()<<tagShift | stubHash(c)}
	}
	return addrOf(h.kind, alias(c[h.key:h.field]), alias(c[h.field:h.field+h.flen]))
}

// alias returns a string that shares b's memory.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// compare orders addresses as Range does.
func (a *addr) compare(b *addr) int {
	switch {
	case a.hash != b.hash:
		if a.hash < b.hash {
			return -1
		}
		return 1
	case a.kind != b.kind:
		return int(a.kind) - int(b.kind)
	case a.key != b.key:
		return strings.Compare(a.key, b.key)
	}
	return strings.Compare(a.field, b.field)
}
