//go:build !race || slow

package slotmeshtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestFaultsInVirtualTime(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1, Options: []slotmesh.Option{slotmesh.WithPartitionPolicy(slotmesh.Majority)}}, func(t *testing.T, c *slotmeshtest.Cluster) {
		ctx := context.Background()
		key := c.KeyServedBy("n3")
		write := func(from, value string) {
			t.Helper()
			if err := c.Node(from).Set(ctx, key, []byte(value)); err != nil {
				t.Fatalf("Set(%s) from %s: %v", value, from, err)
			}
		}
		read := func(from, want string) {
			t.Helper()
			if got, err := c.Node(from).Get(ctx, key); err != nil || string(got) != want {
				t.Fatalf("Get from %s = %q, %v; want %q", from, got, err, want)
			}
		}
		write("n1", "before")
		c.Kill("n3") // what it acknowledged is read from its backup
		read("n1", "before")
		write("n2", "while n3 is down")
		c.Start("n3")
		c.AwaitRest()
		if owner := c.Owner("n1", key); owner != "n3" {
			t.Errorf("%s serves the key after n3 is back, want n3", owner)
		}
		read("n3", "while n3 is down")

		c.Pause("n3")
		write("n1", "while n3 is paused")
		c.Resume("n3")
		read("n3", "while n3 is paused")
		c.AwaitRest()

		c.Isolate("n3")
		c.Advance(5 * time.Second)
		short, cancel := context.WithTimeout(ctx, time.Second)
		if err := c.Node("n3").Set(short, key, nil); !errors.Is(err, slotmesh.ErrNoPrimary) {
			t.Errorf("Set on the minority = %v, want ErrNoPrimary", err)
		}
		cancel()
		write("n1", "without n3")
		c.Heal()
		c.AwaitRest()
		read("n3", "without n3")

		c.SetLink("n1", "n3", slotmeshtest.Link{Delay: 20 * time.Millisecond})
		begin := time.Now()
		read("n1", "without n3")
		if took := time.Since(begin); took < 40*time.Millisecond {
			t.Errorf("a read over a link of 20ms took %v", took)
		}
		c.StepClock("n2", -time.Hour)
		c.DriftClock("n1", 0.01)
		write("n2", "clocks apart")
		read("n1", "clocks apart")
		c.Cut("n1", "n2")
		read("n1", "clocks apart")
		c.Heal()
		if err := c.Shutdown("n3"); err != nil {
			t.Error(err)
		}
		read("n1", "clocks apart")
		c.Start("n4")
		c.AwaitRest()
		c.Restart("n2")
		c.AwaitRest()
		read("n2", "clocks apart")
		c.PowerOff("n2")
		read("n4", "clocks apart")
		if got := c.Names(); fmt.Sprint(got) != "[n1 n4]" {
			t.Errorf("%v run", got)
		}
	})
}
