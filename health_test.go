//go:build !race

package slotmesh_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestHandOversAreNoFailure looks at the health of three nodes all the while
// slots are handed over for every reason that somebody may have planned.
func TestHandOversAreNoFailure(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, sc *slotmeshtest.Cluster) {
		for i := range 300 {
			set(t, sc.Node("n1"), fmt.Sprint("key", i), "value")
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		looks := make([]int, 3)
		moving := make([]int, 3)
		for i, name := range sc.Names() {
			c := sc.Node(name)
			h := c.Handler()
			wg.Go(func() {
				pace := time.NewTicker(20 * time.Millisecond)
				defer pace.Stop()
				for {
					select {
					case <-stop:
						return
					case <-pace.C:
					}
					state := c.Cluster().Health()
					if state.State == "failing" || state.NoPrimary > 0 {
						t.Errorf("%s is %s: %q", name, state.State, state.Reasons)
						return
					}
					if w := ask(h, "GET", "/readyz", ""); w.Code != 200 && !strings.Contains(w.Body.String(), "leaving") && !strings.Contains(w.Body.String(), "closed") {
						t.Errorf("%s is not ready: %s", name, w.Body)
						return
					}
					looks[i]++
					moving[i] = max(moving[i], state.Moving)
				}
			})
		}
		view := sc.Node("n1").Cluster()
		var first, second []uint16
		for s := range view.Slots() {
			switch {
			case s.Primary == "n1" && s.Number%2 == 0:
				first = append(first, s.Number)
			case s.Primary == "n2":
				second = append(second, s.Number)
			}
		}
		wantErr(t, "MoveSlots", view.MoveSlots(t.Context(), first, "n3"), nil)
		wantErr(t, "Failover", view.Failover(t.Context(), second), nil)
		wantErr(t, "Shutdown", sc.Shutdown("n2"), nil)
		sc.AwaitRest()
		close(stop)
		wg.Wait()
		t.Logf("%d looks saw at most %d slots move", looks, moving)
		if slices.Min(looks) < 10 || slices.Max(moving) == 0 {
			t.Errorf("%d looks saw at most %d slots move: too few to tell", looks, moving)
		}
	})
}

// TestLossOfANodeIsNoFailure ends a machine without a word: where backups take over
// at once, the others' readiness must not flicker.
func TestLossOfANodeIsNoFailure(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{}, func(t *testing.T, sc *slotmeshtest.Cluster) {
		c, handlers := sc.Node("n1"), map[string]http.Handler{}
		for _, name := range []string{"n1", "n2"} {
			handlers[name] = sc.Node(name).Handler()
			if w := ask(handlers[name], "GET", "/readyz", ""); w.Code != 200 {
				t.Fatalf("%s is not ready: %s", name, w.Body)
			}
		}
		sc.PowerOff("n3")
		short := false
		for h := c.Cluster().Health(); !short || !h.Balanced; h = c.Cluster().Health() {
			short = short || h.ShortBackups > 0
			if h.State == "failing" || h.NoPrimary > 0 {
				t.Fatalf("after the loss of a node: %+v", h)
			}
			for name, handler := range handlers {
				if w := ask(handler, "GET", "/readyz", ""); w.Code != 200 {
					t.Fatalf("%s is not ready: %s", name, w.Body)
				}
			}
			sc.Advance(4 * time.Millisecond)
		}
	})
}

// TestLossOfAllHoldersIsAFailure ends two of three nodes at once: about a third of
// the slots have lost both of their holders.
func TestLossOfAllHoldersIsAFailure(t *testing.T) {
	opts := []slotmesh.Option{slotmesh.WithOrphanWait(time.Hour)}
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1, Options: opts}, func(t *testing.T, c *slotmeshtest.Cluster) {
		survivor := c.Node("n1")
		h := survivor.Handler()
		lost := 0
		for s := range survivor.Cluster().Slots() {
			if s.Primary != "n1" && !slices.Contains(s.Backups, "n1") {
				lost++
			}
		}
		var wg sync.WaitGroup
		for _, name := range []string{"n2", "n3"} {
			wg.Go(func() { wantErr(t, "Close", c.Node(name).Close(), nil) })
		}
		wg.Wait()
		c.Await("the survivor says that it fails", func() error {
			health := survivor.Cluster().Health()
			if health.State != "failing" || health.NoPrimary != lost {
				return fmt.Errorf("%d slots lost both holders: %+v", lost, health)
			}
			if w := ask(h, "GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "no live primary") {
				return fmt.Errorf("/readyz = %d %s", w.Code, w.Body)
			}
			return nil
		})
	})
}
