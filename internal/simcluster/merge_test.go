//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// Each side of a cut writes keys that the other writes too, keys that it alone
// writes, keys for which the merge function panics, and keys whose values it changes
// where they are. It keeps the keys.
func TestMergeMakesOneValueOfTwo(t *testing.T) {
	t.Parallel()
	var calls, stale atomic.Int64
	var mu sync.Mutex
	seen := map[string]bool{}
	merge := func(key string, newer, older node.Result) node.Result {
		calls.Add(1)
		mu.Lock()
		seen[key] = true
		mu.Unlock()
		if newer.Version < older.Version {
			t.Errorf("%s: newer is %d, older is %d", key, newer.Version, older.Version)
		}
		if strings.HasPrefix(key, "alone") {
			stale.Add(1)
		}
		if strings.HasPrefix(key, "panic") {
			older.Value[1] = '3'
			newer.Value[1] = '3'
			panic("no")
		}
		if strings.HasPrefix(key, "bits") {
			for i := range newer.Value {
				newer.Value[i] |= older.Value[i]
			}
			return newer
		}
		parts := append(strings.Fields(string(newer.Value)), strings.Fields(string(older.Value))...)
		slices.Sort(parts)
		newer.Value = []byte(strings.Join(parts, " "))
		return newer
	}
	adjust := func(_ string, c *node.Config) { c.Merge, c.OrphanWait = merge, time.Minute } // no side begins with nothing
	const keys = 60
	var tags []string // of slots that n1 holds
	Run(t, Config{Nodes: 3, Seed: 71, Policy: node.Available, Adjust: adjust}, func(sc *Cluster) {
		for i := 0; len(tags) < keys; i++ {
			if tag := fmt.Sprintf("{%d}", i); sc.Node("n1").Table().Claim(hashtag.Slot(tag)).Holds(sc.Node("n1").Self().ID) {
				tags = append(tags, tag)
			}
		}
		set := func(from, key, value string) {
			if err := sc.Set(from, key, value); err != nil {
				sc.T.Fatalf("Set(%s) from %s: %v", key, from, err)
			}
		}
		for _, tag := range tags {
			set("n1", "both"+tag, "before")
			set("n1", "alone"+tag, "before")
			set("n1", "panic"+tag, "before")
			set("n1", "gone"+tag, "before")
		}
		sc.Advance(3 * time.Second) // the copies hear what is acknowledged
		sc.Isolate("n1")
		sc.Advance(10 * time.Second)
		for i, tag := range tags {
			for _, from := range []string{"n1", "n2"} {
				set(from, "both"+tag, from)
				set(from, "panic"+tag, from)
				set(from, "bits"+tag, from)
			}
			set([]string{"n1", "n2"}[i%2], "alone"+tag, "after")
			if err := sc.Delete([]string{"n1", "n2"}[i%2], "gone"+tag); err != nil {
				sc.T.Fatal(err)
			}
		}
		sc.Advance(10 * time.Second) // tombstones may be purged where nobody is missed
		sc.Heal()
		sc.AwaitStable(time.Minute)
		for _, tag := range tags {
			for _, from := range []string{"n1", "n2", "n3"} {
				want := func(key string, ok func(string) bool) {
					if v, _, err := sc.Get(from, key); err != nil || !ok(v) {
						t.Errorf("Get(%s) from %s = %q, %v", key, from, v, err)
					}
				}
				want("both"+tag, func(v string) bool { return v == "n1 n2" })
				want("panic"+tag, func(v string) bool { return v == "n1" || v == "n2" })
				want("bits"+tag, func(v string) bool { return v == "n3" })
				want("alone"+tag, func(v string) bool { return v == "after" })
				want("gone"+tag, func(v string) bool { return v == "" })
			}
		}
		sc.AwaitCopies()
	})
	for _, tag := range tags {
		for _, key := range []string{"both", "panic", "bits"} {
			if !seen[key+tag] {
				t.Errorf("%s was not seen, or looks otherwise by now", key+tag)
			}
		}
	}
	if calls.Load() < keys || stale.Load() > 0 {
		t.Errorf("%d calls, %d of them for keys that one side wrote", calls.Load(), stale.Load())
	}
}
