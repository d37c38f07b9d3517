//go:build !race || slow

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/shard"
)

func TestSimultaneousFirstStartIsOneCluster(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Run(t, Config{Nodes: 5, Seed: seed}, func(sc *Cluster) {
				for _, h := range sc.Up() {
					if st := sc.Node(h.Name).Stats(); st.Forks > 0 {
						t.Errorf("%s: %d forks", h.Name, st.Forks)
					}
				}
			})
		})
	}
}

// The last of three goes on alone, also with the slots whose other members were
// witnesses only.
func TestLastOfThreeGoesOn(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 20 * time.Second} {
		t.Run(fmt.Sprint("after ", pause), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 5}, func(sc *Cluster) {
				sc.Kill("n3")
				sc.Advance(pause)
				sc.Kill("n1")
				sc.AwaitStable(time.Minute)
				sc.Fill("n2", 300)
				sc.CheckFilled("n2", 300)
			})
		})
	}
}

func TestJoinBalances(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 4}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		sc.Start("n4")
		sc.CheckFilled("n4", 300)
		sc.AwaitStable(soon)
		sc.CheckFilled("n4", 300)
		sc.AwaitCopies()
		if p := sc.Node("n4").Stats().Primaries; p < shard.Slots*24/100 || p > shard.Slots*26/100 {
			t.Errorf("n4 serves %d slots, want about %d", p, shard.Slots/4)
		}
	})
}
