package resp_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// A key lives for as long as it was told to where the slot's primary shows another time
// than the node that was asked.
func TestTimesToLiveAreByThePrimarysClock(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, sim *slotmeshtest.Cluster) {
		ctx, end := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		defer serving.Wait()
		defer end()
		port := newPipes(6379)
		serving.Go(func() { _ = resp.Serve(ctx, sim.Node("n2"), port, resp.WithForwarding()) })
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
