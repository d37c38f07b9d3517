package resp

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh"
)

var keyCommands = []command{
	{name: "del", arity: -2, flags: write | blindly, group: "generic", about: "Deletes keys.", first: 1, last: -1, step: 1, tx: del, alone: delAlone},
	{name: "unlink", arity: -2, flags: write | fast | blindly, group: "generic", about: "Deletes keys.", first: 1, last: -1, step: 1, tx: del, alone: delAlone},
	{name: "exists", arity: -2, flags: readonly | fast | blindly, group: "generic", about: "Counts those of the keys that exist.", first: 1, last: -1, step: 1, tx: exists, alone: existsAlone},
	{name: "touch", arity: -2, flags: readonly | fast | blindly, group: "generic", about: "Counts those of the keys that exist.", first: 1, last: -1, step: 1, tx: exists, alone: existsAlone},
	{name: "type", arity: 2, flags: readonly | fast, group: "generic", about: "Returns the type of a value.", first: 1, last: 1, step: 1, tx: typeOf},
	{name: "ttl", arity: 2, flags: readonly | fast, group: "generic", about: "Returns the seconds a key has to live.", first: 1, last: 1, step: 1, tx: ttl, alone: ttlAlone},
	{name: "pttl", arity: 2, flags: readonly | fast, group: "generic", about: "Returns the milliseconds a key has to live.", first: 1, last: 1, step: 1, tx: ttl, alone: ttlAlone},
	{name: "expiretime", arity: 2, flags: readonly | fast, group: "generic", about: "Returns the Unix second at which a key expires.", first: 1, last: 1, step: 1, tx: expireTime},
	{name: "pexpiretime", arity: 2, flags: readonly | fast, group: "generic", about: "Returns the Unix millisecond at which a key expires.", first: 1, last: 1, step: 1, tx: expireTime},
	{name: "expire", arity: -3, flags: write | fast, group: "generic", about: "Lets a key expire in seconds.", first: 1, last: 1, step: 1, label: labelTimed, tx: expire, alone: expireAlone},
	{name: "pexpire", arity: -3, flags: write | fast, group: "generic", about: "Lets a key expire in milliseconds.", first: 1, last: 1, step: 1, label: labelTimed, tx: expire, alone: expireAlone},
	{name: "expireat", arity: -3, flags: write | fast, group: "generic", about: "Lets a key expire at a Unix second.", first: 1, last: 1, step: 1, label: labelTimed, tx: expire},
	{name: "pexpireat", arity: -3, flags: write | fast, group: "generic", about: "Lets a key expire at a Unix millisecond.", first: 1, last: 1, step: 1, label: labelTimed, tx: expire},
	{name: "persist", arity: 2, flags: write | fast, group: "generic", about: "Lets a key last for ever.", first: 1, last: 1, step: 1, label: labelTimed, tx: persist},
	{name: "rename", arity: 3, flags: write, group: "generic", about: "Moves a value to another key.", first: 1, last: 2, step: 1, label: labelRename, tx: rename},
	{name: "renamenx", arity: 3, flags: write | fast, group: "generic", about: "Moves a value to a key that does not exist.", first: 1, last: 2, step: 1, label: labelRename, tx: rename},
	{name: "copy", arity: -3, flags: write | denyOOM, group: "generic", about: "Copies a value to another key.", first: 1, last: 2, step: 1, label: labelCopy, tx: copyKey},
	{name: "dump", arity: 2, flags: readonly, group: "generic", about: "Returns a value in a form for RESTORE.", first: 1, last: 1, step: 1, tx: dump},
	{name: "restore", arity: -4, flags: write | denyOOM, group: "generic", about: "Sets a key to what DUMP returned.", first: 1, last: 1, step: 1, label: labelRestore, tx: restore},
	{name: "object", arity: -2, flags: readonly, group: "generic", about: "A container for commands that look into values."},
	{name: "memory", arity: -2, flags: readonly, group: "server", about: "A container for commands about memory."},
	{name: "randomkey", arity: 1, flags: readonly, group: "generic", about: "Returns a key of this node.", run: randomKey},
	{name: "keys", arity: 2, flags: readonly, group: "generic", about: "Returns the keys of this node that match a pattern.", run: keys},
	{name: "scan", arity: -2, flags: readonly, group: "generic", about: "Goes through the keys of this node.", run: scan},
	{name: "dbsize", arity: 1, flags: readonly | fast, group: "server", about: "Counts the keys of this node.", run: dbSize},
	{name: "flushall", arity: -1, flags: write | noMulti, group: "server", about: "Deletes the keys of this node.", run: flush},
	{name: "flushdb", arity: -1, flags: write | noMulti, group: "server", about: "Deletes the keys of this node.", run: flush},
}

var objectCommands = []command{
	{name: "encoding", arity: 3, flags: readonly, about: "Returns how Redis would keep a value.", first: 2, last: 2, step: 1, tx: encoding},
	{name: "refcount", arity: 3, flags: readonly, about: "Returns 1.", first: 2, last: 2, step: 1, tx: one},
	{name: "idletime", arity: 3, flags: readonly, about: "Returns 0.", first: 2, last: 2, step: 1, tx: idle},
	{name: "freq", arity: 3, flags: readonly, about: "Is refused, as without an LFU policy.", first: 2, last: 2, step: 1, tx: freq},
}

var memoryCommands = []command{
	{name: "usage", arity: -3, flags: readonly, about: "Estimates the bytes that a key takes.", first: 2, last: 2, step: 1, tx: memoryUsage},
	{name: "doctor", arity: 2, about: "Says that nothing is wrong.", run: func(c *conn, _ [][]byte) { c.out.verbatim("Hi Sam, I can't find any memory issue in your instance.") }},
}

func del(v *view, args [][]byte) {
	v.survey(args[1:])
	count := int64(0)
	for _, key := range args[1:] {
		if v.look(key).found {
			v.del(key)
			count++
		}
	}
	v.out.int(count)
}

func delAlone(c *conn, args [][]byte) bool {
	keys := args[1:]
	if len(keys) > 1 && len(keys) <= mostKeys && sameSlot(keys) {
		return false
	}
	count := int64(0)
	err := c.call(func(ctx context.Context) error {
		if len(keys) == 1 {
			existed, err := c.s.cache.Delete(ctx, string(keys[0]))
			if existed {
				count = 1
			}
			return err
		}
		for _, r := range c.s.cache.DeleteMany(ctx, distinct(keys)) {
			if r.Err != nil {
				return r.Err
			}
			if r.Existed {
				count++
			}
		}
		return nil
	})
	if err != nil {
		c.fault(err)
	} else {
		c.out.int(count)
	}
	return true
}

func distinct(keys [][]byte) []string {
	seen := make(map[string]bool, len(keys))
	list := make([]string, 0, len(keys))
	for _, key := range keys {
		if !seen[string(key)] {
			seen[string(key)] = true
			list = append(list, string(key))
		}
	}
	return list
}

func exists(v *view, args [][]byte) {
	v.survey(args[1:])
	count := int64(0)
	for _, key := range args[1:] {
		if v.look(key).found {
			count++
		}
	}
	v.out.int(count)
}

func existsAlone(c *conn, args [][]byte) bool {
	keys := args[1:]
	if len(keys) > 1 && len(keys) <= mostKeys && sameSlot(keys) {
		return false
	}
	count := int64(0)
	err := c.call(func(ctx context.Context) error {
		if len(keys) == 1 {
			found, err := c.s.cache.Exists(ctx, string(keys[0]))
			if found {
				count = 1
			}
			return err
		}
		group, results := c.s.cache.Batch(), make(map[string]*slotmesh.BatchResult, len(keys))
		for _, key := range distinct(keys) {
			results[key] = group.Exists(key)
		}
		_ = group.Do(ctx) // each result has its error
		count = 0
		for _, key := range keys { // what is named twice counts twice
			switch r := results[string(key)]; {
			case r.Err != nil:
				return r.Err
			case r.Existed:
				count++
			}
		}
		return nil
	})
	if err != nil {
		c.fault(err)
	} else {
		c.out.int(count)
	}
	return true
}

func typeOf(v *view, args [][]byte) {
	if v.look(args[1]).found {
		v.out.simple("string")
	} else {
		v.out.simple("none")
	}
}

func ttl(v *view, args [][]byte) {
	ms := v.look(args[1]).left(v.now)
	if args[0][0]|0x20 == 't' && ms >= 0 {
		ms = (ms + 500) / 1000
	}
	v.out.int(ms)
}

// ttlAlone is TTL or PTTL by the clock of the slot's primary. A time that is longer than
// the library can say it is told by this node's.
func ttlAlone(c *conn, args [][]byte) bool {
	var left time.Duration
	err := c.call(func(ctx context.Context) (err error) {
		left, err = c.s.cache.TTL(ctx, string(args[1]))
		return err
	})
	switch ms := left.Milliseconds(); {
	case missing(err):
		c.out.int(-2)
	case err != nil:
		c.fault(err)
	case left == slotmesh.NoTTL:
		c.out.int(-1)
	case left > maxLifetime:
		return false
	case args[0][0]|0x20 == 't':
		c.out.int((ms + 500) / 1000)
	default:
		c.out.int(ms)
	}
	return true
}

func expireTime(v *view, args [][]byte) {
	e := v.look(args[1])
	switch {
	case !e.found:
		v.out.int(-2)
	case e.expires == 0:
		v.out.int(-1)
	case args[0][0]|0x20 == 'p':
		v.out.int(e.expires)
	default:
		v.out.int((e.expires + 500) / 1000)
	}
}

func expire(v *view, args [][]byte) {
	name := strings.ToLower(string(args[0]))
	how := map[string]int{"expire": inSeconds, "pexpire": inMillis, "expireat": atSecond, "pexpireat": atMilli}[name]
	var nx, xx, gt, lt bool
	for _, arg := range args[3:] {
		switch {
		case word(arg, "NX"):
			nx = true
		case word(arg, "XX"):
			xx = true
		case word(arg, "GT"):
			gt = true
		case word(arg, "LT"):
			lt = true
		default:
			v.out.fail("ERR Unsupported option " + clip(arg, len(arg)))
			return
		}
	}
	switch {
	case nx && (xx || gt || lt):
		v.out.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	case gt && lt:
		v.out.fail("ERR GT and LT options at the same time are not compatible")
		return
	}
	var n int64
	if !v.out.integer(args[2], &n) {
		return
	}
	t, ok := deadline(n, how, v.now)
	if !ok {
		v.out.fail("ERR invalid expire time in '" + name + "' command")
		return
	}
	e := v.get(args[1])
	// Without an expiry a key lasts longer than with any.
	if !e.found || nx && e.expires != 0 || xx && e.expires == 0 ||
		gt && (e.expires == 0 || t.expires <= e.expires) || lt && e.expires != 0 && t.expires >= e.expires {
		v.out.truth(false)
		return
	}
	if t.expires <= v.now { // 0 too
		v.del(args[1])
	} else {
		v.set(args[1], e.value, t)
	}
	v.out.truth(true)
}

// expireAlone is expire from now on, without conditions.
func expireAlone(c *conn, args [][]byte) bool {
	if len(args) != 3 {
		return false
	}
	d, ok := lifetime(args[2], word(args[0], "EXPIRE"))
	if !ok {
		return false
	}
	err := c.call(func(ctx context.Context) error { return c.s.cache.Expire(ctx, string(args[1]), d) })
	if err != nil && !missing(err) {
		c.fault(err)
	} else {
		c.out.truth(err == nil)
	}
	return true
}

// maxLifetime is the longest that keys are let expire in without looking at them.
const maxLifetime = 100 * 365 * 24 * time.Hour

// lifetime reads how long a key is to last; false: it is not above 0 and at most maxLifetime.
func lifetime(arg []byte, seconds bool) (time.Duration, bool) {
	unit := time.Millisecond
	if seconds {
		unit = time.Second
	}
	var unsaid reply
	var n int64
	if !unsaid.integer(arg, &n) || n <= 0 || n > int64(maxLifetime/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

func persist(v *view, args [][]byte) {
	e := v.get(args[1])
	if e.expires != 0 {
		v.set(args[1], e.value, term{})
	}
	v.out.truth(e.expires != 0)
}

func rename(v *view, args [][]byte) {
	onlyNew := len(args[0]) == len("renamenx")
	e := v.get(args[1])
	if !e.found {
		v.out.fail(errNoKey)
		return
	}
	if same := string(args[1]) == string(args[2]); onlyNew && (same || v.look(args[2]).found) {
		v.out.truth(false)
		return
	} else if !same {
		v.del(args[1])
		v.set(args[2], e.value, e.term)
	}
	if onlyNew {
		v.out.truth(true)
	} else {
		v.out.ok()
	}
}

func copyKey(v *view, args [][]byte) {
	replace, elsewhere := false, false
	for i := 3; i < len(args); i++ {
		switch {
		case word(args[i], "REPLACE"):
			replace = true
		case word(args[i], "DB") && i+1 < len(args):
			var db int64
			if i++; !v.out.database(args[i], &db) {
				return
			}
			if db < 0 || db > 15 { // those that Redis has by default
				v.out.fail("ERR DB index is out of range")
				return
			}
			elsewhere = db != 0
		default:
			v.out.fail(errSyntax)
			return
		}
	}
	if elsewhere {
		v.out.fail("ERR Copying to another database is not allowed in cluster mode")
		return
	}
	if string(args[1]) == string(args[2]) {
		v.out.fail("ERR source and destination objects are the same")
		return
	}
	e := v.get(args[1])
	if !e.found || !replace && v.look(args[2]).found {
		v.out.truth(false)
		return
	}
	v.set(args[2], e.value, e.term)
	v.out.truth(true)
}

// encoding is how Redis would keep such a value that was just set.
func encoding(v *view, args [][]byte) {
	e := v.get(args[2])
	_, integer := number(e.value)
	switch {
	case !e.found:
		v.out.null()
	case integer:
		v.out.text("int")
	case len(e.value) <= 44:
		v.out.text("embstr")
	default:
		v.out.text("raw")
	}
}

func one(v *view, args [][]byte) {
	if v.look(args[2]).found {
		v.out.int(1)
	} else {
		v.out.null()
	}
}

func idle(v *view, args [][]byte) {
	if v.look(args[2]).found {
		v.out.int(0)
	} else {
		v.out.null()
	}
}

func freq(v *view, args [][]byte) {
	if v.look(args[2]).found {
		v.out.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	} else {
		v.out.null()
	}
}

// recordOverhead is about what a key costs beside its own bytes.
const recordOverhead = 56

func memoryUsage(v *view, args [][]byte) {
	for i := 3; i < len(args); i += 2 {
		var n int64
		if !word(args[i], "SAMPLES") || i+1 == len(args) {
			v.out.fail(errSyntax)
			return
		}
		if !v.out.integer(args[i+1], &n) {
			return
		}
		if n < 0 {
			v.out.fail(errSyntax)
			return
		}
	}
	e := v.get(args[2])
	if !e.found {
		v.out.null()
		return
	}
	v.out.int(int64(len(args[2]) + len(e.value) + recordOverhead))
}

// randomKey looks for a key from a random place of a random slot on.
func randomKey(c *conn, _ [][]byte) {
	var slots []int
	for _, r := range c.domain() {
		for slot := r.from; slot <= r.to; slot++ {
			if c.s.forward || c.s.cache.Cluster().KeysIn(uint16(slot)) > 0 {
				slots = append(slots, slot)
			}
		}
	}
	for _, i := range rand.Perm(len(slots)) {
		slot := slots[i]
		for _, from := range []uint64{rand.Uint64() >> 15 << 14, 0} {
			at := slotmesh.CursorAt(from | uint64(slot))
			for item, err := range c.s.cache.Scan(c.stay, slotmesh.ScanSlot(slot), slotmesh.ScanFrom(&at), slotmesh.ScanKeysOnly(), slotmesh.ScanPageSize(1)) {
				if err == nil {
					c.out.text(item.Key)
					return
				}
			}
		}
	}
	c.out.null()
}
