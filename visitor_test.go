//go:build !race || slow

package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestVisitorMovesNothing lets a visitor come to two nodes, who have no third
// to vote, use the cache, and go.
func TestVisitorMovesNothing(t *testing.T) {
	parallel(t)
	const cluster = "visited"
	caches := slotmeshtest.Start(t, 2, slotmesh.WithCluster(cluster))
	set(t, caches[0], "key", "v")
	before := slices.Collect(caches[0].Cluster().Slots())
	visitor := open(t, slotmesh.WithName("visitor"), slotmesh.WithCluster(cluster), slotmesh.WithVisitor(),
		slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
	if err := visitor.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantValue(t, visitor, "key", "v")
	set(t, visitor, "key2", "v")
	if self := visitor.Cluster().Self(); self.Weight != 0 || !self.Visitor {
		t.Errorf("the visitor is %+v, want weight 0 and Visitor", self)
	}
	await(t, "both know of the visitor", func() error {
		for _, c := range caches {
			if r, err := c.Cluster().Report(t.Context(), "visitor"); err != nil || !r.Node.Visitor {
				return fmt.Errorf("%+v, %w", r.Node, err)
			}
		}
		return nil
	})
	wantErr(t, "Close", visitor.Close(), nil)
	await(t, "nobody knows of the visitor", func() error {
		for _, c := range caches {
			if n := len(c.Cluster().Nodes()); n != 2 {
				return fmt.Errorf("%d nodes", n)
			}
		}
		return nil
	})
	for i, s := range slices.Collect(caches[0].Cluster().Slots()) {
		if s.Epoch != before[i].Epoch || s.Primary != before[i].Primary || !slices.Equal(s.Backups, before[i].Backups) {
			t.Fatalf("slot %+v was %+v before the visit", s, before[i])
		}
	}
	wantErr(t, "Open of a visitor with a disk",
		opened(slotmesh.WithVisitor(), slotmesh.WithDataDir(t.TempDir())), slotmesh.ErrInvalid)
}

func opened(opts ...slotmesh.Option) error {
	c, err := slotmesh.Open(context.Background(), opts...)
	if err == nil {
		_ = c.Close()
	}
	return err
}

// TestReportsOfAllNodesAgree has each node report on each.
func TestReportsOfAllNodesAgree(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	var table uint64
	for _, asking := range caches {
		for i, asked := range caches {
			r, err := asking.Cluster().Report(t.Context(), fmt.Sprint("n", i+1))
			if err != nil {
				t.Fatal(err)
			}
			want := asked.Cluster().Self()
			if want.Self = asking == asked; !reflect.DeepEqual(r.Node, want) {
				t.Errorf("report of %+v, want %+v", r.Node, want)
			}
			if r.Stats.Primaries == 0 || r.Backups != 1 || len(r.Peers) != 2 || r.Clock.Before(r.Started) || r.Version == "" {
				t.Errorf("report %+v, want primaries, 1 backup, 2 peers, times and a version", r)
			}
			for _, p := range r.Peers {
				if !p.Connected || p.State != "alive" {
					t.Errorf("%s sees %+v, want it connected", r.Node.Name, p)
				}
			}
			if table == 0 {
				table = r.Table
			}
			if r.Table != table {
				t.Errorf("%s has table %x, others %x", r.Node.Name, r.Table, table)
			}
		}
	}
	_, err := caches[0].Cluster().Report(t.Context(), "nobody")
	wantErr(t, "Report of nobody", err, slotmesh.ErrInvalid)
	wantErr(t, "Close", caches[0].Close(), nil)
	<-caches[0].Done()
	wantErr(t, "Err of a closed cache", caches[0].Err(), nil)
	_, err = caches[0].Cluster().Report(t.Context(), "n1")
	wantErr(t, "Report of a closed cache", err, slotmesh.ErrClosed)
}

// TestCheckpointOfAnotherNode is opened as a cluster of one.
func TestCheckpointOfAnotherNode(t *testing.T) {
	const cluster = "checkpoints"
	dir := filepath.Join(t.TempDir(), "data")
	disk := open(t, slotmesh.WithName("disk"), slotmesh.WithCluster(cluster), slotmesh.WithDataDir(dir))
	if err := disk.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, disk, "key", "kept")
	visitor := open(t, slotmesh.WithName("visitor"), slotmesh.WithCluster(cluster), slotmesh.WithVisitor(),
		slotmesh.WithSeeds(disk.Cluster().Self().Addr))
	if err := visitor.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	at, err := visitor.Cluster().Checkpoint(t.Context(), "disk", "before-1.2")
	if want := filepath.Join(dir+"-checkpoints", "before-1.2"); err != nil || at != want {
		t.Fatalf("Checkpoint = %q, %v, want %q", at, err, want)
	}
	for _, label := range []string{"before-1.2", "", "..", ".hidden", "a/b", "../escape", "a b"} {
		_, err := visitor.Cluster().Checkpoint(t.Context(), "disk", label)
		wantErr(t, fmt.Sprintf("Checkpoint(%q)", label), err, slotmesh.ErrInvalid)
		if n := strings.Count(err.Error(), slotmesh.ErrInvalid.Error()); n != 1 {
			t.Errorf("Checkpoint(%q) = %v, which says %d times what kind of error it is", label, err, n)
		}
	}
	if _, err := visitor.Cluster().Checkpoint(t.Context(), "visitor", "x"); !errors.Is(err, slotmesh.ErrInvalid) {
		t.Errorf("Checkpoint without a disk = %v, want ErrInvalid", err)
	}
	wantErr(t, "Close", errors.Join(visitor.Close(), disk.Close()), nil)
	again := open(t, slotmesh.WithName("disk"), slotmesh.WithCluster(cluster), slotmesh.WithDataDir(at))
	if err := again.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantValue(t, again, "key", "kept")
}
