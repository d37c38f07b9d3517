//go:build !race || slow

package simcluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/slotmesh/slotmesh/internal/simcluster"
)

// A node that was away while a tenth of the keys was rewritten and some were
// deleted copies little more than that when it is back with its disk, within
// the repair delay and after it; nothing deleted comes back.
func TestRestartWithDiskCopiesWhatChanged(t *testing.T) {
	t.Parallel()
	for _, away := range variants(1, 0, 30*time.Second) { // within the repair delay, and after it
		t.Run(away.String(), func(t *testing.T) {
			// Three copies among three nodes: nobody else repairs meanwhile.
			Run(t, Config{Nodes: 3, Backups: 2, Seed: 71, Disks: LazyDisks}, func(sc *Cluster) {
				const keys = 3000
				value := strings.Repeat("v", 200)
				key := func(i int) string { return fmt.Sprintf("{tag%d}%d", i%12, i) }
				for i := range keys {
					sc.Must(sc.Set("n1", key(i), value))
				}
				sc.Advance(3 * time.Second) // everything is on disk
				sc.AwaitStable(time.Minute)
				sc.Kill("n3")
				for i := 0; i < keys; i += 10 {
					sc.Must(sc.Set("n1", key(i), value+"new"))
				}
				for i := 5; i < keys; i += 100 {
					sc.Must(sc.Delete("n1", key(i)))
				}
				sc.Advance(away)
				copied := func() (sum uint64) {
					for _, h := range sc.Up() {
						sum += h.Node().Stats().BytesCopied
					}
					return sum
				}
				before := copied()
				sc.Start("n3")
				sc.AwaitStable(time.Minute)
				sc.AwaitCopies()
				data := uint64(keys * (len(key(0)) + len(value) + 64))
				sent := copied() - before
				t.Logf("%d bytes of %d were copied", sent, data)
				if sent == 0 || sent > data/5 {
					t.Errorf("%d bytes of %d were copied, want some and at most a fifth", sent, data)
				}
				for i := range keys {
					got, found, err := sc.Get("n3", key(i))
					sc.Must(err)
					switch want := i%100 != 5; {
					case found != want:
						t.Fatalf("%s found: %v, want %v", key(i), found, want)
					case want && i%10 == 0 && got != value+"new":
						t.Fatalf("%s is of before the restart", key(i))
					}
				}
			})
		})
	}
}
