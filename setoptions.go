package slotmesh

import (
	"fmt"
	"math"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// SetOption changes what one Set, SetMany, GetSet, Append or CompareAndSwap
// does. At most one of TTL, ExpireAt and KeepTTL and at most one of IfAbsent, IfPresent and
// IfVersion may be given; more give ErrInvalid.
//
// It is a plain value, so that a call with options allocates nothing for them.
type SetOption struct {
	flag uint16 // the condition or expiry flag it sets; 0 for ExpireAt
	what uint8
	n    int64 // TTL: nanoseconds; ExpireAt: Unix milliseconds
	ver  uint64
}

// What a SetOption is about; of each at most one is allowed.
const (
	setsNothing uint8 = iota // the zero SetOption
	setsExpiry
	setsCondition
)

// TTL lets the key expire d after the write, by the clock of the slot's
// primary, rounded up to a whole millisecond. A d of zero or less gives
// ErrInvalid.
func TTL(d time.Duration) SetOption {
	return SetOption{what: setsExpiry, flag: transport.FlagRelative, n: int64(d)}
}

// ExpireAt lets the key expire at t, rounded up to a whole millisecond and, as
// with TTL, down to the year 6429. A t that is past by the clock of the slot's
// primary removes the key at once; one of 1970 or earlier, so also the zero time,
// gives ErrInvalid.
func ExpireAt(t time.Time) SetOption {
	return SetOption{what: setsExpiry, n: ceilMilli(t)}
}

// KeepTTL leaves the key's expiry as it is. Without it, and without TTL or
// ExpireAt, a write makes the key last for ever.
func KeepTTL() SetOption {
	return SetOption{what: setsExpiry, flag: transport.FlagKeepTTL}
}

// IfAbsent writes only if there is no such key, else the call gives
// ErrConditionFailed.
func IfAbsent() SetOption {
	return SetOption{what: setsCondition, flag: transport.FlagIfAbsent}
}

// IfPresent writes only if the key exists, else the call gives
// ErrConditionFailed.
func IfPresent() SetOption {
	return SetOption{what: setsCondition, flag: transport.FlagIfPresent}
}

// IfVersion writes only if the key's version, as GetItem gave it, is still v,
// else the call gives ErrVersionMismatch. An absent key has version 0.
func IfVersion(v uint64) SetOption {
	return SetOption{what: setsCondition, flag: transport.FlagIfVersion, ver: v}
}

// applySet writes opts into call.
func applySet(call *node.Call, opts []SetOption) error {
	var given [setsCondition + 1]bool
	for _, o := range opts {
		if o.what == setsNothing {
			continue
		}
		if given[o.what] {
			return fmt.Errorf("%w: %s with more than one of %s", ErrInvalid, quoted(call.Key), alternatives[o.what])
		}
		given[o.what] = true
		call.Flags |= o.flag
		switch {
		case o.flag == transport.FlagIfVersion:
			call.Version = o.ver
		case o.flag == transport.FlagRelative:
			ms, err := ttlMilli(call.Key, time.Duration(o.n))
			if err != nil {
				return err
			}
			call.Expiry = ms
		case o.what == setsExpiry && o.flag == 0:
			if o.n <= 0 {
				return fmt.Errorf("%w: %s with ExpireAt of a time not after 1970", ErrInvalid, quoted(call.Key))
			}
			call.Expiry = o.n
		}
	}
	return nil
}

var alternatives = [...]string{
	setsExpiry:    "TTL, ExpireAt and KeepTTL",
	setsCondition: "IfAbsent, IfPresent and IfVersion",
}

// ttlMilli is key's d in milliseconds, rounded up.
func ttlMilli(key string, d time.Duration) (int64, error) {
	if d <= 0 {
		return 0, fmt.Errorf("%w: %s with a TTL of %v, want more than 0", ErrInvalid, quoted(key), d)
	}
	return int64((d-1)/time.Millisecond) + 1, nil
}

// millis is so many milliseconds. A key may have longer to live than a Duration can say:
// then it is the longest there is.
func millis(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// farSecond is behind every expiry there can be, and its milliseconds are a number.
const farSecond = 1 << 40

// ceilMilli is t in Unix milliseconds, rounded up.
func ceilMilli(t time.Time) int64 {
	if sec := t.Unix(); sec > farSecond {
		return farSecond * 1000
	} else if sec < 0 {
		return -1
	}
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}
