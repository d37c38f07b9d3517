package resp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh"
)

var stringCommands = []command{
	{name: "get", arity: 2, flags: readonly | fast | blindly, group: "string", about: "Returns the value of a key.", first: 1, last: 1, step: 1, tx: get, alone: getAlone},
	{name: "set", arity: -3, flags: write | denyOOM, group: "string", about: "Sets the value of a key.", first: 1, last: 1, step: 1, tx: set, alone: setAlone},
	{name: "setex", arity: 4, flags: write | denyOOM, group: "string", about: "Sets value and expiry of a key.", first: 1, last: 1, step: 1, tx: setEx, alone: setExAlone},
	{name: "psetex", arity: 4, flags: write | denyOOM, group: "string", about: "Sets value and expiry in milliseconds of a key.", first: 1, last: 1, step: 1, tx: setEx, alone: setExAlone},
	{name: "setnx", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Sets the value of a key that does not exist.", first: 1, last: 1, step: 1, tx: setNX, alone: setNXAlone},
	{name: "getset", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Sets the value of a key and returns the one before.", first: 1, last: 1, step: 1, tx: getSet, alone: getSetAlone},
	{name: "getdel", arity: 2, flags: write | fast, group: "string", about: "Returns the value of a key and deletes it.", first: 1, last: 1, step: 1, tx: getDel, alone: getDelAlone},
	{name: "getex", arity: -2, flags: write | fast, group: "string", about: "Returns the value of a key and sets its expiry.", first: 1, last: 1, step: 1, label: labelTimed, tx: getEx, alone: getExAlone},
	{name: "mget", arity: -2, flags: readonly | fast | blindly, group: "string", about: "Returns the values of keys.", first: 1, last: -1, step: 1, tx: mget, alone: mgetAlone},
	{name: "mset", arity: -3, flags: write | denyOOM | blindly, group: "string", about: "Sets the values of keys.", first: 1, last: -1, step: 2, tx: mset, alone: msetAlone},
	{name: "msetnx", arity: -3, flags: write | denyOOM, group: "string", about: "Sets the values of keys if none exists.", first: 1, last: -1, step: 2, tx: msetNX},
	{name: "append", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Adds to the end of a value.", first: 1, last: 1, step: 1, label: labelAppend, tx: appendTo, alone: appendAlone},
	{name: "strlen", arity: 2, flags: readonly | fast, group: "string", about: "Returns the length of a value.", first: 1, last: 1, step: 1, tx: strlen},
	{name: "getrange", arity: 4, flags: readonly, group: "string", about: "Returns a part of a value.", first: 1, last: 1, step: 1, tx: getRange},
	{name: "substr", arity: 4, flags: readonly, group: "string", about: "Returns a part of a value.", first: 1, last: 1, step: 1, tx: getRange},
	{name: "setrange", arity: 4, flags: write | denyOOM, group: "string", about: "Overwrites a part of a value.", first: 1, last: 1, step: 1, label: labelSetRange, tx: setRange},
	{name: "incr", arity: 2, flags: write | denyOOM | fast, group: "string", about: "Adds one to a number.", first: 1, last: 1, step: 1, label: labelIncr, tx: incr, alone: incrAlone},
	{name: "decr", arity: 2, flags: write | denyOOM | fast, group: "string", about: "Takes one from a number.", first: 1, last: 1, step: 1, label: labelIncr, tx: incr, alone: incrAlone},
	{name: "incrby", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Adds to a number.", first: 1, last: 1, step: 1, label: labelIncr, tx: incr, alone: incrAlone},
	{name: "decrby", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Takes from a number.", first: 1, last: 1, step: 1, label: labelIncr, tx: incr, alone: incrAlone},
	{name: "incrbyfloat", arity: 3, flags: write | denyOOM | fast, group: "string", about: "Adds to a number that is no integer.", first: 1, last: 1, step: 1, label: labelIncrFloat, tx: incrByFloat},
}

func (r *reply) value(e entry) {
	if e.found {
		r.bulk(e.value)
	} else {
		r.null()
	}
}

func get(v *view, args [][]byte) { v.out.value(v.get(args[1])) }

// getAlone is GET on the way that most calls take.
func getAlone(c *conn, args [][]byte) bool {
	key := string(args[1])
	err := c.call(func(ctx context.Context) (err error) {
		c.scratch, err = c.s.cache.GetInto(ctx, key, c.scratch[:0])
		return err
	})
	c.answerGet(c.scratch, err)
	if cap(c.scratch) > keepBuffer {
		c.scratch = nil
	}
	return true
}

// answerGet answers what has changed nothing: it may be refused.
func (c *conn) answerGet(value []byte, err error) {
	if err == nil {
		err = c.bounded(len(c.out.b) + len(value))
	}
	c.answerOld(value, err)
}

func (c *conn) answerOld(value []byte, err error) {
	switch {
	case err == nil:
		c.s.stats.hits.Add(1)
		c.out.bulk(value)
	case missing(err):
		c.s.stats.misses.Add(1)
		c.out.null()
	default:
		c.fault(err)
	}
}

// setting is what SET is told.
type setting struct {
	absent, present, old, keep bool
	how                        int
	amount                     []byte // of time; nil: none
}

func parseSet(args [][]byte) (s setting, ok bool) {
	for i := 3; i < len(args); i++ {
		how, timed := expiryOption(args[i])
		switch {
		case word(args[i], "NX") && !s.present:
			s.absent = true
		case word(args[i], "XX") && !s.absent:
			s.present = true
		case word(args[i], "GET"):
			s.old = true
		case word(args[i], "KEEPTTL") && s.amount == nil:
			s.keep = true
		case timed && !s.keep && (s.amount == nil || s.how == how) && i+1 < len(args):
			i++
			s.how, s.amount = how, args[i]
		default:
			return s, false
		}
	}
	return s, true
}

// expires is how long the key is to last; false: it has answered.
func (r *reply) expires(amount []byte, how int, now int64, name string) (t term, ok bool) {
	if amount == nil {
		return term{}, true
	}
	var n int64
	if !r.integer(amount, &n) {
		return term{}, false
	}
	if t, ok = deadline(n, how, now); !ok || n <= 0 || t.expires <= 0 {
		r.fail("ERR invalid expire time in '" + name + "' command")
		return term{}, false
	}
	return t, true
}

func set(v *view, args [][]byte) {
	s, ok := parseSet(args)
	if !ok {
		v.out.fail(errSyntax)
		return
	}
	t, ok := v.out.expires(s.amount, s.how, v.now, "set")
	if !ok {
		return
	}
	var before entry
	switch {
	case s.old:
		before = v.get(args[1])
	case s.absent || s.present || s.keep:
		before = v.look(args[1])
	}
	write := !(s.absent && before.found || s.present && !before.found)
	switch {
	case write && s.keep:
		v.label = labelKept
		v.set(args[1], args[2], before.term)
	case write:
		v.setUntil(args[1], args[2], t)
	}
	switch {
	case s.old:
		v.out.value(before)
	case write:
		v.out.ok()
	default:
		v.out.null()
	}
}

// setAlone is SET without GET: one call.
func setAlone(c *conn, args [][]byte) bool {
	s, ok := parseSet(args)
	if !ok || s.old {
		return false
	}
	opts, ok := c.out.options(&s, "set")
	if !ok {
		return true
	}
	c.answerSet(c.call(func(ctx context.Context) error { return c.s.cache.Set(ctx, string(args[1]), args[2], opts[:]...) }))
	return true
}

// options are the library's for a SET without GET, now; false: it has answered.
func (r *reply) options(s *setting, name string) (opts [2]slotmesh.SetOption, ok bool) {
	t, ok := r.expires(s.amount, s.how, time.Now().UnixMilli(), name)
	if !ok {
		return opts, false
	}
	if opts[0] = t.option(); s.keep {
		opts[0] = slotmesh.KeepTTL()
	}
	switch {
	case s.absent:
		opts[1] = slotmesh.IfAbsent()
	case s.present:
		opts[1] = slotmesh.IfPresent()
	}
	return opts, true
}

func (c *conn) answerSet(err error) {
	switch {
	case err == nil:
		c.out.ok()
	case errors.Is(err, slotmesh.ErrConditionFailed):
		c.out.null()
	default:
		c.fault(err)
	}
}

// parseSetEx reads SETEX or PSETEX.
func parseSetEx(args [][]byte) (s setting, name string) {
	if word(args[0], "PSETEX") {
		return setting{how: inMillis, amount: args[2]}, "psetex"
	}
	return setting{how: inSeconds, amount: args[2]}, "setex"
}

func setEx(v *view, args [][]byte) {
	s, name := parseSetEx(args)
	if t, ok := v.out.expires(s.amount, s.how, v.now, name); ok {
		v.set(args[1], args[3], t)
		v.out.ok()
	}
}

func setExAlone(c *conn, args [][]byte) bool {
	s, name := parseSetEx(args)
	if opts, ok := c.out.options(&s, name); ok {
		c.answerSet(c.call(func(ctx context.Context) error { return c.s.cache.Set(ctx, string(args[1]), args[3], opts[:]...) }))
	}
	return true
}

func setNX(v *view, args [][]byte) {
	found := v.look(args[1]).found
	if !found {
		v.set(args[1], args[2], term{})
	}
	v.out.truth(!found)
}

func setNXAlone(c *conn, args [][]byte) bool {
	c.answerSetNX(c.call(func(ctx context.Context) error {
		return c.s.cache.Set(ctx, string(args[1]), args[2], slotmesh.IfAbsent())
	}))
	return true
}

func (c *conn) answerSetNX(err error) {
	if err != nil && !errors.Is(err, slotmesh.ErrConditionFailed) {
		c.fault(err)
		return
	}
	c.out.truth(err == nil)
}

func mget(v *view, args [][]byte) {
	keys := args[1:]
	v.out.array(len(keys))
	// Twice as many at a time, so that few large ones more are read than answered.
	for n := firstKeys; len(keys) > 0; n *= 2 {
		some := keys[:min(n, len(keys))]
		v.load(some)
		for _, key := range some {
			if v.out.value(v.get(key)); v.bounded() != nil {
				return // whoever runs it refuses
			}
		}
		keys = keys[len(some):]
	}
}

const (
	// mostKeys is how many keys a transaction may have: more are read or written
	// each by itself.
	mostKeys = 1000
	// firstKeys are read at once in the beginning, of whatever size.
	firstKeys = 16
)

// mgetAlone reads each key by itself where they are in different slots, or too
// many for a transaction, or only one.
func mgetAlone(c *conn, args [][]byte) bool {
	keys := args[1:]
	if len(keys) > 1 && len(keys) <= mostKeys && sameSlot(keys) {
		return false
	}
	c.apart(find(args[0]), args)
	return true
}

func texts(args [][]byte) []string {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = string(a)
	}
	return list
}

func mset(v *view, args [][]byte) {
	if len(args)%2 == 0 {
		v.out.fail("ERR wrong number of arguments for 'mset' command")
		return
	}
	for i := 1; i < len(args); i += 2 {
		v.set(args[i], args[i+1], term{})
	}
	v.out.ok()
}

func msetAlone(c *conn, args [][]byte) bool {
	n := len(args) / 2
	if len(args)%2 == 0 {
		return false
	}
	if n <= mostKeys && find(args[0]).slotOf(args) >= 0 {
		c.answerSet(c.call(func(ctx context.Context) error {
			return c.s.cache.Txn(ctx, string(args[1]), func(tx *slotmesh.Tx) error {
				for i := 1; i < len(args); i += 2 {
					_ = tx.Set(string(args[i]), args[i+1]) // its errors are the transaction's
				}
				return nil
			})
		}))
		return true
	}
	entries := make([]slotmesh.Entry, 0, n)
	place := make(map[string]int, n) // the last value of a key counts
	for i := 1; i < len(args); i += 2 {
		key := string(args[i])
		if at, ok := place[key]; ok {
			entries[at].Value = args[i+1]
			continue
		}
		place[key] = len(entries)
		entries = append(entries, slotmesh.Entry{Key: key, Value: args[i+1]})
	}
	err := c.call(func(ctx context.Context) error {
		for _, err := range c.s.cache.SetMany(ctx, entries) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	c.answerSet(err)
	return true
}

func msetNX(v *view, args [][]byte) {
	if len(args)%2 == 0 {
		v.out.fail("ERR wrong number of arguments for 'msetnx' command")
		return
	}
	for i := 1; i < len(args); i += 2 {
		if v.look(args[i]).found {
			v.out.truth(false)
			return
		}
	}
	for i := 1; i < len(args); i += 2 {
		v.set(args[i], args[i+1], term{})
	}
	v.out.truth(true)
}

// maxString is how long Redis lets APPEND and SETRANGE make a value. Ours are
// shorter, by slotmesh.Limits, which the write itself finds out.
const maxString = 512 << 20

func appendTo(v *view, args [][]byte) {
	e := v.get(args[1])
	value := append(append(make([]byte, 0, len(e.value)+len(args[2])), e.value...), args[2]...)
	v.set(args[1], value, e.term)
	v.out.int(int64(len(value)))
}

func appendAlone(c *conn, args [][]byte) bool {
	var size int
	err := c.call(func(ctx context.Context) (err error) {
		size, err = c.s.cache.Append(ctx, string(args[1]), args[2])
		return err
	})
	if err != nil {
		c.fault(err)
	} else {
		c.out.int(int64(size))
	}
	return true
}

func strlen(v *view, args [][]byte) { v.out.int(int64(len(v.get(args[1]).value))) }

func getRange(v *view, args [][]byte) {
	var from, to int64
	if !v.out.integer(args[2], &from) || !v.out.integer(args[3], &to) {
		return
	}
	value := v.get(args[1]).value
	size := int64(len(value))
	if from < 0 && to < 0 && from > to || size == 0 {
		v.out.text("")
		return
	}
	if from < 0 {
		from = max(size+from, 0)
	}
	if to < 0 {
		to = max(size+to, 0)
	}
	to = min(to, size-1)
	if from > to {
		v.out.text("")
		return
	}
	v.out.bulk(value[from : to+1])
}

func setRange(v *view, args [][]byte) {
	var from int64
	if !v.out.integer(args[2], &from) {
		return
	}
	if from < 0 {
		v.out.fail("ERR offset is out of range")
		return
	}
	e := v.get(args[1])
	size := int64(len(e.value))
	if len(args[3]) == 0 {
		v.out.int(size)
		return
	}
	if from > maxString-int64(len(args[3])) {
		v.out.fail(errTooLong)
		return
	}
	if from > 64<<20 { // longer than any value: not to be made at all
		v.out.fail(faultText(fmt.Errorf("%w: value of %d bytes", slotmesh.ErrTooLarge, from+int64(len(args[3])))))
		return
	}
	value := make([]byte, max(size, from+int64(len(args[3]))))
	copy(value, e.value)
	copy(value[from:], args[3])
	v.set(args[1], value, e.term)
	v.out.int(int64(len(value)))
}
