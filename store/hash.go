package store

import "github.com/cespare/xxhash/v2"

// Hash returns the hash of an address by which the records of a slot are
// ordered and digests are cut into ranges. It is the same on every node and
// in every release, and does not allocate.
//
// It is xxHash64 of the key; a field or a kind other than 0 are mixed in.
func Hash(kind uint8, key, field string) uint64 {
	h := xxhash.Sum64String(key)
	if kind == 0 && field == "" {
		return h
	}
	return mix(h + uint64(kind)*prime1 ^ mix(xxhash.Sum64String(field)+prime2))
}

const (
	prime1 = 0x9E3779B185EBCA87
	prime2 = 0xC2B2AE3D27D4EB4F
)

// mix is the finalizer of MurmurHash3.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Sum returns the 32-bit sum of what a record holds beside its address,
// version and expiry. An engine keeps it with the record, so that a digest
// needs neither the value nor a disk.
func (r *Record) Sum() uint32 {
	if r.Tombstone {
		return 0
	}
	h := xxhash.Sum64(r.Value)
	if r.Schema != 0 {
		h = mix(h + uint64(r.Schema)*prime1)
	}
	if r.Origin != 0 && r.Origin != r.Version {
		h = mix(h ^ r.Origin*prime2)
	}
	return uint32(h>>32) | 1 // never that of a tombstone
}

// RecordHash is what one record adds to a Digest: address is the Hash of its
// address and sum its Sum.
func RecordHash(address, version uint64, expiry int64, sum uint32) uint64 {
	return mix(mix(mix(address+prime1)^version) + uint64(expiry)*prime2 ^ uint64(sum)*prime1)
}
