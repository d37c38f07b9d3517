package pebblestore

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/slotmesh/slotmesh/store"
)

// Keys on disk begin with the byte of their room:
//
//	d slot 2, generation 4, hash 8, kind 1, key escaped, field   a record
//	m name                                                       a value of SetMeta
//	h slot 2                                                     the highest version written of a slot
//	s slot 2                                                     a slot's current generation and its highest version then
//	v                                                            the format version
//
// so that a slot is one range, a generation of it too, and records lie in the
// order of Engine.Range. A slot without an s is of generation 0.
const (
	roomData    = 'd'
	roomMark    = 'h'
	roomMeta    = 'm'
	roomSlot    = 's'
	roomVersion = 'v'
)

// formatVersion is what this release writes and reads.
const formatVersion = 2

var (
	versionKey = []byte{roomVersion}
	errShort   = errors.New("record is cut short")
)

// generation numbers the copies of a slot on disk.
type generation uint32

// slotPrefix begins the keys of all generations of a slot.
func slotPrefix(slot uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{roomData}, slot)
}

// genPrefix begins the keys of one generation.
func genPrefix(dst []byte, slot uint16, gen generation) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, roomData), slot)
	return binary.BigEndian.AppendUint32(dst, uint32(gen))
}

// after is the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return []byte{0xFF}
}

// hashKey is the first key of a hash.
func hashKey(dst []byte, slot uint16, gen generation, hash uint64) []byte {
	return binary.BigEndian.AppendUint64(genPrefix(dst, slot, gen), hash)
}

// A key's zero bytes are escaped and it ends with one, so that keys sort as
// their parts do.
const (
	escaped = 0xFF
	ended   = 0x01
)

func dataKey(dst []byte, slot uint16, gen generation, kind uint8, key, field string) []byte {
	return placeKey(dst, slot, gen, store.Hash(kind, key, field), kind, key, field)
}

func placeKey(dst []byte, slot uint16, gen generation, hash uint64, kind uint8, key, field string) []byte {
	dst = append(hashKey(dst, slot, gen, hash), kind)
	for {
		i := strings.IndexByte(key, 0)
		if i < 0 {
			break
		}
		dst = append(append(dst, key[:i]...), 0, escaped)
		key = key[i+1:]
	}
	dst = append(append(dst, key...), 0, ended)
	return append(dst, field...)
}

// place is a decoded data key.
type place struct {
	slot       uint16
	gen        generation
	hash       uint64
	kind       uint8
	key, field string
}

func parseKey(k []byte) (p place, err error) {
	if len(k) < 16 || k[0] != roomData {
		return p, errShort
	}
	p.slot, p.gen = binary.BigEndian.Uint16(k[1:]), generation(binary.BigEndian.Uint32(k[3:]))
	p.hash, p.kind = binary.BigEndian.Uint64(k[7:]), k[15]
	var key []byte
	for i := 16; i+1 < len(k); i++ {
		if k[i] != 0 {
			key = append(key, k[i])
			continue
		}
		if k[i+1] == ended {
			p.key, p.field = string(key), string(k[i+2:])
			return p, nil
		}
		key = append(key, 0)
		i++
	}
	return p, errShort
}

// A record on disk:
//
//	flags 1 | version 8 | sum 4 | expiry 8, origin 8, schema 4, where flagged | value
const (
	flagTombstone = 1 << iota
	flagExpiry
	flagOrigin
	flagSchema
)

const fixedSize = 13

func appendRecord(dst []byte, r *store.Record) []byte {
	le := binary.LittleEndian
	var flags uint8
	if r.Origin != 0 && r.Origin != r.Version {
		flags |= flagOrigin
	}
	switch {
	case r.Tombstone:
		flags |= flagTombstone
	default:
		if r.Expiry != 0 {
			flags |= flagExpiry
		}
		if r.Schema != 0 {
			flags |= flagSchema
		}
	}
	dst = le.AppendUint64(append(dst, flags), r.Version)
	dst = le.AppendUint32(dst, r.Sum())
	if flags&flagExpiry != 0 {
		dst = le.AppendUint64(dst, uint64(r.Expiry))
	}
	if flags&flagOrigin != 0 {
		dst = le.AppendUint64(dst, r.Origin)
	}
	if flags&flagSchema != 0 {
		dst = le.AppendUint32(dst, r.Schema)
	}
	if r.Tombstone {
		return dst
	}
	return append(dst, r.Value...)
}

// parseRecord decodes all but the address. The value aliases v.
func parseRecord(v []byte) (r store.Record, sum uint32, err error) {
	le := binary.LittleEndian
	if len(v) < fixedSize {
		return r, 0, errShort
	}
	flags := v[0]
	r.Version, sum = le.Uint64(v[1:]), le.Uint32(v[9:])
	r.Tombstone = flags&flagTombstone != 0
	v = v[fixedSize:]
	take := func(n int) []byte {
		if len(v) < n {
			err = errShort
			return make([]byte, n)
		}
		b := v[:n]
		v = v[n:]
		return b
	}
	if flags&flagExpiry != 0 {
		r.Expiry = int64(le.Uint64(take(8)))
	}
	if flags&flagOrigin != 0 {
		r.Origin = le.Uint64(take(8))
	}
	if flags&flagSchema != 0 {
		r.Schema = le.Uint32(take(4))
	}
	if !r.Tombstone {
		r.Value = v
	}
	return r, sum, err
}

// versionOf is the version of an encoded record.
func versionOf(v []byte) (uint64, error) {
	if len(v) < fixedSize {
		return 0, errShort
	}
	return binary.LittleEndian.Uint64(v[1:]), nil
}

func markKey(slot uint16) []byte { return binary.BigEndian.AppendUint16([]byte{roomMark}, slot) }

func slotKey(slot uint16) []byte { return binary.BigEndian.AppendUint16([]byte{roomSlot}, slot) }

func slotValue(gen generation, highest uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, uint32(gen)), highest)
}

func parseSlotValue(v []byte) (gen generation, highest uint64, err error) {
	if len(v) != 12 {
		return 0, 0, errShort
	}
	return generation(binary.LittleEndian.Uint32(v)), binary.LittleEndian.Uint64(v[4:]), nil
}

func metaKey(name string) []byte { return append([]byte{roomMeta}, name...) }
