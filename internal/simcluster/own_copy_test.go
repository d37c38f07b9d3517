//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/transport"
)

// A write by the only backup of its slot takes one round trip: the append answers it.
func TestOwnCopyAnswers(t *testing.T) {
	t.Parallel()
	const delay = 10 * time.Millisecond
	Run(t, Config{Nodes: 3, Seed: 77}, func(sc *Cluster) {
		sc.Net.SetDefault(simnet.Link{Delay: delay})
		own, others := sc.KeyHeldBy("n2", "n1"), sc.KeyHeldBy("n2", "n3")
		took := func(key string, c node.Call) time.Duration {
			began := time.Now()
			c.Key = key
			_, err := sc.DoWithin(5*time.Second, "n1", c)
			sc.Must(err)
			return time.Since(began)
		}
		set := node.Call{Op: transport.OpSet, Value: []byte("value")}
		once := node.Call{Op: transport.OpSet, Value: []byte("value"), Flags: transport.FlagAckPrimary}
		for range 3 {
			if d := took(own, set); d < 2*delay || d > 3*delay {
				t.Errorf("a write of which the caller has the only copy took %v, want %v", d, 2*delay)
			}
			if d := took(others, set); d < 4*delay || d > 5*delay {
				t.Errorf("a write with a copy on a third node took %v, want %v", d, 4*delay)
			}
			if d := took(own, once); d < 2*delay || d > 3*delay {
				t.Errorf("a write that waits for no copy took %v, want %v", d, 2*delay)
			}
		}
		if value, _, err := sc.Get("n3", own); err != nil || value != "value" {
			t.Errorf("n3 reads %q, %v", value, err)
		}
	})
}

// Writes by the only backup of their slots, over a link that comes and goes: each takes
// effect once and is told so.
func TestOwnCopyAnswersOverAnUnsteadyLink(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 78}, func(sc *Cluster) {
		key := sc.KeyHeldBy("n2", "n1")
		over := make(chan struct{})
		go func() {
			defer close(over)
			for range 20 {
				sc.Advance(300 * time.Millisecond)
				sc.Cut("n1", "n2")
				sc.Advance(time.Second)
				sc.Net.Heal("n1", "n2")
			}
		}()
		for i := int64(1); ; i++ {
			r, err := sc.DoWithin(time.Minute, "n1", node.Call{Op: transport.OpAppend, Key: key, Value: fmt.Appendf(nil, "%d,", i)})
			sc.Must(err)
			if r.Version == 0 {
				t.Fatalf("append %d has no version", i)
			}
			select {
			case <-over:
				want := ""
				for k := range i {
					want += fmt.Sprintf("%d,", k+1)
				}
				if got, _, err := sc.Get("n3", key); err != nil || got != want {
					t.Errorf("the value is %.80q, %v, want %.80q", got, err, want)
				}
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
}
