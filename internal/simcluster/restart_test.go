//go:build !race || slow

package simcluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
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

// A node that starts again takes the seat it had: nobody else is to be expected, so
// its slots come back without the time in which a member list settles. A newcomer
// beside it is waited for as ever.
func TestRestartWaitsForNobodyElse(t *testing.T) {
	t.Parallel()
	const settle = 20 * time.Second
	for _, newcomer := range variants(1, false, true) {
		t.Run(fmt.Sprint("newcomer ", newcomer), func(t *testing.T) {
			adjust := func(_ string, c *node.Config) { c.SettleDelay, c.RepairDelay = settle, time.Minute }
			Run(t, Config{Nodes: 3, Seed: 75, Disks: LazyDisks, Adjust: adjust}, func(sc *Cluster) {
				sc.AwaitStable(2 * time.Minute)
				sc.Fill("n1", 100)
				sc.Kill("n3")
				sc.Advance(3 * time.Second) // the others serve its slots
				began := time.Now()
				if newcomer {
					sc.Start("n4")
				}
				sc.Start("n3")
				sc.AwaitStable(2 * time.Minute)
				if took := time.Since(began); (took > settle) != newcomer {
					t.Errorf("all slots were in place %v after the start", took)
				}
				sc.CheckFilled("n3", 100)
			})
		})
	}
}

// Who starts where the only node with data has just died, or is about to give way to
// this later start of its name, hears of that node as of a living one at first. It is
// not ready until the slots are served again.
func TestReadyAmongTheDeadMeansServed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, name string
		killed     bool
	}{
		{"a later start elsewhere", "n1", true},
		{"a later start elsewhere, of who still runs", "n1", false},
		{"a newcomer", "n4", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			adjust := func(name string, cfg *node.Config) {
				switch name {
				case "n2", "n3":
					cfg.Weight = 0
				case "elsewhere":
					cfg.Name = c.name
				}
			}
			Run(t, Config{Nodes: 3, Seed: 81, Adjust: adjust}, func(sc *Cluster) {
				if c.killed {
					sc.Kill("n1")
				}
				sc.Start("elsewhere")
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				sc.Must(sc.Node("elsewhere").Ready(ctx))
				began := time.Now()
				_, _, err := sc.Get("elsewhere", "key")
				sc.Must(err)
				if took := time.Since(began); took > time.Second {
					t.Errorf("a get took %v after Ready", took)
				}
			})
		})
	}
}
