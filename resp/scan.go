package resp

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

// domain is the slots that KEYS, SCAN, DBSIZE and their like are about: this
// node's, or where calls are forwarded all.
func (c *conn) domain() []span {
	if c.s.forward {
		return []span{{0, hashtag.Slots - 1}}
	}
	return c.s.look().mine()
}

// scanSlots bounds the slots that one SCAN looks at, so that it returns soon
// where there are few keys.
const (
	scanSlots = 512
	maxCount  = 10000 // of SCAN's COUNT
)

// scan goes through the slots of the domain in their order. The cursor is a
// place in the order of a slot's keys, so it is good for ever, on every node
// that serves the slot: nothing is kept for it here.
func scan(c *conn, args [][]byte) {
	cursor, ok := cursorNumber(string(args[1]))
	if !ok {
		c.out.fail("ERR invalid cursor")
		return
	}
	count, ofType := int64(10), true
	pattern := "*" // the last that is given counts, of all options
	for i := 2; i < len(args); i += 2 {
		switch {
		case word(args[i], "COUNT") && i+1 < len(args):
			if !c.out.integer(args[i+1], &count) {
				return
			}
			if count < 1 {
				c.out.fail(errSyntax)
				return
			}
		case word(args[i], "MATCH") && i+1 < len(args):
			pattern = string(args[i+1])
		case word(args[i], "TYPE") && i+1 < len(args):
			ofType = word(args[i+1], "string")
		default:
			c.out.fail(errSyntax)
			return
		}
	}
	count = min(count, maxCount)
	var keys []string
	next := uint64(0)
	if ofType {
		opts, here := globbed(pattern)
		var err error
		if keys, next, err = c.scanFrom(cursor, int(count), opts); err != nil {
			c.fault(err)
			return
		}
		if here {
			keys = slices.DeleteFunc(keys, func(key string) bool { return !slotmesh.MatchGlob(pattern, key) })
		}
	}
	c.out.array(2)
	c.out.text(strings.TrimSpace(utoa(next)))
	c.out.texts(keys...)
}

// cursorNumber reads a cursor as C's strtoul does, which Redis has do it.
func cursorNumber(text string) (n uint64, ok bool) {
	if text == "" {
		return 0, true
	}
	digits := text
	if text[0] == '+' || text[0] == '-' {
		digits = text[1:]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if text[0] == '-' {
		n = -n
	}
	return n, err == nil
}

// scanFrom returns at least count keys, unless it has looked at many slots.
func (c *conn) scanFrom(cursor uint64, count int, opts []slotmesh.ScanOption) (keys []string, next uint64, err error) {
	start := slotmesh.CursorAt(cursor)
	looked := 0
	for _, r := range c.domain() {
		for slot := max(r.from, start.Slot()); slot <= r.to; slot++ {
			at := slotmesh.CursorAt(uint64(slot))
			if slot == start.Slot() {
				at = start
			}
			if len(keys) < count && !c.s.forward && c.s.cache.Cluster().KeysIn(uint16(slot)) == 0 {
				continue
			}
			if looked++; len(keys) >= count || looked > scanSlots {
				return keys, at.Number(), nil
			}
			page := append(opts[:len(opts):len(opts)], slotmesh.ScanSlot(slot), slotmesh.ScanFrom(&at), slotmesh.ScanPageSize(min(count, 4096)))
			last := at.Number()
			for item, err := range c.s.cache.Scan(c.stay, page...) {
				if err != nil {
					if redirected(err) {
						break // it has moved: its new node tells of it
					}
					return nil, 0, err
				}
				// Keys that share a number have to come together.
				if number := at.Number(); len(keys) >= count && number != last {
					return keys, last, nil
				} else {
					last = number
				}
				keys = append(keys, item.Key)
			}
		}
	}
	return keys, 0, nil
}

func redirected(err error) bool {
	if _, ok := errors.AsType[*slotmesh.MovedError](err); ok {
		return true
	}
	_, ok := errors.AsType[*slotmesh.AskError](err)
	return ok
}

// globbed is the options of a scan for keys that match a pattern. One that ScanGlob does
// not take is matched here.
func globbed(pattern string) (opts []slotmesh.ScanOption, here bool) {
	opts = []slotmesh.ScanOption{slotmesh.ScanKeysOnly()}
	switch {
	case pattern == "" || len(pattern) > maxGlob:
		return opts, true
	case pattern != "*":
		opts = append(opts, slotmesh.ScanGlob(pattern))
	}
	return opts, false
}

// maxGlob is the longest pattern that ScanGlob takes.
const maxGlob = 64 << 10

// keyOverhead is about what a key in an answer costs beside its own bytes.
const keyOverhead = 24

func keys(c *conn, args [][]byte) {
	pattern := string(args[1])
	opts, here := globbed(pattern)
	var found []string
	size := 0
	if err := c.each(opts, func(key string) error {
		if here && !slotmesh.MatchGlob(pattern, key) {
			return nil
		}
		found, size = append(found, key), size+len(key)+keyOverhead
		return c.bounded(size)
	}); err != nil {
		c.fault(err)
		return
	}
	c.out.texts(found...)
}

// each calls f for the keys of the domain.
func (c *conn) each(opts []slotmesh.ScanOption, f func(key string) error) error {
	for _, r := range c.domain() {
		for slot := r.from; slot <= r.to; slot++ {
			if !c.s.forward && c.s.cache.Cluster().KeysIn(uint16(slot)) == 0 {
				continue
			}
			for item, err := range c.s.cache.Scan(c.stay, append(opts[:len(opts):len(opts)], slotmesh.ScanSlot(slot))...) {
				if err == nil {
					err = f(item.Key)
				}
				if redirected(err) {
					break
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func dbSize(c *conn, _ [][]byte) { c.out.int(c.count()) }

// count is the keys of the domain.
func (c *conn) count() (n int64) {
	if c.s.forward {
		for _, err := range c.s.cache.Scan(c.ctx, slotmesh.ScanKeysOnly(), slotmesh.ScanPageSize(4096)) {
			if err == nil {
				n++
			}
		}
		return n
	}
	for _, r := range c.domain() {
		for slot := r.from; slot <= r.to; slot++ {
			n += int64(c.s.cache.Cluster().KeysIn(uint16(slot)))
		}
	}
	return n
}

func flush(c *conn, args [][]byte) {
	if len(args) > 2 || len(args) == 2 && !word(args[1], "SYNC") && !word(args[1], "ASYNC") {
		c.out.fail(errSyntax)
		return
	}
	var batch []string
	remove := func() error {
		for _, r := range c.s.cache.DeleteMany(c.stay, batch) {
			if r.Err != nil && !redirected(r.Err) {
				return r.Err
			}
		}
		batch = batch[:0]
		return nil
	}
	err := c.each([]slotmesh.ScanOption{slotmesh.ScanKeysOnly()}, func(key string) error {
		if batch = append(batch, key); len(batch) < 512 {
			return nil
		}
		return remove()
	})
	if err == nil {
		err = remove()
	}
	if err != nil {
		c.fault(err)
		return
	}
	c.out.ok()
}
