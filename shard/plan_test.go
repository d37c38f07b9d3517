package shard_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
	"pgregory.net/rapid"
)

// nodes returns n equal members. Each set has other names.
func nodes(set string, n int) []shard.Member {
	var members []shard.Member
	for i := range n {
		members = append(members, shard.Member{
			Name: fmt.Sprintf("%s-%d", set, i), ID: shard.NewNodeID(uint64(i+1), 0), Weight: 1,
		})
	}
	return members
}

// load is how many slots a node is primary of, and how many copies it has.
type load struct{ primaries, copies int }

func loads(a *shard.Assignment, members []shard.Member) []load {
	byID := make(map[shard.NodeID]load)
	for slot := range uint16(shard.Slots) {
		for i, id := range planned(a, slot) {
			l := byID[id]
			l.copies++
			if i == 0 {
				l.primaries++
			}
			byID[id] = l
		}
	}
	list := make([]load, len(members))
	for i, m := range members {
		list[i] = byID[m.ID]
	}
	return list
}

// planned returns who should hold slot, the primary first.
func planned(a *shard.Assignment, slot uint16) []shard.NodeID {
	if a.Primary(slot).IsZero() {
		return nil
	}
	return append([]shard.NodeID{a.Primary(slot)}, a.Backups(slot)...)
}

// moves counts primaries and copies that b has where a had none.
func moves(a, b *shard.Assignment) (l load) {
	for slot := range uint16(shard.Slots) {
		before, after := planned(a, slot), planned(b, slot)
		if len(after) > 0 && a.Primary(slot) != after[0] {
			l.primaries++
		}
		for _, id := range after {
			if !slices.Contains(before, id) {
				l.copies++
			}
		}
	}
	return l
}

func spreadOf(list []load, of func(load) int) int {
	low, high := of(list[0]), of(list[0])
	for _, l := range list {
		low, high = min(low, of(l)), max(high, of(l))
	}
	return high - low
}

// samePlan also compares witnesses.
func samePlan(a, b *shard.Assignment) error {
	for slot := range uint16(shard.Slots) {
		if !slices.Equal(planned(a, slot), planned(b, slot)) {
			return fmt.Errorf("slot %d: %v and %v", slot, planned(a, slot), planned(b, slot))
		}
		if slot%512 == 0 && !slices.Equal(a.Witnesses(slot), b.Witnesses(slot)) {
			return fmt.Errorf("slot %d: witnesses %v and %v", slot, a.Witnesses(slot), b.Witnesses(slot))
		}
	}
	if !slices.Equal(a.Ignored, b.Ignored) {
		return fmt.Errorf("ignored pins %v and %v", a.Ignored, b.Ignored)
	}
	return nil
}

// clusters draws members of all kinds: names and seats that meet, weights from
// none to much, zones or none, some leaving.
func clusters() *rapid.Generator[[]shard.Member] {
	return rapid.Custom(func(t *rapid.T) []shard.Member {
		n := rapid.IntRange(0, 9).Draw(t, "nodes")
		members := make([]shard.Member, n)
		for i := range members {
			members[i] = shard.Member{
				Name:    fmt.Sprintf("n%d", rapid.IntRange(0, 11).Draw(t, "name")),
				Seat:    rapid.SampledFrom([]string{"", "", "", "n1", "n2"}).Draw(t, "seat"),
				Zone:    rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "zone"),
				ID:      shard.NewNodeID(uint64(i+1), 0),
				Weight:  rapid.SampledFrom([]int{-1, 0, 1, 1, 1, 2, 100, 1 << 30}).Draw(t, "weight"),
				Leaving: rapid.IntRange(0, 5).Draw(t, "leaving") == 0,
			}
		}
		return members
	})
}

func pinsOf(t *rapid.T) map[uint16]string {
	return rapid.MapOfN(rapid.Uint16Range(0, 16390), rapid.SampledFrom([]string{"n1", "n2", "n3", "nobody"}), 0, 5).Draw(t, "pins")
}

// newest leaves of each name the member with the newest ID.
func newest(members []shard.Member) map[string]shard.Member {
	byName := make(map[string]shard.Member)
	for _, m := range members {
		if m.ID.Compare(byName[m.Name].ID) > 0 {
			byName[m.Name] = m
		}
	}
	return byName
}

func TestPlanRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, pins := clusters().Draw(t, "members"), pinsOf(t)
		backups := rapid.IntRange(-1, 3).Draw(t, "backups")
		a := shard.Plan(members, pins, backups)

		shuffled := slices.Clone(members)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		if err := samePlan(a, shard.Plan(shuffled, pins, backups)); err != nil {
			t.Fatalf("another order, another plan: %v", err)
		}

		zones, inZone := make(map[shard.NodeID]string), make(map[string]int)
		for _, m := range newest(members) {
			if m.Weight > 0 && !m.Leaving && !waits(m, members) {
				zones[m.ID] = m.Zone
				inZone[m.Zone]++
			}
		}
		width := min(1+max(backups, 0), len(zones))
		for slot := range uint16(shard.Slots) {
			checkCopies(t, slot, planned(a, slot), width, zones, inZone)
		}
		checkPins(t, a, pins, newest(members), members)
		checkWitnesses(t, a, width, max(backups, 0), newest(members))
	})
}

// A plan that takes over what it can from another is the same as one made anew.
func TestPlanAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := append(clusters().Draw(t, "members"), shard.Member{Name: "one", ID: shard.NewNodeID(99, 0), Weight: 1})
		pins := map[uint16]string{}
		a := shard.Plan(members, pins, 1)
		for range 4 {
			at := rapid.IntRange(0, len(members)-1).Draw(t, "at")
			changed := slices.Clone(members)
			switch rapid.IntRange(0, 6).Draw(t, "change") {
			case 0:
				changed[at].Leaving = !changed[at].Leaving
			case 1:
				changed = slices.Delete(changed, at, at+1)
			case 2:
				guest := changed[at]
				guest.Name, guest.Weight, guest.ID = "guest", 0, shard.NewNodeID(100, 0)
				changed = append(changed, guest)
			case 3:
				changed[at].Weight ^= 1
			case 4:
				pins = pinsOf(t)
			case 5:
				a = a.Yield(map[uint16]shard.NodeID{3: a.Primary(3), 4: a.Primary(4)})
				a = a.Yield(map[uint16]shard.NodeID{5: a.Primary(5)})
			case 6:
				changed[at].Zone += "x"
			}
			if len(changed) > 0 {
				members = changed
			}
			backups := rapid.IntRange(1, 2).Draw(t, "backups")
			a = a.Again(members, pins, backups)
			if err := samePlan(a, shard.Plan(members, pins, backups)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// waits reports whether m asked for the seat of another that is there and came
// before it.
func waits(m shard.Member, members []shard.Member) bool {
	if m.Seat == "" || m.Seat == m.Name {
		return false
	}
	for _, o := range newest(members) {
		if o.Weight > 0 && !o.Leaving && cmp.Or(o.Seat, o.Name) == m.Seat && o.ID.Compare(m.ID) < 0 {
			return true
		}
	}
	return false
}

func checkCopies(t *rapid.T, slot uint16, copies []shard.NodeID, width int, zones map[shard.NodeID]string, inZone map[string]int) {
	if len(copies) != width {
		t.Fatalf("slot %d has %d copies, want %d", slot, len(copies), width)
	}
	used := make(map[string]int)
	for i, id := range copies {
		zone, known := zones[id]
		if !known {
			t.Fatalf("slot %d is on %v, which holds no data", slot, id)
		}
		if slices.Contains(copies[:i], id) {
			t.Fatalf("slot %d is on %v twice", slot, id)
		}
		if i > 0 && used[zone] > 0 && len(used) < len(inZone) {
			t.Fatalf("slot %d: copy %d is in zone %q again, and others have none", slot, i, zone)
		}
		if home := zones[copies[0]]; i > 0 && zone == home && i+1-used[home] <= len(zones)-inZone[home] {
			t.Fatalf("slot %d: copy %d is in the zone of the primary, and nodes of others are free", slot, i)
		}
		used[zone]++
	}
}

func checkPins(t *rapid.T, a *shard.Assignment, pins map[uint16]string, members map[string]shard.Member, all []shard.Member) {
	ignored := make(map[uint16]string)
	for _, pin := range a.Ignored {
		if pin.Name != pins[pin.Slot] {
			t.Fatalf("ignored pin %v was not given", pin)
		}
		ignored[pin.Slot] = pin.Reason
	}
	for slot, name := range pins {
		m, known := members[name]
		want := ""
		switch {
		case slot >= shard.Slots:
			want = "no such slot"
		case !known:
			want = "no such node"
		case m.Leaving:
			want = "node is leaving"
		case m.Weight <= 0:
			want = "node has weight 0"
		case waits(m, all):
			want = "node waits for its seat"
		case a.Primary(slot) != m.ID:
			t.Fatalf("slot %d is on %v, pinned to %s", slot, a.Primary(slot), name)
		}
		if ignored[slot] != want {
			t.Fatalf("pin of slot %d to %s ignored: %q, want %q", slot, name, ignored[slot], want)
		}
	}
}

func checkWitnesses(t *rapid.T, a *shard.Assignment, width, backups int, members map[string]shard.Member) {
	voters := make(map[shard.NodeID]bool)
	for _, m := range members {
		if !m.Leaving {
			voters[m.ID] = true
		}
	}
	want := min(max(3, 2*backups+1), len(voters)) - width
	if width == 0 {
		want = 0
	}
	for slot := uint16(0); slot < shard.Slots; slot += 100 {
		witnesses, holders := a.Witnesses(slot), planned(a, slot)
		if len(witnesses) != want {
			t.Fatalf("slot %d has %d witnesses, want %d", slot, len(witnesses), want)
		}
		for i, id := range witnesses {
			if !voters[id] || slices.Contains(holders, id) || slices.Contains(witnesses[:i], id) {
				t.Fatalf("slot %d: %v is no witness beside %v and %v", slot, id, holders, witnesses[:i])
			}
		}
	}
}
