//go:build !race || slow

package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// servedBy counts the slots of which a node is the primary, as another sees it.
func servedBy(c *slotmesh.Cache, name string) (n int) {
	for slot := range c.Cluster().Slots() {
		if slot.Primary == name {
			n++
		}
	}
	return n
}

func slotRange(first, count int) (slots []uint16) {
	for i := range count {
		slots = append(slots, uint16(first+i))
	}
	return slots
}

func TestMoveSlotsPinsThem(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	for i := range 500 {
		set(t, caches[0], fmt.Sprint("key", i), "v")
	}
	c := caches[0].Cluster()
	slots := slotRange(1000, 600)
	var last slotmesh.Progress
	if err := c.MoveSlots(t.Context(), slots, "n3", slotmesh.OnProgress(func(p slotmesh.Progress) { last = p })); err != nil {
		t.Fatal(err)
	}
	if last.Left != 0 || last.Total == 0 || last.Total > len(slots) {
		t.Errorf("last progress %+v, want none of at most %d left", last, len(slots))
	}
	for slot := range c.Slots() {
		if slot.Number >= 1000 && slot.Number < 1600 && slot.Primary != "n3" {
			t.Fatalf("slot %d is served by %s after MoveSlots to n3", slot.Number, slot.Primary)
		}
	}
	if err := c.Rebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Placement().Pins; len(got) != 600 || got[1000] != "n3" {
		t.Errorf("%d pins, slot 1000 to %q, want 600 to n3", len(got), got[1000])
	}
	if err := c.Rebalance(t.Context(), slotmesh.DropPins()); err != nil {
		t.Fatal(err)
	}
	if got := c.Placement().Pins; len(got) != 0 {
		t.Errorf("%d pins after all were dropped", len(got))
	}
	for i := range 500 {
		wantValue(t, caches[i%3], fmt.Sprint("key", i), "v")
	}
}

// A node that starts again while slots are on their way to it has another ID.
func TestMoveSlotsToANodeThatStartsAgain(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{}, func(t *testing.T, sc *slotmeshtest.Cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		view, slots := sc.Node("n1").Cluster(), []uint16(nil)
		for slot := range view.Slots() {
			if slot.Primary == "n1" && len(slots) < 300 {
				slots = append(slots, slot.Number)
			}
		}
		for _, again := range []string{"n3", "n2"} {
			sc.AwaitRest()
			begun := false
			restart := slotmesh.OnProgress(func(p slotmesh.Progress) {
				if !begun {
					begun = true
					sc.Restart(again)
				}
			})
			if again == "n3" {
				wantErr(t, "MoveSlots to n3", view.MoveSlots(ctx, append(slots, slots...), "n3", restart), nil)
			} else {
				wantErr(t, "FailoverNode", view.FailoverNode(ctx, "n2", restart), nil)
			}
			for slot := range view.Slots() {
				if again == "n3" && slices.Contains(slots, slot.Number) && slot.Primary != "n3" || again == "n2" && slot.Primary == "n2" {
					t.Fatalf("slot %d is served by %s", slot.Number, slot.Primary)
				}
			}
		}
	})
}

func TestFailoverHandsOverToBackups(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	for i := range 500 {
		set(t, caches[0], fmt.Sprint("key", i), "v")
	}
	c := caches[1].Cluster()
	before := caches[0].Stats()
	begun := time.Now()
	if err := c.FailoverNode(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("failover took %v", time.Since(begun))
	if n := servedBy(caches[1], "n1"); n != 0 {
		t.Errorf("n1 serves %d slots after FailoverNode", n)
	}
	// A backup that a busy machine made late was dropped, and copied anew.
	if now := caches[0].Stats(); now.BytesCopied != before.BytesCopied && now.BackupsDropped == before.BackupsDropped {
		t.Errorf("FailoverNode copied %d bytes", now.BytesCopied-before.BytesCopied)
	}
	if got := c.Placement().Aways; len(got) < 5400 {
		t.Errorf("%d slots are kept away from n1, want a third", len(got))
	}
	if err := c.Unpin(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Rebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := servedBy(caches[1], "n1"); n < 5400 {
		t.Errorf("n1 serves %d slots after Unpin, want a third", n)
	}
	for i := range 500 {
		wantValue(t, caches[i%3], fmt.Sprint("key", i), "v")
	}
}

func TestWeightChangesAtRunTime(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	c := caches[0].Cluster()
	for i := range 500 {
		set(t, caches[0], fmt.Sprint("key", i), "v")
	}
	if err := c.PauseRebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SetWeight(t.Context(), "n2", 0); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "all know of the pause and the weight", func() error {
		for _, o := range caches {
			want := slotmesh.Placement{Pins: map[uint16]string{}, Aways: map[uint16]string{}, Weights: map[string]int{"n2": 0}, Paused: true}
			if got := o.Cluster().Placement(); !reflect.DeepEqual(got, want) {
				return fmt.Errorf("placement %+v", got)
			}
		}
		return nil
	})
	if n := servedBy(caches[0], "n2"); n < 5400 {
		t.Errorf("n2 serves %d slots while balance is paused, want a third", n)
	}
	if err := c.Rebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "n2 knows that it holds nothing", func() error { // the last claims are on their way to it
		if s := caches[1].Stats(); s.Primaries+s.Backups != 0 {
			return fmt.Errorf("n2 has %d slots as primary, %d as backup with weight 0", s.Primaries, s.Backups)
		}
		return nil
	})
	if err := c.SetWeight(t.Context(), "n2", slotmesh.OwnWeight); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "n2 has its own weight", func() error {
		for _, n := range c.Nodes() {
			if n.Weight != 1 {
				return fmt.Errorf("%s has weight %d", n.Name, n.Weight)
			}
		}
		return nil
	})
	if err := c.Rebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := servedBy(caches[0], "n2"); n < 5400 {
		t.Errorf("n2 serves %d slots with its own weight again, want a third", n)
	}
	for i := range 500 {
		wantValue(t, caches[i%3], fmt.Sprint("key", i), "v")
	}
}

func TestPlacementRefusesWhatCannotBe(t *testing.T) {
	caches := slotmeshtest.Start(t, 1)
	c := caches[0].Cluster()
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"no slots", c.MoveSlots(ctx, nil, "n1"), slotmesh.ErrInvalid},
		{"slot too high", c.MoveSlots(ctx, []uint16{16384}, "n1"), slotmesh.ErrInvalid},
		{"no such node", c.MoveSlots(ctx, []uint16{1}, "nobody"), slotmesh.ErrUnknownNode},
		{"unpin slot too high", c.Unpin(ctx, []uint16{16384}), slotmesh.ErrInvalid},
		{"failover slot too high", c.Failover(ctx, []uint16{16384}), slotmesh.ErrInvalid},
		{"failover without backup", c.Failover(ctx, []uint16{3}), slotmesh.ErrNotEnoughBackups},
		{"failover of nobody", c.FailoverNode(ctx, "nobody"), slotmesh.ErrUnknownNode},
		{"weight too high", c.SetWeight(ctx, "n1", 1001), slotmesh.ErrInvalid},
		{"weight too low", c.SetWeight(ctx, "n1", -2), slotmesh.ErrInvalid},
		{"weight of nobody", c.SetWeight(ctx, "nobody", 1), slotmesh.ErrUnknownNode},
		{"context over", c.PauseRebalance(over), context.Canceled},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	if got := c.Placement(); len(got.Pins)+len(got.Weights) > 0 || got.Paused {
		t.Errorf("placement %+v after refusals, want nothing", got)
	}
}

func TestPlacementOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	start := func() *slotmesh.Cache {
		c := open(t, slotmesh.WithName("n1"), slotmesh.WithDataDir(dir), slotmesh.WithMaxMemory(32<<20))
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := start()
	if err := c.Cluster().MoveSlots(t.Context(), []uint16{7, 8, 16383}, "n1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Cluster().SetWeight(t.Context(), "n1", 7); err != nil {
		t.Fatal(err)
	}
	if err := c.Cluster().PauseRebalance(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := c.Cluster().Placement()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = start()
	if got := c.Cluster().Placement(); !reflect.DeepEqual(got, want) || len(got.Pins) != 3 {
		t.Errorf("placement after a restart %+v, want %+v", got, want)
	}
	if w := c.Cluster().Self().Weight; w != 7 {
		t.Errorf("weight after a restart %d, want 7", w)
	}
}

func TestSafeTellsWhetherCopiesExist(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	for i := range 100 {
		set(t, caches[0], fmt.Sprint("key", i), "v")
	}
	await(t, "a node with backups is safe to stop", func() error {
		if safe, reasons := caches[0].Cluster().Safe(); !safe {
			return fmt.Errorf("%v", reasons)
		}
		return nil
	})
	if err := caches[1].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if safe, reasons := caches[0].Cluster().Safe(); safe || len(reasons) == 0 {
		t.Errorf("the last node is safe to stop: %v", reasons)
	}
}

func TestShutdownOutOfTimeSaysWhetherCopiesExist(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := c.KeyServedBy("n1")
		set(t, c.Node("n1"), key, "v")
		over, cancel := context.WithCancel(t.Context())
		cancel()
		err := c.Node("n1").Shutdown(over)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "a copy of each record is elsewhere") {
			t.Errorf("Shutdown without time = %v, want that copies are elsewhere", err)
		}
		wantValue(t, c.Node("n2"), key, "v")
	})
}
