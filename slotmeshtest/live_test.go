package slotmeshtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestFaultsInRealTime(t *testing.T) {
	// A busy machine is not to take a node for dead, nor to end calls.
	patient := []slotmesh.Option{slotmesh.WithFailureTimeout(5 * time.Second), slotmesh.WithOpTimeout(time.Minute)}
	c := slotmeshtest.Live(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1, Options: patient})
	ctx, key := t.Context(), c.KeyServedBy("n3")
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
	c.SetLink("n1", "n3", slotmeshtest.Link{Delay: 10 * time.Millisecond})
	begin := time.Now()
	write("n1", "over a slow link")
	if took := time.Since(begin); took < 20*time.Millisecond {
		t.Errorf("a write over a link of 10ms took %v", took)
	}
	c.SetLink("n1", "n3", slotmeshtest.Link{})
	c.StepClock("n1", time.Hour)
	read("n1", "over a slow link")
	c.StepClock("n1", -time.Hour)

	c.Pause("n3")
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	if _, err := c.Node("n1").Get(short, key); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get from a paused primary = %v, want its deadline to pass", err)
	}
	cancel()
	c.Resume("n3")
	read("n2", "over a slow link")

	c.Kill("n3")
	read("n1", "over a slow link")
	write("n2", "without n3")
	c.Start("n3")
	read("n3", "without n3")
	c.CutOneWay("n1", "n2")
	c.Heal()
	read("n1", "without n3")
}

func TestReleasesBesideEachOther(t *testing.T) {
	low, high := slotmeshtest.Protocols()
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		ctx := context.Background()
		for name, versions := range map[string][2]uint8{"later": {high + 1, high + 1}, "much later": {high + 2, 255}} {
			if err := c.StartRelease("n9", versions[0], versions[1]); !errors.Is(err, slotmesh.ErrIncompatible) {
				t.Errorf("a %s release beside this one: %v, want ErrIncompatible", name, err)
			}
		}
		if err := c.StartRelease("n3", low, low); err != nil { // an earlier one
			t.Fatal(err)
		}
		c.AwaitRest()
		for _, name := range []string{"n1", "n3"} {
			if err := c.Node(name).Set(ctx, c.KeyServedBy("n3"), []byte("v")); err != nil {
				t.Fatalf("Set from %s: %v", name, err)
			}
		}
		if err := c.Shutdown("n3"); err != nil {
			t.Fatal(err)
		}
		if err := c.StartRelease("n3", low, high+1); err != nil { // a rolling deploy begins
			t.Fatal(err)
		}
		c.AwaitRest()
		key := c.KeyServedBy("n3")
		if err := c.Node("n1").Set(ctx, key, []byte("v")); err != nil {
			t.Fatalf("Set on the new release: %v", err)
		}
		for _, name := range []string{"n1", "n2"} { // and goes on
			if err := c.Shutdown(name); err != nil {
				t.Fatal(err)
			}
			if err := c.StartRelease(name, low, high+1); err != nil {
				t.Fatal(err)
			}
			c.AwaitRest()
		}
		if got, err := c.Node("n2").Get(ctx, key); err != nil || string(got) != "v" {
			t.Errorf("Get after the deploy = %q, %v", got, err)
		}
	})
}
