//go:build !race || slow

package simcluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
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

func TestRestartAtOnceLosesNothing(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 3, Policy: node.Majority}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		sc.Restart("n2")
		sc.CheckFilled("n1", 300)
		sc.AwaitStable(soon)
		sc.CheckFilled("n2", 300)
		sc.AwaitCopies()
	})
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
		if p := sc.Node("n4").Stats().Primaries; p < 4000 || p > 4200 {
			t.Errorf("n4 serves %d slots, want about 4096", p)
		}
	})
}

func TestShutdownHandsOver(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 5}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		if err := sc.Shutdown("n2", soon); err != nil {
			t.Fatal(err)
		}
		sc.CheckFilled("n1", 300)
		sc.AwaitStable(soon)
		sc.CheckFilled("n3", 300)
		sc.AwaitCopies()
	})
}

func TestCutOffMinorityRefusesWrites(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 6, Policy: node.Majority}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		key := sc.KeyServedBy("n1")
		sc.Isolate("n1")
		sc.Advance(5 * time.Second) // the others have fenced n1 and promoted a backup
		if err := sc.Set("n1", key, "lost"); !errors.Is(err, node.ErrNoPrimary) {
			t.Errorf("Set on the minority = %v, want ErrNoPrimary", err)
		}
		if err := sc.Set("n2", key, "kept"); err != nil {
			t.Errorf("Set on the majority: %v", err)
		}
		sc.CheckFilled("n2", 300)
		sc.Heal()
		sc.AwaitStable(60 * time.Second)
		if v, _, err := sc.Get("n1", key); err != nil || v != "kept" {
			t.Errorf("Get after the heal = %q, %v", v, err)
		}
		sc.CheckFilled("n1", 300)
		sc.AwaitCopies()
	})
}

func TestForksHealWithEveryAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 7, Policy: node.Available}, func(sc *Cluster) {
		sc.Fill("n1", 300)
		sc.Isolate("n1")
		sc.Advance(10 * time.Second)
		acked := map[string]string{}
		for i := range 200 {
			for _, from := range []string{"n1", "n2", "n3"} {
				key := fmt.Sprintf("of-%s-%d", from, i)
				if err := sc.Set(from, key, from); err != nil {
					t.Fatalf("Set(%s): %v", key, err)
				}
				acked[key] = from
			}
		}
		sc.Heal()
		sc.AwaitStable(60 * time.Second)
		for key, want := range acked {
			for _, h := range sc.Up() {
				if v, _, err := sc.Get(h.Name, key); err != nil || v != want {
					t.Errorf("Get(%s) from %s = %q, %v; want %q", key, h.Name, v, err, want)
				}
			}
		}
		sc.CheckFilled("n1", 300)
		sc.AwaitCopies()
	})
}

func TestPausedPrimaryServesNothingStale(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 8, Policy: node.Majority}, func(sc *Cluster) {
		key := sc.KeyServedBy("n1")
		if err := sc.Set("n2", key, "old"); err != nil {
			t.Fatal(err)
		}
		sc.Pause("n1")
		begin := time.Now()
		if err := sc.Set("n2", key, "new"); err != nil {
			t.Fatalf("Set while the primary is paused: %v", err)
		}
		t.Logf("the write took %v", time.Since(begin))
		sc.Advance(3 * time.Second)
		sc.Resume("n1")
		for range 200 {
			if v, _, err := sc.Get("n1", key); err != nil || v != "new" {
				t.Fatalf("Get on the resumed node = %q, %v", v, err)
			}
			sc.Advance(time.Millisecond)
		}
		sc.AwaitStable(60 * time.Second)
		sc.AwaitCopies()
	})
}
