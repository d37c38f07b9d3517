package shard_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

func TestLaterSettingCounts(t *testing.T) {
	a, b := shard.NewNodeID(1, 1), shard.NewNodeID(2, 1)
	var none *shard.Settings
	s1 := must(none.WithPins([]uint16{5, 6}, "n1", a))
	s2 := must(s1.WithPins([]uint16{6}, "n2", b))
	s3 := must(s2.WithPins([]uint16{5}, "", a))
	for _, order := range [][]*shard.Settings{{s1, s2, s3}, {s3, s2, s1}, {s2, s3, s2, s1}} {
		var s *shard.Settings
		for _, o := range order {
			s, _ = s.Merge(o)
		}
		if got, want := s.Pins(), map[uint16]string{6: "n2"}; !reflect.DeepEqual(got, want) {
			t.Errorf("pins = %v, want %v", got, want)
		}
	}
}

func TestYieldSwapsWithTheFirstBackup(t *testing.T) {
	n1, n2 := shard.NewNodeID(1, 1), shard.NewNodeID(2, 1)
	plan := shard.Plan([]shard.Member{{Name: "n1", ID: n1, Weight: 1}, {Name: "n2", ID: n2, Weight: 1}}, nil, 1)
	aways := map[uint16]shard.NodeID{}
	for slot := range uint16(100) {
		aways[slot] = n1
	}
	yielding := plan.Yield(aways)
	for slot := range uint16(shard.Slots) {
		want := plan.Primary(slot)
		if slot < 100 {
			want = n2
		}
		if got := yielding.Primary(slot); got != want || yielding.Backups(slot)[0] == got {
			t.Fatalf("slot %d: primary %v, backups %v, want primary %v", slot, got, yielding.Backups(slot), want)
		}
	}
}

func TestWeightIsForgotten(t *testing.T) {
	a := shard.NewNodeID(1, 1)
	var none *shard.Settings
	s := must(none.WithWeight("n1", 0, a))
	if w, set := s.Weight("n1"); w != 0 || !set {
		t.Errorf("Weight = %d, %v, want 0, true", w, set)
	}
	s = must(s.WithWeight("n1", shard.NoWeight, a))
	if w, set := s.Weight("n1"); set {
		t.Errorf("Weight = %d, %v, want none", w, set)
	}
}

// A fleet that gives weights to nodes of ever new names never runs out of room: the
// weights set the longest ago go, on all nodes the same ones.
func TestWeightsOfOldMakeRoom(t *testing.T) {
	const more, most = 10, 4096
	a, b := shard.NewNodeID(1, 1), shard.NewNodeID(2, 1)
	var here, there *shard.Settings
	for i := range most + more {
		here = must(here.WithWeight(fmt.Sprint("n", i), 2, a))
		if i == most/2 {
			there, _ = there.Merge(here)
			there = must(there.WithWeight("other", 3, b))
			here, _ = here.Merge(there)
		}
	}
	there, _ = there.Merge(here)
	if !reflect.DeepEqual(here.Append(nil), there.Append(nil)) {
		t.Error("two nodes forget different weights")
	}
	for name, want := range map[string]bool{"n0": false, fmt.Sprint("n", more): false, fmt.Sprint("n", more+1): true, "other": true, fmt.Sprint("n", most+more-1): true} {
		if _, set := here.Weight(name); set != want {
			t.Errorf("weight of %s is set: %v, want %v", name, set, want)
		}
	}
	if _, err := shard.DecodeSettings(here.Append(nil)); err != nil {
		t.Error(err)
	}
}

// Merging is commutative, associative and idempotent, whoever set what.
func TestSettingsConverge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var views [3]*shard.Settings
		for range 30 {
			i := r.IntN(len(views))
			views[i] = anySetting(r, views[i], shard.NewNodeID(uint64(i+1), 0))
			if r.IntN(4) == 0 {
				views[i], _ = views[i].Merge(views[r.IntN(len(views))])
			}
		}
		var forth, back *shard.Settings
		for i := range views {
			forth, _ = forth.Merge(views[i])
			back, _ = back.Merge(views[len(views)-1-i])
		}
		if f, b := forth.Append(nil), back.Append(nil); !reflect.DeepEqual(f, b) {
			t.Fatalf("merged in two orders:\n%x\n%x", f, b)
		}
		for _, v := range views {
			if _, changed := forth.Merge(v); changed {
				t.Fatal("settings that are known change something")
			}
		}
	}
}

func anySetting(r *rand.Rand, s *shard.Settings, by shard.NodeID) *shard.Settings {
	names := []string{"", "n1", "n2", "n3"}
	switch r.IntN(3) {
	case 0:
		edit := s.WithPins
		if r.IntN(3) == 0 {
			edit = s.WithAway
		}
		var slots []uint16
		for first := r.IntN(shard.Slots - 100); len(slots) < 1+r.IntN(50); first++ {
			slots = append(slots, uint16(first))
		}
		return must(edit(slots, names[r.IntN(len(names))], by))
	case 1:
		return must(s.WithWeight(names[1+r.IntN(3)], r.IntN(4)-1, by))
	}
	return must(s.WithPause(r.IntN(2) == 0, by))
}

func TestSettingsBeyondBoundsAreRefused(t *testing.T) {
	a := shard.NewNodeID(1, 1)
	var s *shard.Settings
	long := string(make([]byte, 200))
	for what, err := range map[string]error{
		"slot":   second(s.WithPins([]uint16{shard.Slots}, "n1", a)),
		"name":   second(s.WithPins([]uint16{1}, long, a)),
		"node":   second(s.WithWeight(long, 1, a)),
		"weight": second(s.WithWeight("n1", shard.MaxWeight+1, a)),
	} {
		if err == nil {
			t.Errorf("%s out of bounds gives no error", what)
		}
	}
}

func FuzzDecodeSettings(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	var s *shard.Settings
	f.Add(s.Append(nil))
	for range 20 {
		s = anySetting(r, s, shard.NewNodeID(1+r.Uint64N(3), 0))
		f.Add(s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := shard.DecodeSettings(b)
		if err != nil {
			if s != nil {
				t.Fatalf("DecodeSettings gives both settings and %v", err)
			}
			return
		}
		wire := s.Append(nil)
		again, err := shard.DecodeSettings(wire)
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if !reflect.DeepEqual(again.Append(nil), wire) {
			t.Fatalf("settings change on their way")
		}
		if _, changed := s.Merge(again); changed {
			t.Fatal("settings differ from themselves")
		}
	})
}

func must(s *shard.Settings, err error) *shard.Settings {
	if err != nil {
		panic(err)
	}
	return s
}

func second(_ *shard.Settings, err error) error { return err }
