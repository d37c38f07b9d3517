package resp

import (
	"context"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/slotmesh/slotmesh"
)

// delta is what INCR, DECR, INCRBY and DECRBY add; false: it has answered.
func (r *reply) delta(args [][]byte) (delta int64, ok bool) {
	delta = 1
	if len(args) == 3 && !r.integer(args[2], &delta) {
		return 0, false
	}
	if args[0][0]|0x20 == 'd' {
		if delta == math.MinInt64 {
			r.fail("ERR decrement would overflow")
			return 0, false
		}
		delta = -delta
	}
	return delta, true
}

func incr(v *view, args [][]byte) {
	delta, ok := v.out.delta(args)
	if !ok {
		return
	}
	e, n := v.get(args[1]), int64(0)
	if e.found && !v.out.integer(e.value, &n) {
		return
	}
	if overflows(n, delta) {
		v.out.fail(errOverflow)
		return
	}
	v.set(args[1], strconv.AppendInt(nil, n+delta, 10), e.term)
	v.out.int(n + delta)
}

func overflows(n, delta int64) bool {
	return delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta
}

// incrAlone is one call.
func incrAlone(c *conn, args [][]byte) bool {
	delta, ok := c.out.delta(args)
	if !ok {
		return true
	}
	var sum int64
	err := c.call(func(ctx context.Context) (err error) {
		sum, err = c.s.cache.Incr(ctx, string(args[1]), delta)
		return err
	})
	switch {
	case err == nil:
		c.out.int(sum)
	case errors.Is(err, slotmesh.ErrNotInteger):
		// Which of the two that means, the value tells. Nothing is written by what it
		// seems to be: it may be of a typed view, and none.
		var value []byte
		_ = c.call(func(ctx context.Context) (err error) {
			value, err = c.s.cache.Get(ctx, string(args[1]))
			return err
		})
		if n, ok := number(value); ok && overflows(n, delta) {
			c.out.fail(errOverflow)
		} else {
			c.fault(err)
		}
	default:
		c.fault(err)
	}
	return true
}

// floatBits is the precision of Redis's long double.
const floatBits = 64

// maxFloat is the length of the longest number that is read.
const maxFloat = 5*1024 - 1

// float reads a number as Redis does; infinite ones are numbers too, unless they are
// written with digits.
func float(b []byte) (*big.Float, bool) {
	s := string(b)
	if s == "" || len(s) > maxFloat || strings.ContainsAny(s, " \t\r\n_") {
		return nil, false
	}
	digits := strings.TrimLeft(s, "+-")
	if word([]byte(digits), "INF") || word([]byte(digits), "INFINITY") {
		return new(big.Float).SetInf(s[0] == '-'), len(s)-len(digits) <= 1
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		base = 0
	} else if strings.ContainsAny(s, "pP") {
		return nil, false
	}
	f, _, err := big.ParseFloat(s, base, floatBits, big.ToNearestEven)
	if err != nil || f.IsInf() || tooLong(f) || f.MantExp(nil) < -16445 {
		return nil, false
	}
	return f, true
}

// tooLong reports whether a number is beyond those of Redis's long double.
func tooLong(f *big.Float) bool { return f.MantExp(nil) > 16384 }

// formatFloat writes a number with up to 17 decimals and no zeros at the end.
func formatFloat(f *big.Float) string {
	s := f.Text('f', 17)
	if strings.ContainsRune(s, '.') {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		s = "0"
	}
	return s
}

func incrByFloat(v *view, args [][]byte) {
	e := v.get(args[1])
	n := new(big.Float).SetPrec(floatBits)
	ok := true
	if e.found {
		n, ok = float(e.value)
	}
	by, valid := float(args[2])
	if !ok || !valid {
		v.out.fail(errNotFloat)
		return
	}
	if !n.IsInf() && !by.IsInf() { // or there may be no sum
		n.Add(n, by)
	}
	if n.IsInf() || by.IsInf() || tooLong(n) {
		v.out.fail("ERR increment would produce NaN or Infinity")
		return
	}
	text := formatFloat(n)
	v.set(args[1], []byte(text), e.term)
	v.out.text(text)
}
