package resp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh"
)

var multiCommands = []command{
	{name: "multi", arity: 1, flags: control | fast, group: "transactions", about: "Begins a transaction.", run: multi},
	{name: "exec", arity: 1, flags: control, group: "transactions", about: "Runs a transaction.", run: exec},
	{name: "discard", arity: 1, flags: control | fast, group: "transactions", about: "Forgets a transaction.", run: func(c *conn, _ [][]byte) {
		if !c.multi {
			c.out.fail("ERR DISCARD without MULTI")
			return
		}
		c.discard()
		c.unwatch()
		c.out.ok()
	}},
	{name: "watch", arity: -2, flags: control | fast, group: "transactions", about: "Lets the next transaction run only if keys stay as they are.", first: 1, last: -1, step: 1, run: watch},
	{name: "unwatch", arity: 1, flags: fast, group: "transactions", about: "Forgets what was watched.", run: func(c *conn, _ [][]byte) {
		c.unwatch()
		c.out.ok()
	}},
}

// Bounds of a transaction that is being queued.
const (
	maxQueued      = 10000 // commands
	maxQueuedBytes = 64 << 20
	mostWatched    = 1024 // keys: more a transaction can't check
)

func (c *conn) discard() {
	c.multi, c.spoiled, c.queued, c.size = false, false, nil, 0
}

func (c *conn) unwatch() { c.watched = nil }

func multi(c *conn, _ [][]byte) {
	if c.multi {
		c.out.fail("ERR MULTI calls can not be nested") // and nothing else, as in Redis
		return
	}
	c.multi = true
	c.out.simple("OK")
}

// queue keeps a command for EXEC.
func (c *conn) queue(cmd *command, args [][]byte) {
	switch slot := cmd.slotOf(args); {
	case slot == -2:
		c.refuse(errCrossSlot)
		return
	case slot >= 0 && !c.s.forward && !c.asking:
		owner, err := c.s.cache.Cluster().Owner(string(args[cmd.first]))
		if addr := addrOf(owner); err == nil && !owner.Self && addr != "" {
			c.refuse("MOVED " + itoa(int64(slot)) + " " + addr)
			return
		}
	}
	own := make([][]byte, len(args))
	for i, a := range args {
		own[i] = append([]byte{}, a...) // empty is not nil
		c.size += len(a) + 32
	}
	if len(c.queued) >= maxQueued || c.size > maxQueuedBytes {
		c.refuse("ERR too many commands in one transaction: at most 10000 of together 64 MiB")
		return
	}
	c.queued = append(c.queued, own)
	c.out.simple("QUEUED")
}

func watch(c *conn, args [][]byte) {
	if c.multi {
		c.out.fail("ERR WATCH inside MULTI is not allowed")
		return
	}
	if find(args[0]).slotOf(args) < 0 {
		c.out.fail(errCrossSlot)
		return
	}
	names := slices.DeleteFunc(distinct(args[1:]), func(name string) bool {
		_, already := c.watched[name] // a key is watched from the first time on
		return already
	})
	if len(names)+len(c.watched) > mostWatched {
		c.out.fail("ERR too many keys are watched: at most 1024")
		return
	}
	versions := map[string]uint64{}
	err := c.call(func(ctx context.Context) error {
		group, results := c.s.cache.Batch(), make([]*slotmesh.BatchResult, len(names))
		for i, name := range names {
			results[i] = group.Exists(name)
		}
		_ = group.Do(ctx) // each result has its error
		for i, r := range results {
			if r.Err != nil {
				return r.Err
			}
			versions[names[i]] = r.Version // 0: absent
		}
		return nil
	})
	if err != nil {
		c.fault(err)
		return
	}
	maps.Copy(versions, c.watched)
	c.watched = versions
	c.out.ok()
}

const errAborted = "EXECABORT Transaction discarded"

// errTouched ends a transaction of which a watched key has changed.
var errTouched = errors.New("a watched key has changed")

func exec(c *conn, _ [][]byte) {
	if !c.multi {
		c.out.fail("ERR EXEC without MULTI")
		return
	}
	queued, watched, spoiled := c.queued, c.watched, c.spoiled
	c.discard()
	c.unwatch()
	if spoiled {
		c.out.fail(errAborted + " because of previous errors.")
		return
	}
	tag, keyed, ok := c.commonSlot(queued, watched)
	if !ok {
		c.out.fail(errCrossSlot)
		return
	}
	var answers reply                // to the commands with keys
	ends := make([]int, len(queued)) // of each command's answer there
	err := error(nil)
	if keyed {
		c.running = [][]byte{[]byte("get"), []byte(tag)} // where a command of this slot goes, all go
		err = c.call(func(ctx context.Context) error {
			return c.s.cache.Txn(ctx, tag, func(tx *slotmesh.Tx) error {
				answers = reply{b: answers.b[:0], three: c.out.three}
				v := &view{c: c, tx: tx, now: time.Now().UnixMilli(), out: &answers}
				for _, now := range tx.ExistsMany(slices.Collect(maps.Keys(watched))...) {
					if now.Version != watched[now.Key] {
						return errTouched
					}
				}
				for i, args := range queued {
					switch cmd := lookup(args); {
					case cmd.tx != nil:
						v.run(cmd, args)
					case cmd.name == "hello": // its turn comes below
						if g, refusal := c.greets(args); refusal == "" && len(args) > 1 {
							answers.three = g.three
						}
					}
					ends[i] = len(answers.b)
					if err := v.bounded(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	switch {
	case errors.Is(err, errTouched):
		c.out.nullArray()
	case err != nil:
		c.fault(err)
	default:
		c.answerAll(queued, answers.b, ends)
	}
}

// commonSlot returns a key of the slot that all keys of a transaction are in; ok is false
// where they are in several, and keyed where there are none.
func (c *conn) commonSlot(queued [][][]byte, watched map[string]uint64) (tag string, keyed, ok bool) {
	slot := -1
	mix := func(s int, key string) bool {
		if s < 0 || slot >= 0 && s != slot {
			return false
		}
		slot, tag = s, key
		return true
	}
	for key := range watched {
		if !mix(int(c.s.cache.Cluster().KeySlot(key)), key) {
			return "", false, false
		}
	}
	for _, args := range queued {
		if cmd := lookup(args); cmd.first > 0 && !mix(cmd.slotOf(args), string(args[cmd.first])) {
			return "", false, false
		}
	}
	return tag, slot >= 0, true
}

// answerAll answers EXEC: commands with keys as the transaction did, up to each one's
// end in answers. The others run now. What is no part of the transaction happens once,
// however often that ran, and not at all where it failed.
func (c *conn) answerAll(queued [][][]byte, answers []byte, ends []int) {
	flush := c.flush
	if c.sub != nil { // a message must not come between the answers
		c.hold()
		defer c.release()
		defer func() { c.broken(c.flushLocked()) }()
		flush = c.flushLocked
	}
	c.out.array(len(queued))
	begin := 0
	for i, args := range queued {
		if cmd := lookup(args); cmd.tx == nil {
			c.running = args
			cmd.run(c, args)
		}
		c.out.b = append(c.out.b, answers[begin:ends[i]]...)
		begin = ends[i]
		if len(c.out.b) > flushBytes {
			c.broken(flush()) // the other commands run all the same
		}
	}
}

// broken closes a connection whose client did not take an answer: it is not waited for
// again.
func (c *conn) broken(err error) {
	if err != nil {
		c.closing = true
		c.nc.Close()
	}
}

// lookup finds the command of arguments that were looked at before.
func lookup(args [][]byte) *command {
	cmd := find(args[0])
	if cmd.subs != nil && len(args) > 1 {
		cmd = cmd.sub(args[1])
	}
	return cmd
}
