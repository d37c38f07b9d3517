package slotmesh

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Cursor is a place in a scan: see ScanFrom. The zero Cursor is the beginning.
// It is good on every node and after every move of slots.
type Cursor struct {
	slot  int // 0 to 16384; the last is the end
	after store.Cursor
}

// Done reports whether the scan that it was used in came to its end.
func (c Cursor) Done() bool { return c.slot >= hashtag.Slots }

// String returns the cursor as text, for ParseCursor.
func (c Cursor) String() string {
	b := binary.AppendUvarint(nil, uint64(c.slot))
	if c.after.Started {
		b = binary.AppendUvarint(b, c.after.Hash)
		b = append(b, c.after.Kind)
		b = binary.AppendUvarint(b, uint64(len(c.after.Key)))
		b = append(append(b, c.after.Key...), c.after.Field...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// cursorHash is how many low bits of a hash Number leaves out, so that a slot's
// number and the rest take 63 bits.
const cursorHash = 15

// Number is the cursor as a number for protocols that have nothing else, as
// Redis's SCAN: CursorAt gives it back, rounded up to the next place that has a
// number. The zero Cursor and, which makes it the only ambiguous one, the end
// are 0. About one key in 2^49 shares its number with the key after it: a
// caller that stops between the two misses the second.
func (c Cursor) Number() uint64 {
	slot := uint64(c.slot)
	if c.after.Started {
		place := c.after.Hash>>cursorHash + 1
		if place < 1<<(64-cursorHash) {
			return place<<14 | slot
		}
		slot++
	}
	return slot % hashtag.Slots
}

// CursorAt is the cursor of a number. Every number is a place.
func CursorAt(number uint64) Cursor {
	c := Cursor{slot: int(number % hashtag.Slots)}
	if place := number / hashtag.Slots; place > 0 {
		c.after = store.Cursor{Hash: place << cursorHash, Started: true}
	}
	return c
}

// Slot is the number of the slot that the cursor is in; 16384 at the end.
func (c Cursor) Slot() int { return c.slot }

// ParseCursor reads what Cursor.String returned. Error: ErrInvalid.
func ParseCursor(text string) (Cursor, error) {
	fail := fmt.Errorf("%w: %.40q is no cursor", ErrInvalid, text)
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || text == "" {
		return Cursor{}, fail
	}
	slot, w := binary.Uvarint(b)
	if w <= 0 || slot > hashtag.Slots {
		return Cursor{}, fail
	}
	c := Cursor{slot: int(slot)}
	if b = b[w:]; len(b) == 0 {
		return c, nil
	}
	hash, w := binary.Uvarint(b)
	if w <= 0 || len(b) < w+2 || slot == hashtag.Slots { // nothing is behind the end
		return Cursor{}, fail
	}
	kind := b[w]
	b = b[w+1:]
	size, w := binary.Uvarint(b)
	if w <= 0 || size > uint64(len(b)-w) || size > maxKey || len(b)-w-int(size) > maxKey {
		return Cursor{}, fail
	}
	c.after = store.Cursor{Hash: hash, Kind: kind, Key: string(b[w : w+int(size)]), Field: string(b[w+int(size):]), Started: true}
	return c, nil
}

// ScanOption says what Scan yields.
type ScanOption func(*scanOptions)

type scanOptions struct {
	q      node.Scan
	slot   int // -1: all
	from   *Cursor
	faults faults
}

const (
	defaultPage = 256
	maxPageSize = 4096
)

// ScanPrefix yields keys that begin with prefix. Every slot is looked at all
// the same, unless ScanTag or ScanSlot names one.
func ScanPrefix(prefix string) ScanOption {
	return func(o *scanOptions) {
		o.q.Prefix = prefix
		o.faults.unless(len(prefix) <= maxKey, "ScanPrefix: %d bytes, want at most %d", len(prefix), maxKey)
	}
}

// ScanGlob yields keys that match pattern, of 1 to 65536 bytes: see MatchGlob.
func ScanGlob(pattern string) ScanOption {
	return func(o *scanOptions) {
		o.q.Glob = pattern
		o.faults.unless(pattern != "" && len(pattern) <= maxKey, "ScanGlob: a pattern of %d bytes, want 1 to %d", len(pattern), maxKey)
	}
}

// MatchGlob reports whether name matches pattern as in Redis: '*' stands for any
// bytes, '?' for one, "[abc]", "[a-c]" and "[^a-c]" for one of a set, and '\' takes the
// next byte literally. It matches the whole name. Every pattern means something: a set
// that is not closed ends with the pattern, where a last '\' is itself. The time is at
// most the product of the lengths.
func MatchGlob(pattern, name string) bool { return node.MatchGlob(pattern, name) }

// ScanKeysOnly leaves out the values.
func ScanKeysOnly() ScanOption { return func(o *scanOptions) { o.q.KeysOnly = true } }

// ScanTag yields keys of one hash tag, given with or without its braces. It
// looks at one slot.
func ScanTag(tag string) ScanOption {
	return func(o *scanOptions) {
		o.q.Tag, o.q.ByTag = hashtag.Tag(tag), true
		slot := int(hashtag.Slot(tag))
		o.faults.unless(o.slot < 0 || o.slot == slot, "ScanTag(%.40q) and ScanSlot(%d) exclude each other", tag, o.slot)
		o.slot = slot
	}
}

// ScanSlot yields the keys of one slot, 0 to 16383.
func ScanSlot(slot int) ScanOption {
	return func(o *scanOptions) {
		o.faults.unless(slot >= 0 && slot < hashtag.Slots, "ScanSlot(%d): want 0 to %d", slot, hashtag.Slots-1)
		o.faults.unless(o.slot < 0 || o.slot == slot, "ScanSlot(%d) and ScanTag exclude each other", slot)
		o.slot = slot
	}
}

// ScanPageSize sets how many items one answer holds at most, 1 to 4096,
// default 256. An answer of 64 KiB is full as well.
func ScanPageSize(n int) ScanOption {
	return func(o *scanOptions) {
		o.q.Limit = n
		o.faults.unless(n >= 1 && n <= maxPageSize, "ScanPageSize(%d): want 1 to %d", n, maxPageSize)
	}
}

// ScanFrom begins where at stands and moves it along: after each item it is
// behind that item, so that a scan which was broken off can go on, also in
// another process.
func ScanFrom(at *Cursor) ScanOption {
	return func(o *scanOptions) {
		o.from = at
		o.faults.unless(at != nil, "ScanFrom(nil)")
	}
}

func scanOptionsOf(opts []ScanOption) (scanOptions, error) {
	o := scanOptions{slot: -1, q: node.Scan{Limit: defaultPage}}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o, errors.Join(o.faults...)
}

// A scan asks for several slots at once, whose first pages are held in memory:
// a few in the beginning, since it may be left soon.
const (
	minWindow = 8
	maxWindow = 128
)

// Scan yields the items of the whole cluster, of a slot or of a tag, in no order
// that means anything. A key that exists all the time is yielded once, also
// while slots move; one that comes or goes meanwhile may be yielded or not.
// What is yielded was acknowledged. Together the items are no snapshot.
//
// An error is yielded with the zero Item and ends the scan; ScanFrom makes it
// possible to go on. Leaving the loop early leaves nothing running.
//
// Cost: a call for every slot, up to 128 side by side, and one for every further page
// of a slot. It reads every key on its primary, so also those that do not match.
//
// Errors: ErrInvalid; otherwise those of Get but for ErrNotFound.
func (c *Cache) Scan(ctx context.Context, opts ...ScanOption) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		o, err := scanOptionsOf(opts)
		if err != nil {
			yield(Item{}, err)
			return
		}
		at := o.from
		if at == nil {
			at = &Cursor{}
		}
		err = c.scan(ctx, &o, at, func(it *node.ScanItem) bool {
			item := Item{Key: it.Key, Value: it.Value, Version: it.Version}
			if o.q.KeysOnly {
				item.Value = nil
			}
			if it.Expiry != 0 {
				item.Expires = time.UnixMilli(it.Expiry)
			}
			return yield(item, nil)
		})
		if err != nil {
			yield(Item{}, err)
		}
	}
}

// scan calls each for every item after at, which it moves along, until that
// returns false.
func (c *Cache) scan(ctx context.Context, o *scanOptions, at *Cursor, each func(*node.ScanItem) bool) error {
	end := hashtag.Slots
	if o.slot >= 0 {
		if end = o.slot + 1; at.slot > o.slot {
			return ctx.Err()
		}
		if at.slot < o.slot {
			*at = Cursor{slot: o.slot}
		}
	}
	for window := minWindow; at.slot < end; window = min(2*window, maxWindow) {
		calls := make([]node.Call, 0, min(window, end-at.slot))
		for slot := at.slot; slot < end && len(calls) < window; slot++ {
			q := o.q
			q.Small = true
			if q.After = (store.Cursor{}); slot == at.slot {
				q.After = at.after
			}
			calls = append(calls, q.Call(uint16(slot)))
		}
		pages, errs := c.n.DoMany(ctx, calls)
		for i := range calls {
			if errs[i] != nil {
				return fmt.Errorf("scan slot %d: %w", calls[i].Slot, errs[i])
			}
			if more, err := c.scanSlot(ctx, o, at, pages[i].Value, each); err != nil || !more {
				return err
			}
			*at = Cursor{slot: at.slot + 1}
		}
	}
	*at = Cursor{slot: hashtag.Slots}
	return nil
}

// scanSlot goes through the pages of the slot that at is in, of which the next
// is here already.
func (c *Cache) scanSlot(ctx context.Context, o *scanOptions, at *Cursor, page []byte, each func(*node.ScanItem) bool) (more bool, err error) {
	for {
		items, next, done, ok := node.UnpackPage(page)
		if !ok {
			return false, fmt.Errorf("scan slot %d: %w: malformed page", at.slot, ErrIncompatible)
		}
		for i := range items {
			at.after = store.Cursor{Hash: store.Hash(0, items[i].Key, ""), Key: items[i].Key, Started: true}
			if !each(&items[i]) {
				return false, nil
			}
		}
		if done {
			return true, nil
		}
		at.after = next
		q := o.q
		q.After = next
		call := q.Call(uint16(at.slot))
		r, err := c.n.Do(ctx, &call)
		if err != nil {
			return false, fmt.Errorf("scan slot %d: %w", at.slot, err)
		}
		page = r.Value
	}
}

// DeletePrefix removes every key that begins with prefix and has done so since
// the call began, and returns how many it removed. Keys that are written
// meanwhile may stay, also what GetOrLoad began to load before: Delete keeps that
// from being stored. progress, if not nil, is called now and then with the
// number so far, on the caller's goroutine. Where all keys of the prefix share a
// hash tag, opts should name it by ScanTag: then one slot is looked at instead
// of all of them.
//
// At most 256 removals are under way at a time. With an error, some keys may be
// removed and others not; ScanFrom's cursor then stands before the first that may be
// left.
//
// Errors: those of Scan and of Delete.
func (c *Cache) DeletePrefix(ctx context.Context, prefix string, progress func(removed int), opts ...ScanOption) (int, error) {
	o, err := scanOptionsOf(append(opts[:len(opts):len(opts)], ScanPrefix(prefix), ScanKeysOnly(), ScanPageSize(maxPageSize)))
	if err != nil {
		return 0, err
	}
	o.q.Absent = true
	at := o.from
	if at == nil {
		at = &Cursor{}
	}
	removed, behind := 0, *at // all before it are removed
	var batch []node.Call
	var failed error
	flush := func() {
		results, errs := c.n.DoMany(ctx, batch)
		for i, err := range errs {
			if err == nil && results[i].Found {
				removed++
			}
			if failed == nil {
				failed = err // of many that are alike
			}
		}
		batch = batch[:0]
		if progress != nil {
			progress(removed)
		}
		if failed == nil {
			behind = *at
		}
	}
	err = c.scan(ctx, &o, at, func(it *node.ScanItem) bool {
		if batch = append(batch, keyCall(transport.OpDelete, it.Key)); len(batch) == defaultPage {
			flush()
		}
		return failed == nil
	})
	if failed == nil && len(batch) > 0 {
		flush()
	}
	if failed != nil {
		*at = behind
	}
	return removed, errors.Join(err, failed)
}

// Clear removes every key there is: it is DeletePrefix of "".
func (c *Cache) Clear(ctx context.Context) (int, error) { return c.DeletePrefix(ctx, "", nil) }
