package resp

import (
	"errors"

	"github.com/slotmesh/slotmesh"
)

// together runs the commands at the beginning of a pipeline that can be made
// as one group of calls, and returns how many those were; 0: the first has to
// run by itself. They are plain GET, SET and INCR and their like: calls on one
// key keep their order, and each is by itself, as it would be without the
// pipeline.
func (c *conn) together(batch [][][]byte) int {
	if c.multi || c.user == "" || c.asking || c.readonly || c.sub != nil && c.sub.listens() {
		return 0
	}
	n, gets, grouped := 0, 0, c.s.forward
	var kinds [maxTogether]plainness
	for n < len(batch) && n < maxTogether {
		what := plain(batch[n])
		if what == notPlain || grouped && what == plainGet && gets >= maxValues {
			break
		}
		if what != plainGet {
			if gets > maxValues {
				break
			}
			grouped = true
		} else {
			gets++
		}
		kinds[n] = what
		n++
	}
	if n == 0 || n == 1 && grouped {
		return 0
	}
	if !grouped {
		// Reads of what is here cost nothing that could be shared.
		done := 0
		for done < n && len(c.out.b) <= flushBytes {
			c.running = batch[done]
			getAlone(c, batch[done])
			done++
		}
		c.s.stats.commands.Add(int64(done))
		c.touch(find(batch[0][0]))
		return done
	}
	if n < 2 || c.s.glance().strangers {
		return 0
	}
	group := c.s.cache.Batch()
	results := make([]*slotmesh.BatchResult, n)
	mark := len(c.out.b)
	for i, args := range batch[:n] {
		key := string(args[1])
		switch kinds[i] {
		case plainGet:
			results[i] = group.Get(key)
		case plainSet:
			results[i] = group.Set(key, args[2])
		case plainIncr:
			delta, ok := c.out.delta(args)
			if !ok { // it answers when its turn comes
				c.out.b = c.out.b[:mark]
				n = i
				results = results[:i]
			} else {
				results[i] = group.Incr(key, delta)
			}
		}
		if n == i {
			break
		}
	}
	if n < 2 {
		return 0
	}
	_ = group.Do(c.stay) // each result has its error
	c.s.stats.commands.Add(int64(n))
	c.touch(find(batch[n-1][0]))
	for i, r := range results {
		c.running = batch[i]
		switch what := kinds[i]; {
		case redirected(r.Err) && addrless(r.Err): // it has just joined
			c.out.fail("TRYAGAIN the slot is moving")
		case what == plainGet:
			c.answerGet(r.Value, r.Err)
		case r.Err != nil:
			c.fault(r.Err)
		case what == plainSet:
			c.out.ok()
		default:
			c.out.int(r.Int)
		}
	}
	return n
}

const (
	maxTogether = 256 // calls of one group
	maxValues   = 8   // values that a group reads and holds until it is answered
)

// addrless reports whether a redirect leads to a node that serves no RESP.
func addrless(err error) bool {
	if moved, ok := errors.AsType[*slotmesh.MovedError](err); ok {
		return addrOf(moved.Node) == ""
	}
	ask, ok := errors.AsType[*slotmesh.AskError](err)
	return ok && addrOf(ask.Node) == ""
}

type plainness uint8

const (
	notPlain plainness = iota
	plainGet
	plainSet
	plainIncr
)

// plain says what a command is that needs nothing but its key and value.
func plain(args [][]byte) plainness {
	name := args[0]
	switch len(args) {
	case 2:
		switch {
		case word(name, "GET"):
			return plainGet
		case word(name, "INCR"), word(name, "DECR"):
			return plainIncr
		}
	case 3:
		switch {
		case word(name, "SET"):
			return plainSet
		case word(name, "INCRBY"), word(name, "DECRBY"):
			return plainIncr
		}
	}
	return notPlain
}
