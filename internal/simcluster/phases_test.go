//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A node that joins is killed, or one that gives it slots, or both at once, as
// soon as slots are in each phase of their move; nothing acknowledged is lost
// and every move ends. With -large all three are killed in each of the four phases.
func TestKillsInEachPhaseOfAMove(t *testing.T) {
	t.Parallel()
	type phase struct {
		name    string
		killed  int // of victims
		reached func(source, target node.Stats) bool
	}
	phases := variants(2,
		phase{"records sent", 0, func(s, _ node.Stats) bool { return s.BytesCopied > 0 }},
		phase{"handed over", 1, func(s, _ node.Stats) bool { return s.Handovers > 0 }},
		phase{"copies begun", 0, func(s, _ node.Stats) bool { return s.Copies > 0 }},
		phase{"copies being filled", 1, func(_, t node.Stats) bool { return t.Learners > 0 }},
	)
	victims := [][]string{{"n1"}, {"n4"}, {"n1", "n4"}}
	for i := range len(phases) * len(victims) {
		phase, killed := phases[i/len(victims)], victims[i%len(victims)]
		if i%len(victims) != phase.killed && !*large {
			continue
		}
		t.Run(fmt.Sprint(phase.name, " ", killed), func(t *testing.T) {
			// Of three copies one survives what is killed.
			Run(t, Config{Nodes: 3, Backups: 2, Seed: uint64(100 + i)}, func(sc *Cluster) {
				const keys = 100
				sc.Fill("n2", keys)
				before := sc.Node("n1").Stats()
				sc.Start("n4")
				for begun := time.Now(); ; sc.Advance(time.Millisecond) {
					now := sc.Node("n1").Stats()
					now.Copies -= before.Copies
					now.BytesCopied -= before.BytesCopied
					now.Handovers -= before.Handovers
					if phase.reached(now, sc.Node("n4").Stats()) {
						break
					}
					if time.Since(begun) > 30*time.Second {
						t.Fatal("the phase is never reached")
					}
				}
				for _, name := range killed {
					sc.KillSilent(name)
				}
				sc.AwaitStable(2 * time.Minute)
				sc.CheckFilled("n2", keys)
				sc.Start(killed...)
				sc.AwaitStable(2 * time.Minute)
				sc.CheckFilled(killed[0], keys)
				sc.AwaitCopies()
			})
		})
	}
}
