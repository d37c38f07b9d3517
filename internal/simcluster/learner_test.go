package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/shard"
)

// A copy is made and listed while a write waits for a slow backup: when the primary
// dies that copy alone has it. The two that are left are equal all the same.
func TestCopyHasWhatWasPendingWhenItBegan(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 61}, func(sc *Cluster) {
		key := sc.KeyHeldBy("n1", "n2")
		slot := hashtag.Slot(key)
		sc.Must(sc.Set("n1", key, "old"))
		sc.Net.SetOneWay("n1", "n2", simnet.Link{Delay: 300 * time.Millisecond})
		sc.Advance(3 * time.Second)
		go func() {
			for i := 0; sc.Set("n1", fmt.Sprintf("{%s}%d", key, i%5), fmt.Sprint(i)) == nil; i++ {
			}
		}()
		primary, learner := sc.Node("n1"), sc.Node("n3").Self().ID
		sc.Must(primary.Change(func(s *shard.Settings) (*shard.Settings, error) {
			return s.WithPins([]uint16{slot}, "n3", learner)
		}))
		for begun := time.Now(); !primary.Table().Claim(slot).Holds(learner); sc.Advance(100 * time.Microsecond) {
			if time.Since(begun) > 10*time.Second {
				t.Fatal("the copy is not listed")
			}
		}
		sc.Isolate("n1")
		sc.KillSilent("n1")
		sc.AwaitStable(30 * time.Second)
		sc.AwaitCopies()
	})
}
