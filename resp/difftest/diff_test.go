package difftest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

const commandsPerClient = 4000

// timed are the commands whose answers depend on the time.
func timed(args []string) bool {
	switch strings.ToUpper(args[0]) {
	case "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME":
		return true
	}
	return false
}

// same compares answers; numbers that depend on the time may differ a little.
func same(args []string, a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseInt(strings.Trim(a, ":\r\n"), 10, 64)
	y, errY := strconv.ParseInt(strings.Trim(b, ":\r\n"), 10, 64)
	if !timed(args) || errX != nil || errY != nil || x < 0 || y < 0 {
		return false
	}
	limit := int64(10)
	if args[0][0]|0x20 == 'p' {
		limit *= 1000
	}
	return x-y <= limit && y-x <= limit
}

// Every answer of ours is, byte by byte, that of a Redis Cluster.
func TestAnswersAreThoseOfRedis(t *testing.T) {
	ours, theirs := startFleet(t, 3), startRedis(t)
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			g := newGenerator(uint64(protocol[0]))
			a, b := newWire(t, ours[0].addr, protocol), newWire(t, theirs[0].addr, protocol)
			empty(t, ours, theirs)
			faults := 0
			for i := range commandsPerClient {
				args := g.command("")
				if x, y := a.do(args...), b.do(args...); !same(args, x, y) {
					t.Errorf("command %d %q:\n  ours   %.300q\n  theirs %.300q", i, args, x, y)
					faults++
				}
				if faults > 30 {
					t.Fatal("and so on")
				}
			}
		})
	}
	t.Run("transactions", func(t *testing.T) {
		g := newGenerator(11)
		a, b := newWire(t, ours[0].addr, "2"), newWire(t, theirs[0].addr, "2")
		empty(t, ours, theirs)
		faults := 0
		for i := range commandsPerClient / 8 {
			list, tag := g.transaction()
			atA, atB := a.owner(tag), b.owner(tag)
			for _, args := range list {
				x, y := a.ask(atA, args...), b.ask(atB, args...)
				if !same(args, x, y) && !strings.HasPrefix(y, "-MOVED") && !hasTimes(list) {
					t.Errorf("transaction %d, %q of %q:\n  ours   %.300q\n  theirs %.300q", i, args, list, x, y)
					faults++
				}
				if faults > 20 {
					t.Fatal("and so on")
				}
			}
			a.ask(atA, "DISCARD")
			b.ask(atB, "DISCARD")
		}
	})
	t.Run("go-redis", func(t *testing.T) {
		empty(t, ours, theirs)
		ctx := t.Context()
		a := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs(ours)})
		b := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs(theirs)})
		defer a.Close()
		defer b.Close()
		show := func(c *redis.ClusterClient, args []string) string {
			list := make([]any, len(args))
			for i, arg := range args {
				list[i] = arg
			}
			v, err := c.Do(ctx, list...).Result()
			if err != nil {
				return "error " + err.Error()
			}
			return fmt.Sprintf("%T %v", v, v)
		}
		compare(t, newGenerator(21), func(args []string) (x, y string) { return show(a, args), show(b, args) })
	})
	t.Run("rueidis", func(t *testing.T) {
		empty(t, ours, theirs)
		ctx := t.Context()
		open := func(nodes []*process) rueidis.Client {
			c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrs(nodes), DisableCache: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return c
		}
		a, b := open(ours), open(theirs)
		show := func(c rueidis.Client, args []string) string {
			command := c.B().Arbitrary(args[0])
			if len(args) > 1 {
				command = command.Keys(args[1]).Args(args[2:]...)
			}
			v, err := c.Do(ctx, command.Build()).ToAny()
			if err != nil {
				return "error " + err.Error()
			}
			return fmt.Sprintf("%T %v", v, v)
		}
		compare(t, newGenerator(31), func(args []string) (x, y string) { return show(a, args), show(b, args) })
	})
}

// compare runs commands of one key each through a client that finds the node
// by itself.
func compare(t *testing.T, g generator, run func(args []string) (x, y string)) {
	t.Helper()
	faults := 0
	for i := range commandsPerClient {
		args := g.command(g.pick("a", "b", "user:1000"))
		if len(args) < 2 || !strings.HasPrefix(args[1], "{") {
			continue // the client decides where it goes
		}
		x, y := run(args)
		if !same(args, strings.TrimPrefix(x, "int64 "), strings.TrimPrefix(y, "int64 ")) {
			t.Errorf("command %d %q:\n  ours   %.300q\n  theirs %.300q", i, args, x, y)
			faults++
		}
		if faults > 20 {
			t.Fatal("and so on")
		}
	}
}

// empty empties both clusters.
func empty(t *testing.T, ours, theirs []*process) {
	t.Helper()
	w := newWire(t, ours[0].addr, "2")
	for _, p := range append(ours[:3:3], theirs...) {
		if answer := w.ask(p.addr, "FLUSHALL"); answer != "+OK\r\n" {
			t.Fatalf("FLUSHALL: %q", answer)
		}
	}
}

func hasTimes(list [][]string) bool {
	for _, args := range list {
		if timed(args) {
			return true
		}
	}
	return false
}
