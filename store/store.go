// Package store keeps the records of slots.
//
// An Engine is addressed by (slot, kind, key, field) and decides nothing: the
// version of a record, whether it has expired, what is evicted and when a
// tombstone may go are its caller's decisions. Its one rule is that of two
// records of one address the one with the higher version stays.
//
// An Engine is safe for concurrent use. Writes to one slot are ordered by its
// caller; reads, ranges and writes to other slots may run beside them.
package store

import (
	"errors"

	"github.com/slotmesh/slotmesh/internal/keyspace"
)

// Slots is the number of slots an Engine is addressed by: [0, Slots), of 16384.
const Slots = keyspace.Slots

var (
	// ErrClosed means that the engine was closed.
	ErrClosed = errors.New("store: engine is closed")
	// ErrNoMemory means that a record does not fit within the byte limit.
	ErrNoMemory = errors.New("store: no memory for the record")
	// ErrTooLarge means that a record is larger than the engine can ever hold, or one
	// of more than 16,000 whose addresses were made to have hashes that begin alike.
	ErrTooLarge = errors.New("store: record is too large")
	// ErrGeneration means that the generation named is not the slot's open one.
	ErrGeneration = errors.New("store: no such generation")
	// ErrParked means that a durable engine stopped after a failed disk
	// operation; the error that wraps it names the cause.
	ErrParked = errors.New("store: engine is parked after a disk error")
)

// Record is one stored value or tombstone. Strings and Value that a caller
// passes in are copied; those an Engine passes out are the receiver's only
// until the callback returns, unless the method says otherwise.
type Record struct {
	Kind      uint8 // part of the address; what kinds mean is the caller's affair
	Key       string
	Field     string
	Value     []byte
	Tombstone bool   // a deleted record; Value is empty
	Label     uint8  // what it was written for, to those who are told of the write; an Engine does not keep it
	Version   uint64 // greater than 0
	Origin    uint64 // version it was first written under; 0 means Version
	Expiry    int64  // Unix milliseconds from which on it is expired; 0 means never. Above 2^47 it counts as that.
	Schema    uint32 // codec and schema number of the value; 0 means raw bytes
}

// State says what Get found.
type State uint8

const (
	Absent      State = iota // nothing is known of the address; Version is 0
	Deleted                  // a tombstone; Version is the tombstone's
	Expired                  // a record whose expiry is not after now; Version is the record's
	Found                    // a value
	NotResident              // a value that is on disk only; Fetch brings it back
)

// Item is what Get and Update see of an address.
type Item struct {
	State   State
	Value   []byte // Found only
	Version uint64
	Origin  uint64 // 0 means Version
	Expiry  int64
	Schema  uint32
}

// Address names a record.
type Address struct {
	Slot       uint16
	Kind       uint8
	Key, Field string
}

// Candidate is a record that Victims or Expired proposes for a versioned
// delete. It may have changed since: its caller compares Version.
type Candidate struct {
	Address
	Version uint64
	Hash    uint64 // of the address
	// Unloaded says that the record is on disk only and Key, Field and Kind
	// are not known here. A durable engine fills them in; its callers never
	// see it set.
	Unloaded bool
}

// Cursor is a place in the order of a slot's records: records are ordered by
// Hash of their address, then by kind, key and field. The zero Cursor is the
// beginning.
type Cursor struct {
	Hash       uint64
	Kind       uint8
	Key, Field string
	Started    bool // false: the beginning, whatever the other fields say
}

// SlotStats counts one slot, tombstones included.
type SlotStats struct {
	Records    int
	Tombstones int
	Bytes      int64 // memory charged to the slot, overhead included
}

// Stats counts a whole engine.
type Stats struct {
	Records    int
	Tombstones int
	Bytes      int64 // memory held, index, overhead and free space included
	Limit      int64 // 0: none
	DiskBytes  int64 // durable engines only
	DirtyBytes int64 // durable engines only: applied and not yet written to disk
}

// Digest sums up the records of a range; equal digests mean equal records
// (address, version, origin, expiry, value or tombstone), but for chance.
// Sums of disjoint ranges add up: it is a sum modulo 2^64 of record hashes.
type Digest struct {
	Sum     uint64
	Records int
}

// Generation numbers the copies of a slot being filled by a learner.
type Generation uint64

// Engine is one node's store.
type Engine interface {
	// Get looks an address up at slot time now (Unix milliseconds) and appends
	// a found value to dst; Item.Value is dst's extension alone. It waits for
	// no disk, but for the first use of a slot after a start.
	Get(dst []byte, slot uint16, kind uint8, key, field string, now int64) (Item, error)

	// Fetch is Get that waits for the disk where the value is not resident.
	Fetch(dst []byte, slot uint16, kind uint8, key, field string, now int64) (Item, error)

	// Apply stores records of one slot, all or none of them as seen by Get,
	// Range, and (for durable engines) by a restart. A record whose version is
	// not higher than the stored one's is left out.
	Apply(slot uint16, recs []Record) error

	// Update calls fn with what Get would see and stores the record it
	// returns, if any, with no other write to the address between. The item's
	// Value is valid until fn returns.
	Update(slot uint16, kind uint8, key, field string, now int64, fn func(Item) (Record, bool)) error

	// Range calls fn for the records of a slot (tombstones and expired ones
	// too) after cursor in order, until fn returns false or the slot ends. It
	// returns the place of the last record fn saw, and done at the slot's end.
	// Records present throughout are seen once; no lock is held while fn runs.
	// Keys and fields stay valid, values until fn returns.
	Range(slot uint16, after Cursor, fn func(Record) bool) (next Cursor, done bool, err error)

	// Digest of the slot's current records whose address hashes into [lo, hi];
	// of a whole slot (0, MaxUint64) it costs no scan.
	Digest(slot uint16, lo, hi uint64) (Digest, error)

	// Begin opens an empty generation of the slot, in place of one open
	// already. The slot's current records stay as they are until Commit.
	Begin(slot uint16) (Generation, error)
	// ApplyTo is Apply into an open generation.
	ApplyTo(slot uint16, gen Generation, recs []Record) error
	// Confirm takes the current records of the hash range [lo, hi] over into
	// the open generation (highest version wins there) if their digest equals
	// want, and reports whether it did.
	Confirm(slot uint16, gen Generation, lo, hi uint64, want Digest) (bool, error)
	// Commit makes the open generation the slot's records; all others go.
	Commit(slot uint16, gen Generation) error
	// Abort discards an open generation.
	Abort(slot uint16, gen Generation) error

	// Victims appends up to n records whose eviction the engine would miss
	// least among the slots that may names (nil: all).
	Victims(dst []Candidate, n int, may func(slot uint16) bool) []Candidate
	// Expired appends up to n records of the slots that may names whose expiry
	// is not after now(slot).
	Expired(dst []Candidate, n int, now func(slot uint16) int64, may func(slot uint16) bool) []Candidate
	// Purge removes the slot's tombstones of versions up to and including floor.
	Purge(slot uint16, floor uint64) error
	// Drop removes all records of the slot and its open generation, in time
	// proportional to that slot.
	Drop(slot uint16) error
	// MaxVersion is the highest version the slot holds or has held since it
	// was last dropped; 0 if none.
	MaxVersion(slot uint16) uint64

	SlotStats(slot uint16) SlotStats
	Stats() Stats
	// Short reports whether bytes more would not fit within the limit.
	Short(bytes int64) bool

	// SetMeta saves small values of the node's own (a nil value removes);
	// they are synced to disk, where there is one, when it returns, unless the
	// engine runs without fsync. All of the map, or nothing, is saved.
	SetMeta(map[string][]byte) error
	// Meta calls fn for every saved value whose name begins with prefix.
	Meta(prefix string, fn func(name string, value []byte) bool) error

	// Durable reports whether the engine survives its process.
	Durable() bool
	// OnDurable sets fn to be called, from a goroutine of the engine's that no write
	// waits for, with the highest version of a slot up to which all applied records are synced
	// to disk. An engine without a disk never calls it.
	OnDurable(fn func(slot uint16, version uint64))
	// OnParked sets fn to be called once when a failed disk operation ends all
	// writing: see ErrParked. It is called from the engine's own goroutine, or here
	// where that has been, and must not wait for the engine. An engine without a
	// disk never calls it.
	OnParked(fn func(cause error))
	// Sync returns when everything applied to the slot before is on disk.
	Sync(slot uint16) error

	// Close writes out what is dirty and frees the engine.
	Close() error
}
