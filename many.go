package slotmesh

import (
	"context"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// ItemResult is one key's part of a GetMany. Err is nil, ErrNotFound, or what
// Get would have returned; only without it is Item set, but for its Key.
type ItemResult struct {
	Item
	Err error
}

// DeleteResult is one key's part of a DeleteMany.
type DeleteResult struct {
	Existed bool
	Err     error
}

// Entry is a key and the value that SetMany gives it.
type Entry struct {
	Key   string
	Value []byte
}

// GetMany reads any keys of any slots; results are in the order of keys. Each
// read is linearizable by itself, all of them together are not atomic. It
// costs one batch of messages per node that is primary of some of the keys.
func (c *Cache) GetMany(ctx context.Context, keys []string, opts ...GetOption) []ItemResult {
	results := make([]ItemResult, len(keys))
	var get node.Call
	if err := applyGet(&get, opts); err != nil {
		for i, key := range keys {
			results[i] = ItemResult{Item{Key: key}, err}
		}
		return results
	}
	calls := make([]node.Call, len(keys))
	for i, key := range keys {
		calls[i] = keyCall(transport.OpGet, key)
		calls[i].MaxAge = get.MaxAge
	}
	found, errs := c.n.DoMany(ctx, calls)
	for i, key := range keys {
		switch {
		case errs[i] != nil:
			results[i] = ItemResult{Item{Key: key}, errs[i]}
		case !found[i].Found:
			results[i] = ItemResult{Item{Key: key}, ErrNotFound}
		default:
			results[i].Item = newItem(key, found[i])
		}
	}
	return results
}

// SetMany stores entries of any slots, all with the same options, and returns
// one error per entry, in their order: nil, or what Set would have returned.
// errors.Join of them is nil if all were stored. Each write is a Set by
// itself: some may succeed where others fail, and readers may see some before
// others. A key that is listed twice ends with one of its values.
func (c *Cache) SetMany(ctx context.Context, entries []Entry, opts ...SetOption) []error {
	calls, errs := make([]node.Call, len(entries)), make([]error, len(entries))
	for i, e := range entries {
		calls[i] = keyCall(transport.OpSet, e.Key)
		calls[i].Value = e.Value
		errs[i] = applySet(&calls[i], opts)
	}
	if len(errs) > 0 && errs[0] != nil {
		return errs // the options are at fault, with whatever key
	}
	_, errs = c.n.DoMany(ctx, calls)
	return errs
}

// DeleteMany removes any keys of any slots; results are in the order of keys.
// Each is a Delete by itself, all of them together are not atomic.
func (c *Cache) DeleteMany(ctx context.Context, keys []string) []DeleteResult {
	calls := make([]node.Call, len(keys))
	for i, key := range keys {
		calls[i] = keyCall(transport.OpDelete, key)
	}
	deleted, errs := c.n.DoMany(ctx, calls)
	results := make([]DeleteResult, len(keys))
	for i := range keys {
		results[i] = DeleteResult{deleted[i].Found, errs[i]}
	}
	return results
}
