package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// GetOrLoadMany is GetOrLoad of any keys of any slots, with one call of load
// for all of those that are missing and that nobody else is loading. load
// returns a value for each key that has one; a key it leaves out has none, as
// if a loader of GetOrLoad had returned ErrNotFound. Results are in the order
// of keys; keys that are listed twice are loaded once.
//
// Where another caller gives up a load that this one waited for, load is
// called once more, for those keys. Its context ends with ctx, after LoadTimeout
// and when the cache closes, and a call whose loader does not heed that returns
// without it.
// LoadStale sets how long values are kept here too, but only GetOrLoad loads
// them anew before they are gone.
//
// Errors are per key, as GetOrLoad's.
func (c *Cache) GetOrLoadMany(ctx context.Context, keys []string, load func(ctx context.Context, keys []string) (map[string][]byte, error), opts ...LoadOption) []ItemResult {
	results, _ := c.getOrLoadMany(ctx, keys, load, opts, 0, nil)
	return results
}

// getOrLoadMany stores what is loaded under a schema, and takes values of a
// schema that is not known for none; nil knows all. It returns the results'
// schemas too.
func (c *Cache) getOrLoadMany(ctx context.Context, keys []string, load func(ctx context.Context, keys []string) (map[string][]byte, error), opts []LoadOption, schema uint32, known func(uint32) bool) ([]ItemResult, []uint32) {
	results, schemas := make([]ItemResult, len(keys)), make([]uint32, len(keys))
	for i, key := range keys {
		results[i].Key = key
	}
	fail := func(err error) ([]ItemResult, []uint32) {
		for i := range results {
			results[i].Err = err
		}
		return results, schemas
	}
	if load == nil {
		return fail(fmt.Errorf("%w: GetOrLoadMany with a nil loader", ErrInvalid))
	}
	o, err := loadOptionsOf(opts)
	if err != nil {
		return fail(err)
	}
	at := make(map[string]int, len(keys)) // the first place of each key
	var todo []string
	calls := make([]node.Call, 0, len(keys))
	for i, key := range keys {
		if _, ok := at[key]; !ok {
			at[key] = i
			todo = append(todo, key)
			calls = append(calls, keyCall(transport.OpGet, key))
		}
	}
	b := loadBatch{c: c, ctx: ctx, load: load, o: &o, token: c.n.Token(), grants: map[string]uint64{}, results: results, at: at, schemas: schemas, schema: schema, known: known, ignored: map[string]uint64{}}
	got, errs := c.n.DoMany(ctx, calls)
	todo = b.take(todo, got, errs, false)
	// A call that waits takes no lease: it would keep that while it waits for other keys, and
	// two that wait for each other's would do so until their leases end.
	for wait := false; len(todo) > 0; wait = !wait {
		calls = calls[:0]
		for _, key := range todo {
			calls = append(calls, node.Load{Token: b.token, Lease: o.timeout, Wait: wait, Look: wait, Ignore: b.ignored[key]}.Call(keyCall(0, key).Slot, key))
		}
		got, errs = c.n.DoMany(ctx, calls)
		todo = b.take(todo, got, errs, true)
	}
	for i, key := range keys {
		if first := at[key]; first != i {
			results[i], schemas[i] = results[first], schemas[first]
			results[i].Value = slices.Clone(results[i].Value)
		}
	}
	return results, schemas
}

// loadBatch is a GetOrLoadMany under way.
type loadBatch struct {
	c       *Cache
	ctx     context.Context
	load    func(context.Context, []string) (map[string][]byte, error)
	o       *loadOptions
	token   uint64
	grants  map[string]uint64 // by key
	results []ItemResult
	at      map[string]int
	schemas []uint32
	schema  uint32            // of what is loaded
	known   func(uint32) bool // nil: all are
	ignored map[string]uint64 // versions of values of a schema that is not
}

func (b *loadBatch) lease(key string) lease { return lease{b.token, b.grants[key]} }

// take sorts the answers to a round of calls, loads what it was granted, and
// returns the keys that are still open. leased says that the calls asked for
// the right to load.
func (b *loadBatch) take(keys []string, got []node.Result, errs []error, leased bool) (open []string) {
	var granted []string
	for i, key := range keys {
		res, err := &b.results[b.at[key]], errs[i]
		var failed *node.LoadFailed
		switch {
		case errors.As(err, &failed):
			res.Err = &LoadError{key, failed}
		case err != nil && leased && b.ctx.Err() == nil && takesTime(err):
			open = append(open, key)
		case err != nil:
			if res.Err = err; leased {
				b.c.forget(keyCall(0, key).Slot, key, b.token)
			}
		case got[i].Found && b.known != nil && !b.known(got[i].Schema):
			b.ignored[key] = got[i].Version
			open = append(open, key)
		case got[i].Found:
			res.Item, b.schemas[b.at[key]] = newItem(key, got[i]), got[i].Schema
		case got[i].Schema&node.SchemaAbsent != 0:
			res.Err = ErrNotFound
		case leased && got[i].Int == node.LoadGranted:
			granted, b.grants[key] = append(granted, key), got[i].Version
		default:
			open = append(open, key)
		}
	}
	if len(granted) > 0 {
		b.loadAll(granted)
	}
	return open
}

// loadAll runs the loader for keys that this call has the right to load, and
// has their primaries know what came of it.
func (b *loadBatch) loadAll(keys []string) {
	run, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(b.c.n.Context(), cancel)()
	values, err := runLoader(run, b.c, b.o.timeout, func(ctx context.Context) (map[string][]byte, error) {
		return b.load(ctx, slices.Clone(keys)) // it may do with them what it likes
	})
	closed := errors.Is(err, context.Canceled) && b.c.n.Closing()
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	ctx := b.ctx
	if err != nil { // there is nothing to keep: its callers wait for little
		short, cancel := context.WithTimeout(ctx, releaseWait)
		defer cancel()
		ctx = short
	}
	calls := make([]node.Call, len(keys))
	for i, key := range keys {
		res := &b.results[b.at[key]]
		switch value, ok := values[key]; {
		case err != nil && b.ctx.Err() != nil: // somebody else may load
			res.Err = b.ctx.Err()
			calls[i] = node.Release{Token: b.token}.Call(keyCall(0, key).Slot, key)
		case closed:
			res.Err = ErrClosed
			calls[i] = node.Release{Token: b.token}.Call(keyCall(0, key).Slot, key)
		case err != nil:
			b.c.n.LoadFailed()
			res.Err = &LoadError{key, err}
			calls[i] = failedCall(key, b.lease(key), err)
		case !ok && b.o.negative > 0:
			res.Err = ErrNotFound
			calls[i] = fillCall(key, node.SchemaAbsent, b.grants[key], nil, b.o.negative)
		case !ok:
			res.Err = ErrNotFound
			calls[i] = absentCall(key, b.lease(key))
		default:
			res.Value, b.schemas[b.at[key]] = append([]byte{}, value...), b.schema
			calls[i] = fillCall(key, b.schema, b.grants[key], value, b.o.lifetime())
		}
	}
	b.settle(ctx, calls)
}

// settle makes the calls that end a load. Where one fails the right to load is
// given back without waiting, unless it was lost.
func (b *loadBatch) settle(ctx context.Context, calls []node.Call) {
	done, errs := b.c.n.DoMany(ctx, calls)
	for i := range calls {
		key, fills := calls[i].Key, calls[i].Op == transport.OpSet
		res := &b.results[b.at[key]]
		switch {
		case errs[i] == nil && fills && res.Err == nil:
			item := newItem(key, done[i])
			res.Version, res.Expires = item.Version, item.Expires
		case errs[i] == nil || errors.Is(errs[i], ErrConflict):
		case !fills:
			b.c.n.Forget(&calls[i])
		case res.Err == nil:
			b.c.forget(calls[i].Slot, key, b.token)
		default:
			call := absentCall(key, b.lease(key))
			b.c.n.Forget(&call)
		}
	}
}

// GetOrLoad is Cache.GetOrLoad of a T: a value that this view does not know
// counts as none. A value that load returns and the codec refuses is a
// LoadError that wraps ErrCodec.
func (t *Typed[T]) GetOrLoad(ctx context.Context, key string, load func(ctx context.Context, key string) (T, error), opts ...LoadOption) (T, error) {
	var none T
	switch {
	case t.err != nil:
		return none, t.err
	case load == nil:
		return none, fmt.Errorf("%w: GetOrLoad of %s with a nil loader", ErrInvalid, quoted(t.prefix+key))
	}
	o, err := loadOptionsOf(opts)
	if err != nil {
		return none, fmt.Errorf("GetOrLoad of %s: %w", quoted(t.prefix+key), err)
	}
	var r node.Result
	err = t.c.getOrLoad(ctx, t.prefix+key, t.schema, t.known, func(ctx context.Context, _ string) ([]byte, error) {
		v, err := load(ctx, key)
		if err != nil {
			return nil, err
		}
		return t.codec.encode(t.prefix+key, v)
	}, &o, &r)
	if err != nil {
		return none, err
	}
	return t.read(key, &r)
}

// GetOrLoadMany is Cache.GetOrLoadMany of Ts: load gets keys without the view's
// prefix, and returns values under the same. A value that the view does not know
// counts as none. Where the codec refuses a value that load returned, all keys of
// that call get a LoadError that wraps ErrCodec.
func (t *Typed[T]) GetOrLoadMany(ctx context.Context, keys []string, load func(ctx context.Context, keys []string) (map[string]T, error), opts ...LoadOption) []TypedResult[T] {
	results := make([]TypedResult[T], len(keys))
	full := make([]string, len(keys))
	for i, key := range keys {
		results[i].Key, full[i] = key, t.prefix+key
	}
	err := t.err
	if err == nil && load == nil {
		err = fmt.Errorf("%w: GetOrLoadMany with a nil loader", ErrInvalid)
	}
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	items, schemas := t.c.getOrLoadMany(ctx, full, func(ctx context.Context, missing []string) (map[string][]byte, error) {
		bare := make([]string, len(missing))
		for i, key := range missing {
			bare[i] = key[len(t.prefix):]
		}
		values, err := load(ctx, bare)
		if err != nil {
			return nil, err
		}
		encoded := make(map[string][]byte, len(values))
		for key, v := range values {
			data, err := t.codec.encode(t.prefix+key, v)
			if err != nil {
				return nil, err
			}
			encoded[t.prefix+key] = data
		}
		return encoded, nil
	}, opts, t.schema, t.known)
	for i := range items {
		it, res := &items[i], &results[i]
		if res.Err = it.Err; it.Err == nil {
			res.Value, res.Err = t.read(keys[i], &node.Result{Value: it.Value, Version: it.Version, Schema: schemas[i], Found: true})
		}
		if res.Err == nil {
			res.Version, res.Expires = it.Version, it.Expires
		}
	}
	return results
}

// known reports whether a value is of a schema that the view can read.
func (t *Typed[T]) known(schema uint32) bool {
	_, ok := t.upgrades[schema]
	return ok || schema == t.schema
}
