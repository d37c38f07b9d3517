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

// plantedSeeds is how many seeds a missing rule may take to be found.
const plantedSeeds = 4

// TestMissingRulesAreFound switches off one rule of the real node after
// another: a scenario finds each within a few seeds, and finds nothing with the
// same seeds and all rules. A checker that cannot find a planted bug is none.
// With -large, as .ci/run has it, these are all six rules.
func TestMissingRulesAreFound(t *testing.T) {
	t.Parallel()
	type rule struct {
		name     string
		off      func(c *node.Config)
		cfg      Config
		scenario func(sc *Cluster) (fault string)
	}
	for _, tt := range variants(2,
		rule{"reads need leases", func(c *node.Config) { c.Off.Leases = true }, Config{Policy: node.Majority}, readOfTheReplaced},
		rule{"reads wait for acknowledgement", func(c *node.Config) { c.Off.Gate = true }, Config{Policy: node.Majority}, readOfThePending},
		rule{"copies refuse what is below their promise", func(c *node.Config) { c.Off.Fence = true }, Config{Policy: node.Majority}, lateAppend},
		rule{"a claim is in force once a quorum accepted it", func(c *node.Config) { c.Off.Force = true }, Config{Policy: node.Majority}, unheardClaim},
		rule{"a learner starts empty", func(c *node.Config) { c.Off.Leftovers = true }, Config{Policy: node.Majority}, leftovers},
		rule{"losers of forks offer what they have", func(c *node.Config) { c.Off.Offers = true }, Config{Policy: node.Available}, forkedWrites},
	) {
		t.Run(tt.name, func(t *testing.T) {
			run := func(seed uint64, off bool) (fault string) {
				name := fmt.Sprintf("seed %d, without the rule: %v", seed, off)
				t.Run(name, func(t *testing.T) {
					cfg := tt.cfg
					cfg.Nodes, cfg.Seed = 3, seed
					cfg.Adjust = func(_ string, c *node.Config) {
						c.OrphanWait = time.Minute
						if off {
							tt.off(c)
						}
					}
					Run(t, cfg, func(sc *Cluster) { fault = tt.scenario(sc) })
				})
				return fault
			}
			for seed := uint64(80); seed < 80+plantedSeeds; seed++ {
				if fault := run(seed, false); fault != "" {
					t.Fatalf("seed %d, with all rules: %s", seed, fault)
				}
				if fault := run(seed, true); fault != "" {
					t.Logf("seed %d: %s", seed, fault)
					return
				}
			}
			t.Errorf("not found in %d seeds", plantedSeeds)
		})
	}
}

// brief makes a call that its caller soon gives up.
func brief(sc *Cluster, from string, c node.Call) (node.Result, error) {
	return sc.DoWithin(500*time.Millisecond, from, c)
}

func set(key, value string) node.Call {
	return node.Call{Op: transport.OpSet, Key: key, Value: []byte(value)}
}

func get(key string) node.Call { return node.Call{Op: transport.OpGet, Key: key} }

// readOfTheReplaced: a primary that is cut off is replaced, and read.
func readOfTheReplaced(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	sc.Must(sc.Set("n1", key, "old"))
	sc.Isolate("n1")
	sc.Advance(4 * time.Second)
	sc.Must(sc.Set("n2", key, "new"))
	if r, err := brief(sc, "n1", get(key)); err == nil && string(r.Value) != "new" {
		return fmt.Sprintf("I3: the replaced primary reads %q", r.Value)
	}
	return ""
}

// readOfThePending: a value is read while it is on its way to the backup, and
// the primary dies.
func readOfThePending(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	sc.Must(sc.Set("n1", key, "old"))
	sc.Net.SetOneWay("n1", "n2", simnet.Link{Delay: 60 * time.Millisecond})
	sc.Advance(time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = brief(sc, "n1", set(key, "new"))
	}()
	sc.Advance(5 * time.Millisecond)
	seen := ""
	if r, err := sc.DoWithin(20*time.Millisecond, "n1", get(key)); err == nil {
		seen = string(r.Value)
	}
	sc.KillSilent("n1")
	<-done
	now, _, err := sc.Get("n2", key)
	sc.Must(err)
	if seen == "new" && now != "new" {
		return fmt.Sprintf("I5: %q was read, and %q after the crash", seen, now)
	}
	return ""
}

// lateAppend: what a paused primary sent arrives after it was replaced.
func lateAppend(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	sc.Pause("n1")
	_, err := brief(sc, "n1", set(key, "late"))
	if err == nil {
		return "a paused primary acknowledged a write"
	}
	sc.Advance(4 * time.Second)
	if _, found, err := sc.Get("n2", key); err != nil || found {
		return fmt.Sprintf("the successor reads %v, %v", found, err)
	}
	sc.Resume("n1")
	sc.Advance(500 * time.Millisecond) // before slots move back
	if _, found, err := sc.Get("n2", key); err == nil && found {
		return "I5: a write of the replaced primary shows up later"
	}
	return ""
}

// unheardClaim: a successor is cut off as soon as it acknowledges a write, while
// its claim may still be on the way, and the old primary is back.
func unheardClaim(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	sc.Must(sc.Set("n1", key, "old"))
	sc.Net.SetOneWay("n2", "n3", simnet.Link{Delay: 100 * time.Millisecond})
	sc.Advance(time.Second)
	sc.Isolate("n1")
	sc.Must(sc.Set("n2", key, "new"))
	sc.Isolate("n2")
	sc.Advance(time.Second)
	sc.Net.Reconnect("n1")
	for range 3 {
		if r, err := brief(sc, "n1", get(key)); err == nil && string(r.Value) != "new" {
			return fmt.Sprintf("I1: %q was acknowledged, and the majority reads %q", "new", r.Value)
		}
		sc.Advance(500 * time.Millisecond)
	}
	return ""
}

// leftovers: a deposed primary has a write that nobody else has, and becomes a
// backup again.
func leftovers(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	sc.Must(sc.Set("n1", key, "old"))
	tag := "{" + key + "}ghost"
	sc.Isolate("n1")
	_, _ = brief(sc, "n1", set(tag, "ghost"))
	sc.Advance(4 * time.Second)
	sc.Must(sc.Set("n2", key, "new"))
	sc.Heal()
	if err := sc.TryStable(time.Minute); err != nil {
		return err.Error()
	}
	sc.Advance(3 * time.Second)
	if faults := sc.CopyFaults(); len(faults) > 0 {
		return "I5: " + faults[0]
	}
	return ""
}

// forkedWrites: both sides of a cut write, and meet again.
func forkedWrites(sc *Cluster) string {
	key := sc.KeyHeldBy("n1", "n2")
	keys := map[string]string{"{" + key + "}a": "n1", "{" + key + "}b": "n2"}
	sc.Isolate("n1")
	sc.Advance(8 * time.Second)
	for k, from := range keys {
		sc.Must(sc.Set(from, k, from))
	}
	sc.Heal()
	sc.AwaitStable(time.Minute)
	for k, want := range keys {
		if got, _, err := sc.Get("n3", k); err != nil || got != want {
			return fmt.Sprintf("I9: %q was acknowledged by %s and is %q, %v", want, want, got, err)
		}
	}
	return ""
}
