package node

import (
	"encoding/binary"
	"strings"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Scan asks for a page of a slot's items.
type Scan struct {
	After    store.Cursor
	Prefix   string
	Glob     string // "" matches all
	Tag      string // with ByTag: only keys of this hash tag
	ByTag    bool
	KeysOnly bool
	Absent   bool // records that say that a key has no value too
	Small    bool // stop before a value that fills a page by itself
	Limit    int  // items, at most maxPage
}

// ScanItem is one of a page.
type ScanItem struct {
	Key     string
	Value   []byte
	Version uint64
	Expiry  int64
	Schema  uint32
}

const (
	maxPage     = 4096
	pageBytes   = 64 << 10
	pageRecords = 16 << 10 // looked at for one page
	maxPattern  = 64 << 10
)

const (
	scanByTag    = 1
	scanKeysOnly = 2
	scanAbsent   = 4
	scanStarted  = 8
	scanSmall    = 16
)

// Call returns the call that asks.
func (q *Scan) Call(slot uint16) Call {
	flags := uint64(0)
	for bit, on := range map[uint64]bool{scanByTag: q.ByTag, scanKeysOnly: q.KeysOnly, scanAbsent: q.Absent, scanStarted: q.After.Started, scanSmall: q.Small} {
		if on {
			flags |= bit
		}
	}
	b := binary.AppendUvarint(nil, flags)
	b = binary.AppendUvarint(b, uint64(max(q.Limit, 1)))
	b = packString(b, q.Prefix)
	b = packString(b, q.Glob)
	b = packString(b, q.Tag)
	b = packCursor(b, q.After)
	return Call{Op: transport.OpScan, Slot: slot, Value: b}
}

func packCursor(b []byte, c store.Cursor) []byte {
	b = binary.AppendUvarint(b, c.Hash)
	b = binary.AppendUvarint(b, uint64(c.Kind))
	b = packString(b, c.Key)
	return packString(b, c.Field)
}

func (f *fields) cursor(started bool) store.Cursor {
	return store.Cursor{Hash: f.num(), Kind: uint8(f.num()), Key: f.text(transport.MaxKey), Field: f.text(transport.MaxKey), Started: started}
}

func (q *Scan) unpack(b []byte) bool {
	f := fields{b: b}
	flags := f.num()
	q.ByTag, q.KeysOnly = flags&scanByTag != 0, flags&scanKeysOnly != 0
	q.Absent, q.Small = flags&scanAbsent != 0, flags&scanSmall != 0
	q.Limit = int(min(f.num(), maxPage))
	q.Prefix, q.Glob, q.Tag = f.text(maxPattern), f.text(maxPattern), f.text(transport.MaxKey)
	q.After = f.cursor(flags&scanStarted != 0)
	return !f.bad && q.Limit > 0
}

func (q *Scan) wants(key string) bool {
	return strings.HasPrefix(key, q.Prefix) && (q.Glob == "" || MatchGlob(q.Glob, key)) && (!q.ByTag || hashtag.Tag(key) == q.Tag)
}

// UnpackPage reads what a Scan's Result.Value holds. Keys and values are the
// caller's own.
func UnpackPage(b []byte) (items []ScanItem, next store.Cursor, done, ok bool) {
	f := fields{b: b}
	done = f.num() == 1
	next = f.cursor(true)
	for f.more() {
		it := ScanItem{Key: f.text(transport.MaxKey), Version: f.num(), Expiry: int64(f.num()), Schema: uint32(f.num())}
		it.Value = append([]byte{}, f.bytes(len(f.b))...)
		items = append(items, it)
	}
	return items, next, done, !f.bad
}

// scan reads a page of a slot. Like a read it needs the leases, and waits
// until all that it saw, or saw deleted, is acknowledged.
func (n *Node) scan(c *Call, r *Result, done func(error)) error {
	var q Scan
	if !q.unpack(c.Value) {
		return ErrInvalid
	}
	s := &n.slots[c.Slot]
	sv := s.serving.Load()
	if sv == nil {
		return n.notServing(s)
	}
	now := n.slotTime(n.env.Now())
	var items []byte
	count, seen := 0, 0
	last, short := q.After, false // the record before, and that the page ends there
	next, end, err := n.engine.Range(c.Slot, q.After, func(rec store.Record) bool {
		seen++
		absent := rec.Schema&SchemaAbsent != 0
		if rec.Kind == 0 && !rec.Tombstone && (rec.Expiry == 0 || rec.Expiry > now) && (!absent || q.Absent) && q.wants(rec.Key) {
			if q.KeysOnly {
				rec.Value = nil
			}
			if short = q.Small && len(rec.Value) > pageBytes; short {
				return false
			}
			count++
			items = packString(items, rec.Key)
			items = binary.AppendUvarint(items, rec.Version)
			items = binary.AppendUvarint(items, uint64(rec.Expiry))
			items = binary.AppendUvarint(items, uint64(rec.Schema))
			items = packBytes(items, rec.Value)
		}
		last = store.Cursor{Kind: rec.Kind, Key: rec.Key, Field: rec.Field}
		return count < q.Limit && len(items) < pageBytes && seen < pageRecords
	})
	if err != nil {
		return engineError(err)
	}
	if short {
		if next, end = last, false; seen > 1 {
			next.Hash = store.Hash(last.Kind, last.Key, last.Field)
		}
	}
	*r = Result{Found: true}
	flag := byte(0)
	if end {
		flag = 1
	}
	r.Value = append(packCursor([]byte{flag}, next), items...)
	s.mu.Lock()
	defer s.mu.Unlock()
	// What was read is of this node's licence if that still holds: the records
	// may have been another generation's, or another's to answer for.
	if now := s.serving.Load(); now == nil || now.claim.Epoch != sv.claim.Epoch || !n.licensed(now, n.env.Now()) {
		return errNotYet
	}
	if s.last <= s.acked.Load() {
		done(nil)
		return nil
	}
	s.insertWaiterLocked(s.last, func(err error) {
		if err != nil {
			err = errNotYet
		}
		done(err)
	})
	return nil
}

// scanJob is a peer's scan: it may wait for a disk, which the reader of a
// stream must not.
type scanJob struct {
	call Call
	r    *Result
	done func(error)
}

const maxScans = 1024 // of peers, waiting

// scanLoop runs the scans of peers; it ends when n.stop closes.
func (n *Node) scanLoop() {
	for {
		select {
		case j := <-n.scans:
			if err := n.scan(&j.call, j.r, j.done); err != nil {
				j.done(err)
			}
		case <-n.stop:
			return
		}
	}
}

func (n *Node) queueScan(c *Call, r *Result, done func(error)) error {
	j := &scanJob{*c, r, done}
	j.call.Value = append([]byte(nil), c.Value...)
	select {
	case n.scans <- j:
		return nil
	default:
		return ErrOverloaded
	}
}
