package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// Typed is a view of a cache whose values are of type T and whose keys begin
// with a prefix. It is safe for concurrent use and costs nothing to keep.
//
// Every value carries the number of its codec and of its schema. A value that
// this view does not know, for instance one written by a later release during
// a rolling deploy, reads as a miss (or as ErrSchema, see SchemaErrors), not as
// a decode error.
type Typed[T any] struct {
	c        *Cache
	prefix   string
	codec    Codec
	schema   uint32 // codec and schema number, as kept with values
	strict   bool
	upgrades map[uint32]SchemaUpgrade
	maxAge   int64 // nanoseconds that reads may be behind
	err      error // of For's arguments; every call returns it
}

// TypedOption changes a view made by For. A GetOption is one too.
type TypedOption interface{ applyTyped(*typedOptions) }

type typedOption func(*typedOptions)

func (f typedOption) applyTyped(o *typedOptions) { f(o) }

type typedOptions struct {
	get      []GetOption
	codec    Codec
	schema   int
	upgrades []SchemaUpgrade
	strict   bool
}

// WithCodec sets how values become bytes. Default Msgpack.
func WithCodec(codec Codec) TypedOption {
	return typedOption(func(o *typedOptions) { o.codec = codec })
}

// maxSchema fits into 24 bits of a record's schema.
const maxSchema = 1<<24 - 1

// WithSchema numbers the shape of T, 0 to 16777215; default 0. Raise it when a
// value of the old T would not decode into the new one, and say by Upgrade
// how to read those that are still there. Numbers without one are unknown.
func WithSchema(number int, upgrades ...SchemaUpgrade) TypedOption {
	return typedOption(func(o *typedOptions) { o.schema, o.upgrades = number, upgrades })
}

// SchemaErrors makes reads of a value of an unknown schema, or of another
// codec, give ErrSchema. Without it they give ErrNotFound, so that a program
// that fills the cache on a miss replaces the value.
func SchemaErrors() TypedOption { return typedOption(func(o *typedOptions) { o.strict = true }) }

// SchemaUpgrade reads values of an earlier schema. Upgrade makes one.
type SchemaUpgrade struct {
	from   int
	makes  reflect.Type
	decode func(codec Codec, key string, data []byte) (any, error)
}

// Upgrade says how a value of the schema number from, decoded by the
// view's codec as an Old, becomes a New, which is the view's T. What it
// returns is not written back. Its error reaches the caller as an ErrCodec.
func Upgrade[Old, New any](from int, upgrade func(Old) (New, error)) SchemaUpgrade {
	if upgrade == nil {
		return SchemaUpgrade{from: from}
	}
	return SchemaUpgrade{
		from: from, makes: reflect.TypeFor[New](),
		decode: func(codec Codec, key string, data []byte) (any, error) {
			var old Old
			if err := codec.decode(key, data, &old); err != nil {
				return nil, err
			}
			v, err := upgrade(old)
			if err != nil {
				return nil, codecError(fmt.Sprintf("upgrade from schema %d of", from), key, err)
			}
			return v, nil
		},
	}
}

// For returns a view of c for values of type T under keys that begin with
// prefix. A prefix may hold a whole hash tag, as in "{tenant-7}user:", and then
// all keys of the view share a slot; a prefix with a '{' that the keys would
// have to close is at fault.
//
// Faults of the arguments are ErrInvalid from every call of the view.
func For[T any](c *Cache, prefix string, opts ...TypedOption) *Typed[T] {
	o := typedOptions{codec: Msgpack()}
	for _, opt := range opts {
		if opt != nil {
			opt.applyTyped(&o)
		}
	}
	t := &Typed[T]{c: c, prefix: prefix, codec: o.codec, strict: o.strict, upgrades: map[uint32]SchemaUpgrade{}}
	t.schema = schemaOf(o.codec, o.schema)
	fault := func(format string, args ...any) {
		t.err = errors.Join(t.err, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if c == nil {
		fault("For of a nil Cache")
	}
	if strings.Contains(prefix, "{") && hashtag.Tag(prefix+"x") == prefix+"x" {
		fault("prefix %s opens a hash tag and does not close it", quoted(prefix))
	}
	if err := o.codec.validate(); err != nil {
		t.err = errors.Join(t.err, err)
	}
	var get node.Call
	if err := applyGet(&get, o.get); err != nil {
		t.err = errors.Join(t.err, err)
	}
	t.maxAge = get.MaxAge
	if o.schema < 0 || o.schema > maxSchema {
		fault("WithSchema(%d): want 0 to %d", o.schema, maxSchema)
	}
	for _, u := range o.upgrades {
		switch {
		case u.decode == nil:
			fault("Upgrade(%d) without a function", u.from)
		case u.from < 0 || u.from > maxSchema || u.from == o.schema:
			fault("Upgrade(%d) in a view of schema %d", u.from, o.schema)
		case u.makes != reflect.TypeFor[T]():
			fault("Upgrade(%d) makes a %s, want a %s", u.from, u.makes, reflect.TypeFor[T]())
		default:
			t.upgrades[schemaOf(o.codec, u.from)] = u
		}
	}
	return t
}

func schemaOf(c Codec, number int) uint32 { return uint32(c.ID)<<24 | uint32(number)&maxSchema }

func (t *Typed[T]) call(op transport.Op, key string) node.Call {
	call := keyCall(op, t.prefix+key)
	call.Schema = t.schema
	return call
}

// decode turns what is stored into a T. known is false where its schema is
// unknown to this view.
func (t *Typed[T]) decode(key string, r *node.Result) (v T, known bool, err error) {
	if r.Schema == t.schema {
		err = t.codec.decode(t.prefix+key, r.Value, &v)
		return v, true, err
	}
	u, ok := t.upgrades[r.Schema]
	if !ok {
		return v, false, nil
	}
	made, err := u.decode(t.codec, t.prefix+key, r.Value)
	if err == nil {
		v, _ = made.(T) // a nil T of an interface type stays nil
	}
	return v, true, err
}

// read is decode with an unknown schema turned into the error it reads as.
func (t *Typed[T]) read(key string, r *node.Result) (T, error) {
	v, known, err := t.decode(key, r)
	switch {
	case err != nil:
		var none T
		return none, err
	case known:
		return v, nil
	case t.strict:
		return v, t.schemaError(key, r.Schema)
	}
	return v, ErrNotFound
}

func (t *Typed[T]) schemaError(key string, schema uint32) error {
	if schema == 0 {
		return fmt.Errorf("%w: %s holds raw bytes", ErrSchema, quoted(t.prefix+key))
	}
	return fmt.Errorf("%w: %s is of codec %d, schema %d", ErrSchema, quoted(t.prefix+key), schema>>24, schema&maxSchema)
}

// Get returns key's value.
//
// Its errors are those of Cache.Get, and ErrCodec where the value does not
// decode, ErrSchema as SchemaErrors says.
func (t *Typed[T]) Get(ctx context.Context, key string, opts ...GetOption) (T, error) {
	var none T
	if t.err != nil {
		return none, t.err
	}
	call := keyCall(transport.OpGet, t.prefix+key)
	call.MaxAge = t.maxAge
	if err := applyGet(&call, opts); err != nil {
		return none, err
	}
	var r node.Result
	if err := t.c.look(ctx, &call, &r); err != nil {
		return none, err
	}
	return t.read(key, &r)
}

// Set stores value under key. It takes the options of Cache.Set. Its errors
// are those of Cache.Set, and ErrCodec.
func (t *Typed[T]) Set(ctx context.Context, key string, value T, opts ...SetOption) error {
	call, err := t.setCall(key, value, opts)
	if err != nil {
		return err
	}
	_, err = t.c.n.Do(ctx, &call)
	return err
}

func (t *Typed[T]) setCall(key string, value T, opts []SetOption) (node.Call, error) {
	if t.err != nil {
		return node.Call{}, t.err
	}
	call := t.call(transport.OpSet, key)
	if err := applySet(&call, opts); err != nil {
		return call, err
	}
	data, err := t.codec.encode(call.Key, value)
	call.Value = data
	return call, err
}

// Delete removes key and reports whether it was there, whatever its schema.
// Its errors are those of Cache.Delete.
func (t *Typed[T]) Delete(ctx context.Context, key string) (existed bool, err error) {
	if t.err != nil {
		return false, t.err
	}
	return t.c.Delete(ctx, t.prefix+key)
}

const (
	maxAttempts = 100 // of an Update or a Txn
	jitterMin   = time.Millisecond
	jitterMax   = 50 * time.Millisecond
)

// Update lets change make a new value of the present one, and stores it if
// nobody wrote the key meanwhile; otherwise it starts again, so change may run
// several times. An absent key gives change the zero T. The key keeps its
// expiry, unless TTL or ExpireAt says otherwise. An error of change ends it
// and is returned as it is.
//
// Its errors are those of Get and Set but for ErrNotFound; ErrConflict after a
// hundred attempts, or beside ctx's error where ctx ended amid conflicts; ErrSchema where the value is of an unknown schema, since
// overwriting it would lose what a later release wrote; ErrInvalid where
// change is nil or a condition is among opts.
func (t *Typed[T]) Update(ctx context.Context, key string, change func(T) (T, error), opts ...SetOption) (T, error) {
	var none T
	switch {
	case t.err != nil:
		return none, t.err
	case change == nil:
		return none, fmt.Errorf("%w: Update of %s with a nil function", ErrInvalid, quoted(t.prefix+key))
	}
	expires := false
	for _, o := range opts {
		if o.what == setsCondition {
			return none, fmt.Errorf("%w: Update of %s is a condition itself and takes no other", ErrInvalid, quoted(t.prefix+key))
		}
		expires = expires || o.what == setsExpiry
	}
	if !expires {
		opts = append(opts[:len(opts):len(opts)], KeepTTL())
	}
	var why error // the attempt before came to nothing
	for attempt := range maxAttempts {
		if err := jitter(ctx, attempt); err != nil {
			return none, amidConflicts(ctx, err, why, attempt)
		}
		value, version, err := t.present(ctx, key)
		if err != nil {
			return none, amidConflicts(ctx, err, why, attempt)
		}
		if value, err = change(value); err != nil {
			return none, err
		}
		call, err := t.setCall(key, value, append(opts[:len(opts):len(opts)], IfVersion(version)))
		if err != nil {
			return none, err
		}
		if _, err = t.c.n.Do(ctx, &call); !errors.Is(err, ErrVersionMismatch) {
			if err != nil {
				return none, amidConflicts(ctx, err, why, attempt)
			}
			return value, nil
		}
		why = errWritten
	}
	return none, fmt.Errorf("%w: %s was written by others %d times", ErrConflict, quoted(t.prefix+key), maxAttempts)
}

// present reads for Update: an absent key is the zero T of version 0.
func (t *Typed[T]) present(ctx context.Context, key string) (v T, version uint64, err error) {
	var r node.Result
	err = t.c.read(ctx, transport.OpGet, t.prefix+key, &r, nil)
	if errors.Is(err, ErrNotFound) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, err
	}
	v, known, err := t.decode(key, &r)
	if err == nil && !known {
		err = t.schemaError(key, r.Schema)
	}
	return v, r.Version, err
}

// jitter waits before an attempt that follows a conflict: a random time whose
// bound doubles from a millisecond to fifty.
func jitter(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	most := min(jitterMin<<min(attempt-1, 10), jitterMax)
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TypedResult is one key's part of a GetMany. Key is without the view's
// prefix. Err is nil, ErrNotFound, or what Get would have returned; only
// without it are the others set.
type TypedResult[T any] struct {
	Key     string
	Value   T
	Version uint64
	Expires time.Time
	Err     error
}

// TypedEntry is a key and the value that SetMany gives it.
type TypedEntry[T any] struct {
	Key   string
	Value T
}

// GetMany reads keys of any slots, like Cache.GetMany: results are in the
// order of keys, and all together are not atomic.
func (t *Typed[T]) GetMany(ctx context.Context, keys []string, opts ...GetOption) []TypedResult[T] {
	results := make([]TypedResult[T], len(keys))
	get, err := node.Call{MaxAge: t.maxAge}, t.err
	if err == nil {
		err = applyGet(&get, opts)
	}
	if err != nil {
		for i, key := range keys {
			results[i] = TypedResult[T]{Key: key, Err: err}
		}
		return results
	}
	calls := make([]node.Call, len(keys))
	for i, key := range keys {
		calls[i] = t.call(transport.OpGet, key)
		calls[i].MaxAge = get.MaxAge
	}
	found, errs := t.c.n.DoMany(ctx, calls)
	for i, key := range keys {
		res := &results[i]
		res.Key = key
		switch {
		case errs[i] != nil:
			res.Err = errs[i]
		case !found[i].Found:
			res.Err = ErrNotFound
		default:
			if res.Value, res.Err = t.read(key, &found[i]); res.Err == nil {
				item := newItem(key, found[i])
				res.Version, res.Expires = item.Version, item.Expires
			}
		}
	}
	return results
}

// SetMany stores entries of any slots, like Cache.SetMany: one error per
// entry, and all together are not atomic.
func (t *Typed[T]) SetMany(ctx context.Context, entries []TypedEntry[T], opts ...SetOption) []error {
	errs := make([]error, len(entries))
	calls := make([]node.Call, 0, len(entries))
	place := make([]int, 0, len(entries))
	for i, e := range entries {
		call, err := t.setCall(e.Key, e.Value, opts)
		if err != nil {
			errs[i] = err
			continue
		}
		calls, place = append(calls, call), append(place, i)
	}
	if len(calls) == 0 {
		return errs
	}
	_, sent := t.c.n.DoMany(ctx, calls)
	for i, err := range sent {
		errs[place[i]] = err
	}
	return errs
}
