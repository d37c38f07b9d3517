package slotmesh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// GetSet stores a copy of value under key and returns the value that was there
// before, in one step: nobody's write comes between. Without a key before it
// returns nil and false. It takes the options of Set.
//
// Its errors are those of Set. ErrUnknownOutcome also means that the answer to
// a write which took effect was lost together with an old value of more than
// 64 KiB.
func (c *Cache) GetSet(ctx context.Context, key string, value []byte, opts ...SetOption) (old []byte, existed bool, err error) {
	call := keyCall(transport.OpSet, key)
	call.Value = value
	if err := applySet(&call, opts); err != nil {
		return nil, false, err
	}
	call.Flags |= transport.FlagReturnOld
	r, err := c.n.Do(ctx, &call)
	if err != nil || !r.Found {
		return nil, false, err
	}
	return present(r.Value), true, nil
}

// GetDelete removes key and returns its value, in one step: of several that
// try, one gets it. Its errors are those of GetSet, and ErrNotFound.
func (c *Cache) GetDelete(ctx context.Context, key string) ([]byte, error) {
	call := keyCall(transport.OpDelete, key)
	call.Flags = transport.FlagReturnOld
	r, err := c.n.Do(ctx, &call)
	switch {
	case err != nil:
		return nil, err
	case !r.Found:
		return nil, ErrNotFound
	}
	return present(r.Value), nil
}

// GetExpire returns key's value and lets the key expire d from now, as Expire
// does: a read that keeps a session alive. It is a write, so it costs what Set
// costs and gives the key a new version. Its errors are those of GetSet, and
// ErrNotFound; a d of zero or less gives ErrInvalid.
func (c *Cache) GetExpire(ctx context.Context, key string, d time.Duration) ([]byte, error) {
	ms, err := ttlMilli(key, d)
	if err != nil {
		return nil, err
	}
	call := keyCall(transport.OpExpire, key)
	call.Expiry, call.Flags = ms, transport.FlagRelative|transport.FlagReturnOld
	r, err := c.n.Do(ctx, &call)
	if err != nil {
		return nil, err
	}
	return present(r.Value), nil
}

// present is a value that is there, and so never nil.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Append adds suffix to the end of key's value and returns the new length. An
// absent key counts as empty; a present one keeps its expiry, unless TTL or
// ExpireAt says otherwise. It takes the options of Set.
//
// The whole value is replicated each time. Its errors are those of Set, where
// ErrTooLarge means that the sum exceeds the limit.
func (c *Cache) Append(ctx context.Context, key string, suffix []byte, opts ...SetOption) (int, error) {
	call := keyCall(transport.OpAppend, key)
	call.Value = suffix
	if err := applySet(&call, opts); err != nil {
		return 0, err
	}
	r, err := c.n.Do(ctx, &call)
	if err != nil {
		return 0, err
	}
	return int(r.Int), nil
}

// IncrOption changes what one Incr does.
type IncrOption struct {
	what uint8
	n    int64
}

const (
	incrNothing uint8 = iota // the zero IncrOption
	incrMin
	incrMax
	incrTTL
)

// IncrMin refuses a sum below low: the call changes nothing and gives
// ErrConditionFailed with the present number.
func IncrMin(low int64) IncrOption { return IncrOption{incrMin, low} }

// IncrMax refuses a sum above high: the call changes nothing and gives
// ErrConditionFailed with the present number.
func IncrMax(high int64) IncrOption { return IncrOption{incrMax, high} }

// IncrTTL lets a key that Incr creates expire d later, rounded up to a whole
// millisecond. A key that is there keeps its expiry, so that a window of time
// ends when it ends. A d of zero or less gives ErrInvalid.
func IncrTTL(d time.Duration) IncrOption { return IncrOption{incrTTL, int64(d)} }

// Incr adds delta, which may be negative, to the decimal integer under key and
// returns the sum. An absent key counts as 0; a present one keeps its expiry.
// Integers are written without a plus sign and leading zeros, as Incr writes
// them and Redis wants them: anything else is ErrNotInteger, and so is any value that
// a typed view wrote with Msgpack or Protobuf.
// With IncrMin or IncrMax a sum beyond them gives ErrConditionFailed and the
// number as it is.
//
// Its other errors are those of Set, and ErrNotInteger.
func (c *Cache) Incr(ctx context.Context, key string, delta int64, opts ...IncrOption) (int64, error) {
	call, err := incrCall(key, delta, opts)
	if err != nil {
		return 0, err
	}
	r, err := c.n.Do(ctx, &call)
	if err != nil && !errors.Is(err, ErrConditionFailed) {
		return 0, err
	}
	return r.Int, err
}

func incrCall(key string, delta int64, opts []IncrOption) (node.Call, error) {
	call := keyCall(transport.OpIncr, key)
	call.Delta = delta
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	for _, o := range opts {
		switch o.what {
		case incrMin:
			low = o.n
		case incrMax:
			high = o.n
		case incrTTL:
			ms, err := ttlMilli(key, time.Duration(o.n))
			if err != nil {
				return call, err
			}
			call.Expiry = ms
			call.Flags |= transport.FlagRelative
		}
	}
	if low > high {
		return call, fmt.Errorf("%w: %s with IncrMin(%d) above IncrMax(%d)", ErrInvalid, quoted(key), low, high)
	}
	if low != math.MinInt64 || high != math.MaxInt64 {
		call.Flags |= transport.FlagBounds
		call.Old = binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(low))
		call.Old = binary.BigEndian.AppendUint64(call.Old, uint64(high))
	}
	return call, nil
}
