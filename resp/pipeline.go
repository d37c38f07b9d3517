package resp

import (
	"errors"

	"github.com/slotmesh/slotmesh"
)

// together runs the commands at the beginning of a pipeline that can be made
// as one group of calls, and returns how many those were; 0: the first has to
// run by itself. They are GET, SET, INCR, DEL, EXPIRE and their like: calls on one
// key keep their order, and each is by itself, as it would be without the
// pipeline.
func (c *conn) together(batch [][][]byte) int {
	if c.multi || c.user == "" || c.asking || c.readonly || c.sub != nil && c.sub.listens() {
		return 0
	}
	var kinds [maxTogether]plainness
	n, grouped := c.groupable(batch, &kinds)
	switch {
	case n == 0:
		return 0
	case !grouped:
		return c.readEach(batch[:n])
	case n == 1 || c.s.glance().strangers:
		return 0
	}
	group := c.s.cache.Batch()
	results := c.enlist(group, batch[:n], &kinds)
	if n = len(results); n < 2 {
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
		case what == plainSet, what == plainSetEx:
			c.answerSet(r.Err)
		case what == plainSetNX:
			c.answerSetNX(r.Err)
		case what == plainExpire && missing(r.Err):
			c.out.truth(false)
		case r.Err != nil:
			c.fault(r.Err)
		case what == plainIncr:
			c.out.int(r.Int)
		default:
			c.out.truth(r.Existed)
		}
		if len(c.out.b) > flushBytes { // the bound is for the answer to each
			c.broken(c.flush())
		}
	}
	return n
}

// groupable counts the commands at the beginning of a pipeline that are plain, says
// which they are, and whether a group is worth it: reads of what is here cost nothing
// that could be shared.
func (c *conn) groupable(batch [][][]byte, kinds *[maxTogether]plainness) (n int, grouped bool) {
	gets := 0
	for grouped = c.s.forward; n < len(batch) && n < maxTogether; n++ {
		what := plain(batch[n])
		if what == notPlain || grouped && what == plainGet && gets >= maxValues {
			break
		}
		if what == plainGet {
			gets++
		} else if gets > maxValues {
			break
		} else {
			grouped = true
		}
		kinds[n] = what
	}
	return n, grouped
}

// readEach answers plain reads one by one, as far as the answers have room, and
// returns how many it did.
func (c *conn) readEach(gets [][][]byte) (done int) {
	for done < len(gets) && len(c.out.b) <= flushBytes {
		c.running = gets[done]
		getAlone(c, gets[done])
		done++
	}
	c.s.stats.commands.Add(int64(done))
	c.touch(find(gets[0][0]))
	return done
}

// enlist puts commands into a group, up to the first that is at fault: that one
// answers when its turn comes.
func (c *conn) enlist(group *slotmesh.Batch, batch [][][]byte, kinds *[maxTogether]plainness) []*slotmesh.BatchResult {
	results := make([]*slotmesh.BatchResult, 0, len(batch))
	mark := len(c.out.b)
	for i, args := range batch {
		r := c.add(group, kinds[i], args)
		if r == nil {
			c.out.b = c.out.b[:mark]
			break
		}
		results = append(results, r)
	}
	return results
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
