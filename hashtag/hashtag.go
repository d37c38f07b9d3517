// Package hashtag says which slot a key belongs to.
//
// The rules are those of the Redis Cluster specification, so that a key has
// the slot here that it has there. Keys with the same hash tag, the part
// between braces, share a slot: "{user1000}.following" and
// "{user1000}.followers" do. The package knows nothing but bytes.
package hashtag

import (
	"strings"
	"unsafe"

	"github.com/slotmesh/slotmesh/internal/keyspace"
)

// Slots is the number of slots: 16384.
const Slots = keyspace.Slots

// Slot returns the slot of key, in [0, Slots). It does not allocate.
//
// It is CRC16/XMODEM (polynomial 0x1021, initial value 0) of Tag(key), modulo
// 16384: "foo" is 12182.
func Slot(key string) uint16 { return crc16(Tag(key)) % Slots }

// SlotBytes is Slot for a key held as bytes. It does not allocate and does not
// keep key.
func SlotBytes(key []byte) uint16 {
	// The string lives no longer than this call, in which nothing writes to key.
	return Slot(unsafe.String(unsafe.SliceData(key), len(key)))
}

// Tag returns the part of key that is hashed: what stands between the first
// '{' and the first '}' after it, or all of key where that is empty or a brace
// is missing. So the tag of "{}{a}" is "{}{a}", and that of "foo{{bar}}zap" is
// "{bar".
func Tag(key string) string {
	open := strings.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	rest := key[open+1:]
	if end := strings.IndexByte(rest, '}'); end > 0 {
		return rest[:end]
	}
	return key
}
