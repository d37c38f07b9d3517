package slotmesh_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestClusterShowsNodesAndSlots(t *testing.T) {
	parallel(t)
	for i, c := range slotmeshtest.Start(t, 3, slotmesh.WithZone("z")) {
		view := c.Cluster()
		var names []string
		for _, n := range view.Nodes() {
			names = append(names, n.Name)
			if len(n.ID) != 32 || n.Addr == "" || n.Zone != "z" || n.Weight != 1 || n.State != "alive" {
				t.Errorf("node %+v: want 32 digits of ID, an address, zone z, weight 1, alive", n)
			}
			if n.Self != (n.Name == view.Self().Name) {
				t.Errorf("node %s: Self = %v at %s", n.Name, n.Self, view.Self().Name)
			}
		}
		if !slices.Equal(names, []string{"n1", "n2", "n3"}) {
			t.Errorf("node %d sees %v, want n1 n2 n3", i+1, names)
		}
		// A node that was starved of processor time for a while may have lost copies, and gets them back.
		await(t, fmt.Sprintf("node %d sees slots in thirds", i+1), func() error { return inThirds(c.Cluster()) })
	}
}

// inThirds tells whether three nodes have the same shares of the slots, each with one backup, and all is well.
func inThirds(view slotmesh.Cluster) error {
	primaries, backups := map[string]int{}, map[string]int{}
	next := 0
	for slot := range view.Slots() {
		if int(slot.Number) != next || slot.Epoch == 0 || len(slot.Backups) != 1 || slot.Backups[0] == slot.Primary {
			return fmt.Errorf("slot %d of 16384 is %+v, want an epoch and one other backup", next, slot)
		}
		next++
		primaries[slot.Primary]++
		backups[slot.Backups[0]]++
	}
	for _, counts := range []map[string]int{primaries, backups} {
		if values := slices.Sorted(maps.Values(counts)); len(values) != 3 || values[2]-values[0] > 1 {
			return fmt.Errorf("shares %v, want thirds", counts)
		}
	}
	if h := view.Health(); !h.Balanced || h.NoPrimary+h.ShortBackups+h.Moving+h.Forked+h.Unclaimed != 0 {
		return fmt.Errorf("health %+v, want all 0 and balanced", h)
	}
	return nil
}

func TestOwnerIsThePrimaryOfTheKeysSlot(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	view := caches[0].Cluster()
	slots := slices.Collect(view.Slots())
	for _, key := range []string{"", "foo", "{user1000}.following", "{user1000}.followers"} {
		owner, err := caches[1].Cluster().Owner(key)
		if want := slots[view.KeySlot(key)].Primary; err != nil || owner.Name != want {
			t.Errorf("Owner(%q) = %s, %v, want %s", key, owner.Name, err, want)
		}
	}
	if got := view.KeySlot("foo"); got != 12182 {
		t.Errorf("KeySlot(foo) = %d, want 12182", got)
	}
}

func TestNodeOfWeight0HoldsNothing(t *testing.T) {
	parallel(t)
	const cluster = "weights"
	caches := slotmeshtest.Start(t, 2, slotmesh.WithCluster(cluster))
	guest := open(t, slotmesh.WithName("guest"), slotmesh.WithCluster(cluster), slotmesh.WithWeight(0),
		slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
	if err := guest.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, guest, "key", "v")
	wantValue(t, caches[1], "key", "v")
	wantValue(t, guest, "key", "v")
	awaitBalance(t, guest, 3)
	if s := guest.Stats(); s.Primaries+s.Backups+s.Learners != 0 || s.Forwarded == 0 {
		t.Errorf("a node of weight 0 has %+v, want no slots and forwarded calls", s)
	}
}

func TestStatsTellLocalFromForwardedCalls(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	before := caches[0].Stats()
	const n = 200
	for i := range n {
		set(t, caches[0], unique(t, string(rune('a'+i))), "v")
	}
	s := caches[0].Stats()
	local, forwarded := s.Local-before.Local, s.Forwarded-before.Forwarded
	if local+forwarded != n || local == 0 || forwarded == 0 {
		t.Errorf("%d calls were local and %d forwarded, want both and %d together", local, forwarded, n)
	}
	await(t, "each node has its half", func() error { // a copy that was late may be on its way back
		s = caches[0].Stats()
		if s.Primaries != 8192 || s.Backups != 8192 || s.Records == 0 || s.MemoryBytes == 0 || s.MemoryLimit == 0 {
			return fmt.Errorf("stats %+v, want 8192 primaries and backups, records and memory", s)
		}
		return nil
	})
}

func awaitBalance(t *testing.T, c *slotmesh.Cache, nodes int) {
	t.Helper()
	await(t, fmt.Sprintf("%d nodes are at rest", nodes), func() error {
		view := c.Cluster()
		if n, h := len(view.Nodes()), view.Health(); n != nodes || !h.Balanced {
			return fmt.Errorf("%d nodes, %+v", n, h)
		}
		return nil
	})
}
