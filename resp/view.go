package resp

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

// view is the keys of one slot as the commands of a transaction see them: what
// was there, and what they have written. It answers what they answer.
type view struct {
	c     *conn        // whose they are
	tx    *slotmesh.Tx // nil: read reads keys, each by itself, and nothing is written
	read  func(names []string) []slotmesh.ItemResult
	now   int64 // Unix milliseconds, the same for all commands
	own   map[string]entry
	label uint8 // of the command that runs
	out   *reply

	mark    int   // where its answers begin in out
	refused error // see bounded
}

// run runs a command.
func (v *view) run(cmd *command, args [][]byte) {
	v.label = cmd.label
	cmd.tx(v, args)
}

// bounded fails where the answers so far take more memory than there is for them, and
// from then on: what a command has broken off is not to be sent when there is room again.
func (v *view) bounded() error {
	if v.refused == nil {
		v.refused = v.c.bounded(len(v.out.b) - v.mark)
	}
	return v.refused
}

// entry is what is under a key.
type entry struct {
	value   []byte // not to be changed
	found   bool
	version uint64
	label   uint8 // of what this view wrote
	term
}

// term is how long a key lasts.
type term struct {
	expires int64 // Unix milliseconds; 0: it lasts
	// in is how long from the write on, by the primary's clock, which may show another
	// time than what expires was made by; 0: expires says it all.
	in time.Duration
}

func (t term) option() slotmesh.SetOption {
	switch {
	case t.in != 0:
		return slotmesh.TTL(t.in)
	case t.expires != 0:
		return slotmesh.ExpireAt(time.UnixMilli(t.expires))
	}
	return slotmesh.SetOption{}
}

// get reads a key. Where that fails the transaction fails, whatever the
// command does: the entry is an absent one.
func (v *view) get(key []byte) entry {
	if e, ok := v.own[string(key)]; ok {
		return e
	}
	if v.tx != nil {
		return entryOf(v.tx.GetMany(string(key))[0])
	}
	v.load([][]byte{key})
	return v.own[string(key)]
}

// look is get without the value, which may be there all the same.
func (v *view) look(key []byte) entry {
	if _, ok := v.own[string(key)]; ok || v.tx == nil {
		return v.get(key)
	}
	return entryOf(v.tx.ExistsMany(string(key))[0])
}

// survey is load for look.
func (v *view) survey(keys [][]byte) {
	if v.tx == nil {
		v.load(keys)
		return
	}
	v.tx.ExistsMany(distinct(keys)...)
}

// load reads keys side by side, for get.
func (v *view) load(keys [][]byte) {
	names := distinct(keys)
	if v.tx != nil {
		v.tx.GetMany(names...)
		return
	}
	if v.own == nil {
		v.own = map[string]entry{}
	}
	for _, r := range v.read(names) {
		v.own[r.Key] = entryOf(r)
	}
}

func entryOf(r slotmesh.ItemResult) entry {
	if r.Err != nil {
		return entry{}
	}
	e := entry{value: r.Value, found: true, version: r.Version}
	if !r.Expires.IsZero() {
		e.expires = r.Expires.UnixMilli()
	}
	return e
}

// set writes a key; its errors are the transaction's.
func (v *view) set(key, value []byte, t term) {
	name := string(key)
	v.note(name, entry{value: value, found: true, term: t})
	_ = v.tx.Set(name, value, t.option())
}

// setUntil is set for a time that the client said, which may be past.
func (v *view) setUntil(key, value []byte, t term) {
	if t.expires != 0 && t.expires <= v.now {
		v.del(key)
	} else {
		v.set(key, value, t)
	}
}

func (v *view) del(key []byte) {
	v.note(string(key), entry{})
	_ = v.tx.Delete(string(key))
}

// note keeps a write, and labels it before it is made. What several commands did to a
// key is one write: where they differ it is told as any other.
func (v *view) note(name string, e entry) {
	if v.own == nil {
		v.own = map[string]entry{}
	}
	e.label = v.label
	if before, ok := v.own[name]; ok && before.label != v.label {
		e.label = 0
	}
	v.own[name] = e
	v.tx.SetLabel(e.label)
}

// transact runs a data command as a transaction of its own.
func (c *conn) transact(cmd *command, args [][]byte) {
	slot := cmd.slotOf(args)
	if slot == -2 {
		if c.s.forward && cmd.flags&blindly != 0 && cmd.alone(c, args) {
			return
		}
		c.out.fail(errCrossSlot)
		return
	}
	if c.readonly && cmd.flags&readonly != 0 {
		c.stale(cmd, args)
		return
	}
	if cmd.alone != nil && cmd.alone(c, args) {
		return
	}
	mark := len(c.out.b)
	err := c.call(func(ctx context.Context) error {
		return c.s.cache.Txn(ctx, string(args[cmd.first]), func(tx *slotmesh.Tx) error {
			c.out.b = c.out.b[:mark]
			v := view{c: c, tx: tx, now: time.Now().UnixMilli(), out: &c.out, mark: mark}
			v.run(cmd, args)
			return v.bounded()
		})
	})
	if err != nil {
		c.out.b = c.out.b[:mark]
		c.fault(err)
	}
}

// stale runs a command that only reads, of a client that said READONLY: what
// backups on this node know is good enough.
func (c *conn) stale(cmd *command, args [][]byte) {
	c.apart(cmd, args, slotmesh.AllowStale(c.s.options.stale))
}

// apart runs a command that only reads, each key by itself.
func (c *conn) apart(cmd *command, args [][]byte, opts ...slotmesh.GetOption) {
	mark := len(c.out.b)
	err := c.call(func(ctx context.Context) (err error) {
		c.out.b = c.out.b[:mark]
		v := view{c: c, now: time.Now().UnixMilli(), out: &c.out, mark: mark, read: func(names []string) (results []slotmesh.ItemResult) {
			if err != nil {
				return nil
			}
			results = c.s.cache.GetMany(ctx, names, opts...)
			for _, r := range results {
				switch {
				case r.Err == nil:
					c.s.stats.hits.Add(1)
				case missing(r.Err):
					c.s.stats.misses.Add(1)
				default:
					err = r.Err
				}
			}
			return results
		}}
		v.run(cmd, args)
		if err == nil {
			err = v.bounded()
		}
		return err
	})
	if err != nil {
		c.out.b = c.out.b[:mark]
		c.fault(err)
	}
}

// sameSlot reports whether keys are all in one slot.
func sameSlot(keys [][]byte) bool {
	for _, key := range keys[1:] {
		if hashtag.SlotBytes(key) != hashtag.SlotBytes(keys[0]) {
			return false
		}
	}
	return true
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// integer reads an argument as one; false: it has answered.
func (r *reply) integer(arg []byte, n *int64) bool {
	var ok bool
	if *n, ok = number(arg); !ok {
		r.fail(errNotInteger)
	}
	return ok
}

// database reads an argument as the number of one; false: it has answered.
func (r *reply) database(arg []byte, n *int64) bool {
	if !r.integer(arg, n) {
		return false
	}
	if *n != int64(int32(*n)) {
		r.fail("ERR value is out of range, value must between -2147483648 and 2147483647")
		return false
	}
	return true
}

// Ways to say when a key expires.
const (
	inSeconds = iota
	inMillis
	atSecond
	atMilli
)

// deadline is when a key ends, of how a client says it; ok is false where that is out
// of range. Zero or less stands for a past time.
func deadline(n int64, how int, now int64) (t term, ok bool) {
	if how == inSeconds || how == atSecond {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return term{}, false
		}
		n *= 1000
	}
	if how == inSeconds || how == inMillis {
		if n > math.MaxInt64-now {
			return term{}, false
		}
		if n > 0 && n <= maxLifetime.Milliseconds() {
			t.in = time.Duration(n) * time.Millisecond
		}
		n += now
	}
	t.expires = n
	return t, true
}

// expiryOption reads EX, PX, EXAT or PXAT.
func expiryOption(arg []byte) (how int, ok bool) {
	for i, keyword := range []string{"EX", "PX", "EXAT", "PXAT"} {
		if word(arg, keyword) {
			return i, true
		}
	}
	return 0, false
}

// left is a time in milliseconds from now, as TTL and PTTL give it.
func (e entry) left(now int64) int64 {
	switch {
	case !e.found:
		return -2
	case e.expires == 0:
		return -1
	}
	return max(e.expires-now, 0)
}

// missing reports whether an error says that there is no such key.
func missing(err error) bool { return errors.Is(err, slotmesh.ErrNotFound) }
