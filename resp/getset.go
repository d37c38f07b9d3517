package resp

import (
	"context"

	"github.com/slotmesh/slotmesh"
)

func getSet(v *view, args [][]byte) {
	before := v.get(args[1])
	v.set(args[1], args[2], term{})
	v.out.value(before)
}

func getSetAlone(c *conn, args [][]byte) bool {
	var old []byte
	err := c.call(func(ctx context.Context) error {
		before, existed, err := c.s.cache.GetSet(ctx, string(args[1]), args[2])
		if old = before; err == nil && !existed {
			err = slotmesh.ErrNotFound
		}
		return err
	})
	c.answerOld(old, err)
	return true
}

func getDel(v *view, args [][]byte) {
	before := v.get(args[1])
	if before.found {
		v.del(args[1])
	}
	v.out.value(before)
}

func getDelAlone(c *conn, args [][]byte) bool {
	var old []byte
	err := c.call(func(ctx context.Context) (err error) {
		old, err = c.s.cache.GetDelete(ctx, string(args[1]))
		return err
	})
	c.answerOld(old, err)
	return true
}

func getEx(v *view, args [][]byte) {
	var amount []byte
	how, persist := 0, false
	for i := 2; i < len(args); i++ {
		h, timed := expiryOption(args[i])
		switch {
		case word(args[i], "PERSIST") && amount == nil:
			persist = true
		case timed && !persist && (amount == nil || how == h) && i+1 < len(args):
			i++
			how, amount = h, args[i]
		default:
			v.out.fail(errSyntax)
			return
		}
	}
	e := v.get(args[1])
	if !e.found {
		v.out.null()
		return
	}
	t, ok := v.out.expires(amount, how, v.now, "getex")
	if !ok {
		return
	}
	if amount != nil || persist && e.expires != 0 {
		v.setUntil(args[1], e.value, t)
	}
	v.out.value(e)
}

// getExAlone is getEx with EX or PX.
func getExAlone(c *conn, args [][]byte) bool {
	if len(args) != 4 || !word(args[2], "EX") && !word(args[2], "PX") {
		return false
	}
	d, ok := lifetime(args[3], word(args[2], "EX"))
	if !ok {
		return false
	}
	var value []byte
	err := c.call(func(ctx context.Context) (err error) {
		value, err = c.s.cache.GetExpire(ctx, string(args[1]), d)
		return err
	})
	c.answerOld(value, err)
	return true
}
