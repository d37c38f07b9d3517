package resp_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// forwards serves clients of a simulated node, whatever the slot, until end is called.
func forwards(t *testing.T, c *slotmesh.Cache) (port *pipes, end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	port = newPipes(6379)
	serving.Go(func() { _ = resp.Serve(ctx, c, port, resp.WithForwarding()) })
	return port, func() {
		cancel()
		serving.Wait()
	}
}

// A key lives for as long as it was told to where the slot's primary shows another time
// than the node that was asked.
func TestTimesToLiveAreByThePrimarysClock(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, sim *slotmeshtest.Cluster) {
		port, end := forwards(t, sim.Node("n2"))
		defer end()
		c, k := port.dial(t), sim.KeyServedBy("n1")
		sim.StepClock("n1", 10*time.Minute)
		for _, command := range []string{"set K v ex 60", "set K v px 60000 xx", "setex K 60 v", "psetex K 60000 v"} {
			command = strings.ReplaceAll(command, "K", k)
			for _, tt := range []struct{ command, want string }{{command, "OK"}, {"get " + k, `"v"`}, {"ttl " + k, "60"}} {
				if got := c.line(tt.command); got != tt.want {
					t.Errorf("%s; %s = %s, want %s", command, tt.command, got, tt.want)
				}
			}
			go fmt.Fprint(c, pack("set", k, "w"), pack(strings.Fields(command)...), pack("get", k))
			if got := []string{c.read(), c.read(), c.read()}; strings.Join(got, " ") != `OK OK "v"` {
				t.Errorf("%s in a pipeline: %q", command, got)
			}
		}
		// By commands that are transactions, and in one.
		keys := strings.NewReplacer("K", "{"+k+"}1", "L", "{"+k+"}2")
		for _, command := range []string{
			"set K v ex 60 get", "expire K 60 nx", "multi; getex K ex 60; exec", "restore K 60000 D replace",
			"multi; set K v ex 60; append K w; exec", "multi; expire K 60; exec", "multi; setex L 60 v; rename L K; exec",
		} {
			c.line(keys.Replace("set K v"))
			dump, _ := strconv.Unquote(c.line(keys.Replace("dump K")))
			for command := range strings.SplitSeq(command, "; ") {
				args := strings.Fields(keys.Replace(command))
				if i := slices.Index(args, "D"); i > 0 {
					args[i] = dump
				}
				if got := c.do(args...); strings.Contains(got, "error") {
					t.Errorf("%s = %s", command, got)
				}
			}
			if got := c.line(keys.Replace("ttl K")); got != "60" {
				t.Errorf("%s; ttl = %s", command, got)
			}
		}
		for _, tt := range []struct{ command, want string }{
			{"persist " + k, "1"}, {"ttl " + k, "-1"}, {"pttl none", "-2"},
			{"pexpireat " + k + " 100000000000000", "1"}, {"pexpiretime " + k, "100000000000000"},
		} {
			if got := c.line(tt.command); got != tt.want {
				t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
			}
		}
		// More than a time.Duration can say.
		if got, want := c.line("ttl "+k), fmt.Sprint(100_000_000_000-time.Now().Unix()); got != want {
			t.Errorf("ttl = %s, want %s", got, want)
		}
	})
}

// What a key still has to live by the primary's clock is not over because the asked
// node's is ahead.
func TestKeysOutliveAnAskedNodeThatIsAhead(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, sim *slotmeshtest.Cluster) {
		port, end := forwards(t, sim.Node("n2"))
		defer end()
		sim.StepClock("n1", -10*time.Minute)
		sim.Advance(5 * time.Minute) // the slots' time stands still meanwhile
		c, k := port.dial(t), "{"+sim.KeyServedBy("n1")+"}"
		for _, command := range []string{"setrange K 0 v", "incrbyfloat N 1", "set K v keepttl get", "rename K L", "copy L K replace"} {
			command = strings.NewReplacer("K", k+"1", "L", k+"2", "N", k+"3").Replace(command)
			for _, key := range []string{"1", "2", "3"} {
				c.line("set " + k + key + " 1 ex 60")
			}
			_ = c.line(command)
			for _, key := range []string{"1", "2", "3"} {
				if got := c.line("ttl " + k + key); got != "60" && !(key == "1" && strings.HasPrefix(command, "rename")) {
					t.Errorf("%s; ttl of %s = %s", command, key, got)
				}
			}
		}
	})
}
