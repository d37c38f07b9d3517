package difftest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes commands of random kinds with random arguments, of which
// some make no sense. The same seed gives the same commands.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 7))} }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

var tags = []string{"a", "b", "user:1000", "c{", ""}

// key is one of few, so that commands meet.
func (g generator) key(tag string) string {
	if tag == "" {
		return g.pick("k1", "k2", "k3", "foo", "bar", "{}x", "größe", "a b\r\nc\x00")
	}
	return "{" + tag + "}" + g.pick("1", "2", "3", "4")
}

func (g generator) value() string {
	switch g.IntN(8) {
	case 0, 1:
		return g.number()
	case 2:
		return g.pick("3.0", "10.5", "-0.25", "5.0e3", "1e-5", "inf", "nan", " 1", "1 ", "0x10", "")
	case 3:
		return strings.Repeat(g.pick("x", "\x00", "é"), g.IntN(300))
	case 4:
		b := make([]byte, g.IntN(30))
		for i := range b {
			b[i] = byte(g.IntN(256))
		}
		return string(b)
	}
	return g.pick("hello", "a", "OK", "QUEUED", "-ERR", "{a}1", "value with spaces")
}

func (g generator) number() string {
	return g.pick("0", "1", "-1", "2", "10", "-5", "100", "9223372036854775807", "-9223372036854775808", "9223372036854775806", "4611686018427387904", fmt.Sprint(g.IntN(1000)))
}

// amount is a number where one is expected, mostly.
func (g generator) amount() string {
	if g.IntN(12) == 0 {
		return g.pick("x", "", "1.5", "99999999999999999999", "+1", "007", "-0", " 1", "1 ")
	}
	return g.number()
}

// time is seconds or milliseconds from now that are long enough not to pass
// during a test, or out of range. Hardly any comes twice: which of two commands
// that give a key the same time ends it later is told by a millisecond more or
// less between them, and that differs from one server to another.
func (g generator) time() string {
	if g.IntN(4) == 0 {
		// Not what is past the year 6429, where our keys expire at the latest.
		return g.pick("0", "-1", "x", "9223372036854775807", "-9223372036854775808", "")
	}
	return fmt.Sprint(100_000 + g.IntN(300_000))
}

// date is a Unix time in seconds or, with more zeros, milliseconds.
func (g generator) date(zeros string) string {
	if g.IntN(5) == 0 {
		return g.pick("0", "-1", "x", "1")
	}
	return g.pick("4000000000", "4000000001", "5000000000") + zeros
}

// some returns a few of the list, in any order, perhaps twice.
func (g generator) some(most int, list ...string) []string {
	var out []string
	for range g.IntN(most + 1) {
		out = append(out, list[g.IntN(len(list))])
	}
	return out
}

// command makes one whose keys have the given tag; "" for any keys.
func (g generator) command(tag string) []string {
	k := func() string { return g.key(tag) }
	keys := func() (list []string) {
		t := tag
		if t == "" && g.IntN(4) > 0 {
			t = g.pick(tags[:4]...)
		}
		for range 1 + g.IntN(4) {
			list = append(list, g.key(t))
		}
		return list
	}
	two := func() []string {
		list := keys()
		return []string{list[0], g.pick(g.key(tag), list[len(list)-1])}
	}
	join := func(name string, rest ...string) []string { return append([]string{name}, rest...) }
	entries := func() (list []string) {
		for _, key := range keys() {
			list = append(list, key, g.value())
		}
		if g.IntN(15) == 0 {
			list = list[:len(list)-1]
		}
		return list
	}
	var c []string
	switch g.IntN(34) {
	case 0, 1, 2:
		c = join("GET", k())
	case 3, 4, 5:
		c = join("SET", k(), g.value())
		for range g.IntN(3) {
			switch g.IntN(6) {
			case 0:
				c = append(c, g.pick("EX", "PX", "px"), g.time())
			case 1:
				c = append(c, "EXAT", g.date(""))
			case 2:
				c = append(c, "PXAT", g.date("000"))
			default:
				c = append(c, g.pick("NX", "XX", "GET", "KEEPTTL", "nx", "junk", "EX"))
			}
		}
	case 6:
		c = join(g.pick("SETEX", "PSETEX"), k(), g.time(), g.value())
	case 7:
		c = join("SETNX", k(), g.value())
	case 8:
		c = join("GETSET", k(), g.value())
	case 9:
		c = join("GETDEL", k())
	case 10:
		c = join("GETEX", k())
		switch g.IntN(5) {
		case 0:
			c = append(c, g.pick("EX", "PX"), g.time())
		case 1:
			c = append(c, "EXAT", g.date(""))
		case 2:
			c = append(c, "PERSIST")
		case 3:
			c = append(c, g.pick("PERSIST", "EX", "NX"), g.time())
		}
	case 11, 12:
		c = join("MGET", keys()...)
	case 13:
		c = join("MSET", entries()...)
	case 14:
		c = join("MSETNX", entries()...)
	case 15:
		c = join("APPEND", k(), g.value())
	case 16:
		c = join("STRLEN", k())
	case 17:
		c = join(g.pick("GETRANGE", "SUBSTR"), k(), g.amount(), g.amount())
	case 18:
		c = join("SETRANGE", k(), g.pick("0", "1", "5", "50", "-1", "x", "536870912"), g.value())
	case 19, 20:
		c = join(g.pick("INCR", "DECR"), k())
	case 21, 22:
		c = join(g.pick("INCRBY", "DECRBY"), k(), g.amount())
	case 23:
		c = join("INCRBYFLOAT", k(), g.pick("0.1", "-5", "5.0e3", "x", "3", "1.5", "0.00001", "inf", "", " 1", "-Infinity", "1e999999999", "1e-5000", "0x1p3"))
	case 24:
		c = join(g.pick("DEL", "UNLINK", "EXISTS", "TOUCH"), keys()...)
	case 25:
		c = join(g.pick("TYPE", "TTL", "EXPIRETIME", "PERSIST", "PTTL", "PEXPIRETIME"), k())
	case 26, 27:
		c = append(join(g.pick("EXPIRE", "PEXPIRE"), k(), g.time()), g.some(2, "NX", "XX", "GT", "LT", "junk")...)
	case 28:
		c = append(join("EXPIREAT", k(), g.date("")), g.some(1, "NX", "XX", "GT", "LT")...)
	case 29:
		c = append(join("PEXPIREAT", k(), g.date("000")), g.some(1, "NX", "XX", "GT", "LT")...)
	case 30:
		c = join(g.pick("RENAME", "RENAMENX"), two()...)
	case 31:
		c = append(join("COPY", two()...), g.some(1, "REPLACE", "DB", "junk")...)
	case 32:
		c = g.plain()
	case 33: // a wrong number of arguments
		c = join(g.pick("GET", "SET", "DEL", "INCRBY", "MGET", "EXPIRE", "RENAME", "SETRANGE", "ECHO", "SELECT", "WATCH"))
		for range g.IntN(2) {
			c = append(c, k())
		}
	}
	if g.IntN(10) == 0 {
		c[0] = strings.ToLower(c[0])
	}
	return c
}

// plain makes a command without keys.
func (g generator) plain() []string {
	list := [][]string{
		{"PING"}, {"PING", g.value()}, {"PING", "a", "b"}, {"ECHO", g.value()}, {"SELECT", g.pick("0", "1", "x", "-1")},
		{"CLUSTER", "KEYSLOT", g.key("")}, {"CLUSTER", "NOSUCH"}, {"CLUSTER"}, {"CLUSTER", "COUNTKEYSINSLOT", g.pick("x", "-1", "16384", "99999999999")},
		{"NOSUCH"}, {"NOSUCH", g.value(), g.value()}, {"nosuch", strings.Repeat("x", 200), "y"}, {"OBJECT", "NOSUCH", "x"}, {"CLIENT", "NOSUCH"},
		{"CLIENT", "GETNAME", "x"}, {"CLIENT", "KILL", "1.2.3.4:5"}, {"CLUSTER", "GETKEYSINSLOT", g.pick("0", "-1", "x", "16384"), g.pick("0", "-1", "x")},
		{"COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"}, {"COMMAND", "GETKEYS", g.pick("NOSUCH", "DBSIZE", "TYPE", "OBJECT"), "x", "y"},
		{"SCAN", "x"}, {"SCAN", "0", "COUNT", "0"}, {"SCAN", "0", "junk"}, {"SCAN", "0", "COUNT", "x"},
		{"CLUSTER", "COUNT-FAILURE-REPORTS", "nosuch"}, {"CLUSTER", "REPLICAS", "nosuch"}, {"CONFIG", "GET"}, {"CONFIG", "NOSUCH"},
		{"WAIT", "0"}, {"AUTH", "x"}, {"CLIENT", "NO-EVICT", "x"}, {"CLIENT", "TRACKING", "x"}, {"DEBUG", "SLEEP", "0"}, {"FLUSHALL", "x"},
		{"READONLY", "x"}, {"UNWATCH"}, {"EXEC"}, {"DISCARD"}, {"CLIENT", "SETNAME", "a b"}, {"CLUSTER", "KEYSLOT"},
		{"OBJECT", "FREQ"}, {"PUBSUB", "NOSUCH"}, {"PUBSUB", "NUMSUB", "x"}, {"PUBSUB", "NUMPAT"}, {"PUBSUB", "CHANNELS"}, {"PUBLISH", "c"}, {"PUBLISH", "c", "m"},
		{"EXEC", "x"}, {"COMMAND", "INFO", "nosuch"}, {"COMMAND", "LIST", "FILTERBY"}, {"COMMAND", "LIST", "FILTERBY", g.pick("PATTERN", "ACLCAT", "MODULE", "junk"), "nosuch"},
		{"CLIENT", "KILL", g.pick("TYPE", "USER", "ID", "ADDR", "SKIPME", "junk"), "x"}, {"CLIENT", "LIST", g.pick("TYPE", "ID"), "x"}, {"CLIENT", "HELP", "x"},
		{"SCAN", g.pick("-", "+", "1x", "18446744073709551616")}, {"WAIT", "0", g.pick("x", "-1")}, {"PUBSUB", "CHANNELS", "a", "b"},
		{"SELECT", g.pick("2147483648", "-9223372036854775808", "9223372036854775808")}, {"COPY", "{a}1", "{a}2", "DB", g.pick("99999999999", "-1", "16", "x")},
		{"RESTORE", "{a}none", g.pick("0", "-1", "x"), "bad", g.pick("FREQ", "IDLETIME"), g.pick("0", "-1", "256", "x"), g.pick("FREQ", "IDLETIME", "ABSTTL"), "1"},
		{"CLIENT", "KILL", g.pick("USER", "ID"), g.pick("-1", "x"), "SKIPME"}, {"CONFIG", "GET", g.pick("MaxClients", "SAVE", "nosuch")},
		{"CLUSTER", "FAILOVER", "FORCE", "x"}, {"SHUTDOWN", g.pick("SAVE", "ABORT"), g.pick("NOSAVE", "x")}, {"SHUTDOWN", "ABORT"},
		{"HELLO", "2", g.pick("AUTH", "SETNAME", "junk"), "a b"}, {"HELLO", g.pick("x", "1", "4")},
	}
	return list[g.IntN(len(list))]
}

// transaction makes the commands of one, most of them well formed.
func (g generator) transaction() (list [][]string, tag string) {
	tag = g.pick("a", "b", "user:1000")
	if g.IntN(3) == 0 {
		list = append(list, []string{"WATCH", g.key(tag)})
		if g.IntN(3) == 0 {
			list = append(list, []string{"SET", g.key(tag), g.value()})
		}
	}
	list = append(list, []string{"MULTI"})
	for range g.IntN(6) {
		c := g.command(tag)
		for strings.EqualFold(c[0], "FLUSHALL") || strings.EqualFold(c[0], "EXEC") || strings.EqualFold(c[0], "DISCARD") {
			c = g.command(tag)
		}
		list = append(list, c)
	}
	return append(list, []string{g.pick("EXEC", "EXEC", "EXEC", "EXEC", "DISCARD")}), "{" + tag + "}"
}
