package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

const soon = 30 * time.Second

func TestThreeNodesForm(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 1}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		for _, n := range []string{"n1", "n2", "n3"} {
			sc.CheckFilled(n, 300)
		}
		sc.AwaitCopies()
	})
}

func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent=%v", silent), func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 2, Policy: node.Majority}, func(sc *Cluster) {
				sc.Fill("n1", 300)
				if silent {
					sc.KillSilent("n3")
				} else {
					sc.Kill("n3")
				}
				sc.CheckFilled("n1", 300)
				sc.Fill("n2", 300)
				sc.AwaitStable(soon)
				sc.CheckFilled("n2", 300)
				sc.AwaitCopies()
				sc.Start("n3")
				sc.AwaitStable(soon)
				sc.CheckFilled("n3", 300)
				sc.AwaitCopies()
			})
		})
	}
}

func TestClocksApartAreNoHarm(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 9, Policy: node.Majority}, func(sc *Cluster) {
		sc.Host("n1").Clock.SetDrift(0.01)
		sc.Host("n2").Clock.Step(-10 * time.Second)
		sc.Host("n3").Clock.Step(20 * time.Second)
		sc.Fill("n1", 100)
		sc.Advance(10 * time.Second)
		sc.CheckFilled("n3", 100)
		sc.AwaitStable(60 * time.Second)
	})
}
