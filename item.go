package slotmesh

import (
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Item is a value and what is known of it.
type Item struct {
	Key   string
	Value []byte // the caller's own, never nil
	// Version grows with every write of the key and is never used twice. It
	// is what IfVersion compares. 0 means that there is no such key.
	Version uint64
	// Expires is when the key goes, to the millisecond and by the clock of
	// the slot's primary. The zero time means never.
	Expires time.Time
	// Source says where the item came from; SourceUnknown in what Scan yields,
	// transactions see and a loader of GetOrLoadMany gave.
	Source Source
	// Age is, of SourceStale, how long ago at most the value may have been
	// replaced or removed; 0 of all others, which are the present value.
	Age time.Duration
}

// Source says where an Item came from.
type Source uint8

const (
	SourceUnknown Source = 0
	SourceLocal   Source = 1 // this node is the slot's primary
	SourceRemote  Source = 2 // the slot's primary, another node
	SourceCopy    Source = 3 // the near cache here, under a read lease: see WithNearCache
	SourceStale   Source = 4 // a backup, this node: see AllowStale and Item.Age
)

func (s Source) String() string {
	switch s {
	case SourceLocal:
		return "local"
	case SourceRemote:
		return "remote"
	case SourceCopy:
		return "copy"
	case SourceStale:
		return "stale"
	}
	return "unknown"
}

func newItem(key string, r node.Result) Item {
	it := Item{Key: key, Value: r.Value, Version: r.Version, Source: SourceRemote}
	switch {
	case r.Age > 0:
		it.Source, it.Age = SourceStale, time.Duration(r.Age)
	case r.Near:
		it.Source = SourceCopy
	case r.Local:
		it.Source = SourceLocal
	}
	if it.Value == nil {
		it.Value = []byte{} // there, and empty
	}
	if r.Expiry != 0 {
		it.Expires = time.UnixMilli(r.Expiry)
	}
	return it
}
