//go:build !race || slow

package simcluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/store"
)

// Copies take the time that the budget gives them, and those that wait for
// their turn are not given up.
func TestMovesKeepToTheBudget(t *testing.T) {
	t.Parallel()
	const budget = 256 << 10
	slow := func(_ string, c *node.Config) { c.MoveBudget = budget }
	Run(t, Config{Nodes: 2, Seed: 21, Adjust: slow}, func(sc *Cluster) {
		value := strings.Repeat("v", 32<<10)
		for i := range 160 {
			if err := sc.Set("n1", fmt.Sprint("big", i), value); err != nil {
				t.Fatal(err)
			}
		}
		before := map[string]uint64{}
		for _, name := range []string{"n1", "n2"} {
			before[name] = sc.Node(name).Stats().BytesCopied
		}
		begun := time.Now()
		sc.Start("n3")
		sc.AwaitStable(2 * time.Minute)
		took := time.Since(begun)
		for name, was := range before {
			st := sc.Node(name).Stats()
			sent := st.BytesCopied - was
			t.Logf("%s sent %d bytes in %v", name, sent, took)
			if most := uint64(took.Seconds()*budget) + 2*256<<10; sent > most || sent == 0 {
				t.Errorf("%s sent %d bytes in %v, want some and at most %d", name, sent, took, most)
			}
			if st.CopiesStopped > 0 {
				t.Errorf("%s gave up %d copies", name, st.CopiesStopped)
			}
		}
		for i := range 160 {
			if v, _, err := sc.Get("n3", fmt.Sprint("big", i)); err != nil || v != value {
				t.Errorf("big%d: %d bytes, %v", i, len(v), err)
			}
		}
	})
}

// unloaded is an engine that counts as if all values were on disk alone.
type unloaded struct{ store.Engine }

func (e unloaded) SlotStats(slot uint16) store.SlotStats {
	st := e.Engine.SlotStats(slot)
	st.Bytes = 40 * int64(st.Records)
	return st
}

// A copy that gets longer goes on without a pace, but not one of which memory has
// little.
func TestMovesOfWhatIsOnDiskKeepToTheBudget(t *testing.T) {
	t.Parallel()
	const budget = 256 << 10
	slow := func(_ string, c *node.Config) { c.MoveBudget, c.Engine = budget, unloaded{c.Engine} }
	Run(t, Config{Nodes: 1, Seed: 22, Adjust: slow}, func(sc *Cluster) {
		value := strings.Repeat("v", 32<<10)
		for i := range 100 { // of one slot
			if err := sc.Set("n1", fmt.Sprintf("{big}%d", i), value); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		sc.Start("n2")
		sc.AwaitStable(2 * time.Minute)
		sent, took := sc.Node("n1").Stats().BytesCopied, time.Since(begun)
		if most := uint64(took.Seconds()*budget) + 2*256<<10; sent > most || sent < 100*32<<10 {
			t.Errorf("sent %d bytes in %v, want all and at most %d", sent, took, most)
		}
	})
}
