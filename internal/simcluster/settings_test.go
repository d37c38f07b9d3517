//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"maps"
	"testing"
	"time"

	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/shard"
)

// Both sides of a cut change settings; afterwards all nodes have the same
// ones, the later of each, and slots are where they say.
func TestSettingsConvergeAfterACut(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 4, Seed: 11}, func(sc *Cluster) {
		sc.Fill("n1", 200)
		change := func(on string, edit func(*shard.Settings, shard.NodeID) (*shard.Settings, error)) {
			t.Helper()
			n := sc.Node(on)
			err := n.Change(func(old *shard.Settings) (*shard.Settings, error) { return edit(old, n.Self().ID) })
			if err != nil {
				t.Fatalf("change on %s: %v", on, err)
			}
		}
		pin := func(on, to string, slots ...uint16) {
			t.Helper()
			change(on, func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) { return s.WithPins(slots, to, by) })
		}
		pin("n1", "n2", 1, 2, 3)
		sc.Advance(time.Second)
		sc.Isolate("n1")
		sc.Advance(10 * time.Second)
		pin("n1", "n3", 2)
		pin("n3", "n4", 3)
		pin("n3", "n1", 3) // later than what n1 knows
		change("n1", func(s *shard.Settings, by shard.NodeID) (*shard.Settings, error) { return s.WithWeight("n4", 3, by) })
		sc.Heal()
		sc.AwaitStable(60 * time.Second)
		want := map[uint16]string{1: "n2", 2: "n3", 3: "n1"}
		for _, h := range sc.Up() {
			n := sc.Node(h.Name)
			if got := n.Settings().Pins(); !maps.Equal(got, want) {
				t.Errorf("%s has pins %v, want %v", h.Name, got, want)
			}
			for slot, name := range want {
				cl := n.Table().Claim(slot)
				if m, ok := n.FindMember(name); !ok || cl.Primary != m.ID {
					t.Errorf("%s: slot %d is served by %v, want %s", h.Name, slot, cl.Primary, name)
				}
			}
			for _, m := range n.Members() {
				if w := map[string]int{"n4": 3}[m.Name]; m.Weight != max(w, 1) {
					t.Errorf("%s: %s has weight %d", h.Name, m.Name, m.Weight)
				}
			}
		}
		if p := sc.Node("n4").Stats().Primaries; p < shard.Slots*49/100 || p > shard.Slots*51/100 {
			t.Errorf("n4 of weight 3 among 6 serves %d slots, want half", p)
		}
		sc.CheckFilled("n2", 200)
		sc.AwaitCopies()
	})
}

// A node that starts anew, with nothing on disk, hears the settings; one of
// weight 0 is drained.
func TestDrainedNodeStaysSoAfterARestart(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 12}, func(sc *Cluster) {
		sc.Fill("n1", 200)
		n := sc.Node("n1")
		err := n.Change(func(s *shard.Settings) (*shard.Settings, error) { return s.WithWeight("n2", 0, n.Self().ID) })
		if err != nil {
			t.Fatal(err)
		}
		sc.Advance(time.Second)
		for i := range 2 {
			sc.AwaitStable(60 * time.Second)
			if st := sc.Node("n2").Stats(); st.Primaries+st.Backups != 0 {
				t.Errorf("the drained node holds %d slots as primary, %d as backup", st.Primaries, st.Backups)
			}
			if i == 0 {
				sc.Restart("n2")
				sc.Advance(time.Second)
			}
		}
		sc.CheckFilled("n3", 200)
		sc.AwaitCopies()
	})
}

// While balance is paused a node that joins gets nothing, and a node that
// leaves or dies is still made up for.
func TestPauseHoldsBalanceAndNotRepair(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 13}, func(sc *Cluster) {
		sc.Fill("n1", 200)
		pause := func(on bool) {
			n := sc.Node("n1")
			if err := n.Change(func(s *shard.Settings) (*shard.Settings, error) { return s.WithPause(on, n.Self().ID) }); err != nil {
				t.Fatal(err)
			}
		}
		pause(true)
		sc.Start("n4")
		sc.Advance(20 * time.Second)
		if st := sc.Node("n4").Stats(); st.Primaries+st.Backups != 0 {
			t.Errorf("n4 holds %d slots as primary, %d as backup while balance is paused", st.Primaries, st.Backups)
		}
		sc.Kill("n3")
		sc.Advance(20 * time.Second)
		if h := sc.Node("n1").Health(); h.ShortBackups+h.NoPrimary > 0 {
			t.Errorf("after a death under a pause: %v", h.Reasons)
		}
		if err := sc.Shutdown("n2", 30*time.Second); err != nil {
			t.Error(err)
		}
		sc.CheckFilled("n4", 200)
		pause(false)
		sc.AwaitStable(60 * time.Second)
		sc.CheckFilled("n4", 200)
		sc.AwaitCopies()
		if p := sc.Node("n4").Stats().Primaries; p != shard.Slots/2 {
			t.Errorf("n4 serves %d slots of two nodes, want %d", p, shard.Slots/2)
		}
	})
}
