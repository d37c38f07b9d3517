//go:build slow && !slotmesh_fewslots

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// Over slow links what is said of claims, where a node comes or goes, takes seconds.
// Heartbeats, calls and writes do not wait behind it, and nothing is said twice for
// being late.
func TestStepDownOverSlowLinks(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 76, Disks: LazyDisks, Idle: true}, func(sc *Cluster) {
		sc.Net.SetDefault(simnet.Link{Delay: 10 * time.Millisecond, BytesPerSecond: 2 << 20})
		sc.Net.Window = 64 << 10 // what the kernel has, nothing overtakes
		sc.Start("n1", "n2", "n3")
		sc.AwaitStable(time.Minute)
		for _, h := range sc.Up() {
			if st := h.Node().Stats(); st.BackupsDropped > 0 {
				t.Errorf("%s dropped %d copies while slots were founded", h.Name, st.BackupsDropped)
			}
		}
		during := func(what string, f func()) {
			over := make(chan struct{})
			go func() { f(); close(over) }()
			began, longest := time.Now(), time.Duration(0)
			for i := 0; ; i++ {
				from := time.Now()
				sc.Must(sc.Set("n1", fmt.Sprint("written", i%100), fmt.Sprint(i)))
				longest = max(longest, time.Since(from))
				select {
				case <-over:
					t.Logf("%s: %v, the longest of %d writes took %v", what, time.Since(began), i+1, longest)
					if longest > 2*time.Second {
						t.Errorf("%s: a write took %v", what, longest)
					}
					return
				default:
				}
			}
		}
		during("stepping down", func() { sc.Must(sc.StepDown("n3", time.Minute)) })
		during("coming back", func() { sc.Start("n3"); sc.AwaitStable(time.Minute) })
	})
}
