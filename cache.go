package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// NoTTL is what Cache.TTL returns for a key that never expires.
const NoTTL time.Duration = -1

// Cache is this process's node of a cluster. Its methods are safe for
// concurrent use. Several caches in one process share nothing.
type Cache struct {
	n       *node.Node
	name    string // of the cluster
	loads   flights
	guesses guesses
	leaving atomic.Int32 // calls in the background that give back locks
}

// Open starts a node and joins the cluster that its seeds belong to, or founds
// one where it has no seeds. The node takes calls at once; Ready says when they
// can be answered. ctx bounds the start only.
//
// Where no seed answers, Open tries until ctx is done and returns an error that
// names each seed and why it failed. Several nodes that name each other as
// seeds and start together found one cluster.
//
// It looks around as well: a memory limit above what the process may use is
// ErrInvalid, a data directory on a full disk ErrDisk; a clock far off a seed's,
// an advertised address that a seed cannot reach and UDP that does not get
// through are logged as warnings.
//
// Errors: ErrInvalid, joined from every option at fault; ErrIncompatible
// and ErrUntrusted, beside ctx's; ErrSuperseded; the system's error where the address cannot be listened on;
// ctx's error.
func Open(ctx context.Context, opts ...Option) (*Cache, error) {
	o := newOptions()
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	if e, ok := env.From(ctx); ok { // of slotmeshtest's
		o.cfg.Env = e
	}
	o.ensureDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("slotmesh: open: %w", err)
	}
	if err := thisMachine().check(o); err != nil {
		return nil, fmt.Errorf("slotmesh: open: %w", err)
	}
	engine, err := o.openEngine()
	if err != nil {
		return nil, fmt.Errorf("slotmesh: open: %w", err)
	}
	o.cfg.Engine, o.cfg.Asked = engine, o.asked
	n, err := node.Open(ctx, o.cfg)
	if err != nil {
		return nil, fmt.Errorf("slotmesh: open: %w", err)
	}
	return &Cache{n: n, name: o.cfg.Cluster}, nil
}

// Ready returns nil once the node has joined and every slot has a primary: it answers
// calls for all of them, by way of others where it holds nothing, and a readiness probe
// may turn green. A newcomer gets its share after that: Cluster().Rebalance waits for
// it, and Cluster().Safe says when another node may stop.
//
// Errors: ErrClosed, ErrSuperseded, ctx's error.
func (c *Cache) Ready(ctx context.Context) error { return c.n.Ready(ctx) }

// Shutdown hands every slot of this node to others, waits until each copy it
// holds exists elsewhere, then leaves and closes. Call it on SIGTERM with the
// time that is left; StepDown is for a node that is soon back. Where ctx ends first the
// node leaves as Close does and the error, which wraps ctx's, says how many slots were
// left and whether a copy of each record is elsewhere. Where no other node that may hold
// slots is reached, or all others leave or step down too, it leaves at once.
//
// Its own errors are those of Close.
func (c *Cache) Shutdown(ctx context.Context) error { return c.n.Shutdown(ctx) }

// StepDown hands every slot of this node to a backup that has its records, has the
// others leave this node out while it still acknowledges their writes, and closes. It
// is for a node that is soon back on its data directory, as in a rolling restart:
// nothing is copied, no write waits, and it takes a second or so whatever the amount
// of data. Until it is back its slots have a copy less, and writes that WithMinBackups
// wants more of are refused. Back within WithRepairDelay it copies what was written
// meanwhile and has its slots again; after that the others make new copies. A slot that
// has no backup at the time, or only such as step down too, is copied first. Where ctx
// ends first the node leaves as Close does and the error, which wraps ctx's, says how
// many slots were left and whether a copy of each record is elsewhere. Where no other
// node that may hold slots is reached, or all others step down or leave too, it closes
// at once.
//
// Errors: ErrNotEnoughBackups with WithBackups(0), where there is nobody to hand slots
// to: the cache is not closed then, use Shutdown.
func (c *Cache) StepDown(ctx context.Context) error { return c.n.StepDown(ctx) }

// Close leaves at once: the others take over from their backups. It returns
// when every goroutine of the cache has ended. Calls under way and later ones
// get ErrClosed, or ErrUnknownOutcome where a write was on its way to another node
// or from here to its backups. A second Close does nothing.
//
// Errors: ErrDisk where what the data directory has is that of a node that crashed.
func (c *Cache) Close() error { return c.n.Close() }

// Done returns a channel that is closed once the cache is closing, by Close, by
// Shutdown, or by itself because it was superseded: see Err.
func (c *Cache) Done() <-chan struct{} { return c.n.Done() }

// Err returns ErrSuperseded if the cache closed itself for that, else nil.
func (c *Cache) Err() error { return c.n.Err() }

// Get returns key's value, which is the caller's own and never nil. A read
// sees every write acknowledged before it began, on whatever node; AllowStale
// trades that for an answer without the network.
//
// Cost: on the slot's primary one look-up in memory; elsewhere one round trip.
//
// Errors: ErrNotFound, ErrNoPrimary, ErrTooLarge, ErrInvalid, ErrOverloaded,
// ErrDisk, ErrClosed, ErrSuperseded, ctx's error.
func (c *Cache) Get(ctx context.Context, key string, opts ...GetOption) ([]byte, error) {
	var r node.Result
	if err := c.read(ctx, transport.OpGet, key, &r, opts); err != nil {
		return nil, err
	}
	if r.Value == nil {
		r.Value = []byte{} // there, and empty
	}
	return r.Value, nil
}

// GetInto is Get that appends the value to dst, so that a caller with a large
// enough dst has nothing allocated for a slot served here. It returns the
// extended slice, and dst as it was with any error.
func (c *Cache) GetInto(ctx context.Context, key string, dst []byte, opts ...GetOption) ([]byte, error) {
	r := node.Result{Value: dst[len(dst):]}
	if err := c.read(ctx, transport.OpGet, key, &r, opts); err != nil {
		return dst, err
	}
	return append(dst, r.Value...), nil // copies nothing where the value went to dst's spare room
}

// GetItem is Get with the value's version and expiry, and where it came from.
func (c *Cache) GetItem(ctx context.Context, key string, opts ...GetOption) (Item, error) {
	var r node.Result
	if err := c.read(ctx, transport.OpGet, key, &r, opts); err != nil {
		return Item{}, err
	}
	return newItem(key, r), nil
}

// Set stores a copy of value under key and returns once the slot's primary and
// its in-sync backups hold it. Without TTL, ExpireAt or KeepTTL the key lasts
// until it is deleted or evicted; without a condition it overwrites.
//
// Errors: ErrInvalid, ErrTooLarge, ErrConditionFailed, ErrVersionMismatch,
// ErrNoMemory, ErrDisk, ErrNoPrimary, ErrNotEnoughBackups, ErrOverloaded, ErrClosed
// or ErrSuperseded, none of which changed anything; ErrUnknownOutcome or ctx's
// error, after which the value may or may not be stored.
func (c *Cache) Set(ctx context.Context, key string, value []byte, opts ...SetOption) error {
	call := keyCall(transport.OpSet, key)
	call.Value = value
	if err := applySet(&call, opts); err != nil {
		return err
	}
	_, err := c.n.Do(ctx, &call)
	return err
}

// Delete removes key and reports whether it was there. Removing an absent key
// is no error. Its errors are those of Set.
func (c *Cache) Delete(ctx context.Context, key string) (existed bool, err error) {
	call := keyCall(transport.OpDelete, key)
	r, err := c.n.Do(ctx, &call)
	return r.Found && err == nil, err
}

// Exists reports whether there is such a key, without fetching its value. Its
// errors are those of Get, but for ErrNotFound.
func (c *Cache) Exists(ctx context.Context, key string, opts ...GetOption) (bool, error) {
	var r node.Result
	err := c.read(ctx, transport.OpPeek, key, &r, opts)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// TTL returns how long key has left to live, to the millisecond and by the clock of
// the slot's primary, or NoTTL if it never expires. Its errors are those of Get.
func (c *Cache) TTL(ctx context.Context, key string) (time.Duration, error) {
	var r node.Result
	err := c.read(ctx, transport.OpPeek, key, &r, nil)
	switch {
	case err != nil:
		return 0, err
	case r.Expiry == 0:
		return NoTTL, nil
	}
	return millis(r.Int), nil // not by this node's clock, which may show another time
}

// read makes a call that changes nothing; a miss is ErrNotFound. The node may
// put the value into the room behind r.Value, and does not otherwise look at r.
func (c *Cache) read(ctx context.Context, op transport.Op, key string, r *node.Result, opts []GetOption) error {
	call := keyCall(op, key)
	call.Value, r.Value = r.Value, nil
	if len(opts) > 0 {
		if err := applyGet(&call, opts); err != nil {
			return fmt.Errorf("read %s: %w", quoted(key), err)
		}
	}
	return c.look(ctx, &call, r)
}

// look makes a call that changes nothing; a miss is ErrNotFound.
func (c *Cache) look(ctx context.Context, call *node.Call, r *node.Result) error {
	if err := c.n.DoInto(ctx, call, r); err != nil {
		return err
	}
	if !r.Found {
		return ErrNotFound
	}
	return nil
}

// Expire lets key expire d from now, by the clock of the slot's primary,
// rounded up to a whole millisecond; a d of zero or less gives ErrInvalid. Its
// errors are those of Set, and ErrNotFound.
func (c *Cache) Expire(ctx context.Context, key string, d time.Duration) error {
	ms, err := ttlMilli(key, d)
	if err != nil {
		return err
	}
	call := keyCall(transport.OpExpire, key)
	call.Expiry, call.Flags = ms, transport.FlagRelative
	_, err = c.n.Do(ctx, &call)
	return err
}

// Persist lets key last for ever again. Its errors are those of Expire.
func (c *Cache) Persist(ctx context.Context, key string) error {
	call := keyCall(transport.OpExpire, key)
	_, err := c.n.Do(ctx, &call)
	return err
}

// CompareAndSwap stores a copy of next under key if its value is old byte for
// byte. With another value, or none, it gives ErrConditionFailed. Like Set it
// removes the key's expiry, unless told otherwise. Of the options it takes TTL, ExpireAt and KeepTTL; a condition gives ErrInvalid.
// Its other errors are those of Set.
//
// A value that was changed and changed back passes; IfVersion notices that.
func (c *Cache) CompareAndSwap(ctx context.Context, key string, old, next []byte, opts ...SetOption) error {
	call, err := compareCall(key, old, next, opts)
	if err != nil {
		return err
	}
	_, err = c.n.Do(ctx, &call)
	return err
}

func compareCall(key string, old, next []byte, opts []SetOption) (node.Call, error) {
	call := keyCall(transport.OpCompare, key)
	call.Old, call.Value = old, next
	if err := applySet(&call, opts); err != nil {
		return call, err
	}
	if call.Flags&(transport.FlagIfAbsent|transport.FlagIfPresent|transport.FlagIfVersion) != 0 {
		return call, fmt.Errorf("%w: CompareAndSwap of %s is a condition itself and takes no other", ErrInvalid, quoted(key))
	}
	return call, nil
}

func keyCall(op transport.Op, key string) node.Call {
	return node.Call{Op: op, Slot: hashtag.Slot(key), Key: key}
}
