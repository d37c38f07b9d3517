package slotmesh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestAllowStale reads on a node that holds the backup of a key.
func TestAllowStale(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	ctx := t.Context()
	const key = "key"
	var backup, other *slotmesh.Cache
	set(t, caches[0], key, "zero")
	where, err := caches[0].Cluster().Explain(ctx, key)
	if err != nil || len(where.Backups) != 1 {
		t.Fatalf("Explain = %+v, %v; want one backup", where, err)
	}
	for _, c := range caches {
		switch c.Cluster().Self().Name {
		case where.Primary:
		case where.Backups[0]:
			backup = c
		default:
			other = c
		}
	}
	set(t, other, key, "one")
	stale := func(want string) {
		t.Helper()
		slotmeshtest.Await(t, "the backup answers "+want, func() error {
			item, err := backup.GetItem(ctx, key, slotmesh.AllowStale(time.Minute))
			if err != nil || string(item.Value) != want || item.Source != slotmesh.SourceStale {
				return fmt.Errorf("GetItem = %q from %v, %v", item.Value, item.Source, err)
			}
			if item.Age <= 0 || item.Age > time.Minute {
				t.Errorf("a stale item of age %v", item.Age)
			}
			return nil
		})
	}
	stale("one")
	set(t, other, key, "two")
	stale("two")

	before := backup.Stats()
	view := slotmesh.For[string](backup, "k", slotmesh.WithCodec(slotmesh.Msgpack()), slotmesh.AllowStale(time.Minute))
	if _, err := view.Get(ctx, "ey"); err == nil {
		t.Error("raw bytes are no string of msgpack")
	}
	if got := backup.GetMany(ctx, []string{key}, slotmesh.AllowStale(time.Minute)); got[0].Source != slotmesh.SourceStale {
		t.Errorf("GetMany = %v from %v", got[0].Err, got[0].Source)
	}
	if ok, err := backup.Exists(ctx, key, slotmesh.AllowStale(time.Minute)); !ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
	if got, err := backup.GetInto(ctx, key, []byte("> "), slotmesh.AllowStale(time.Minute)); string(got) != "> two" || err != nil {
		t.Errorf("GetInto = %q, %v", got, err)
	}
	after := backup.Stats()
	if n := after.StaleReads - before.StaleReads; n != 4 || after.Forwarded != before.Forwarded {
		t.Errorf("%d stale reads and %d forwarded ones, want 4 and 0", n, after.Forwarded-before.Forwarded)
	}

	if item, err := backup.GetItem(ctx, key); err != nil || item.Source != slotmesh.SourceRemote {
		t.Errorf("GetItem = from %v, %v; want the primary", item.Source, err)
	}
	if item, err := other.GetItem(ctx, key, slotmesh.AllowStale(time.Minute)); err != nil || item.Source != slotmesh.SourceRemote {
		t.Errorf("GetItem where there is no copy: from %v, %v; want the primary", item.Source, err)
	}
	for _, c := range caches {
		_, err := c.Get(ctx, key, slotmesh.AllowStale(0))
		wantErr(t, "AllowStale(0)", err, slotmesh.ErrInvalid)
	}
	_, err = slotmesh.For[string](backup, "", slotmesh.AllowStale(-1)).Get(ctx, key)
	wantErr(t, "a view with AllowStale(-1)", err, slotmesh.ErrInvalid)

	// A key that is absent or deleted is a stale miss.
	if _, err := backup.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "a stale miss", func() error {
		before := backup.Stats().StaleReads
		if ok, err := backup.Exists(ctx, key, slotmesh.AllowStale(time.Minute)); ok || err != nil || backup.Stats().StaleReads == before {
			return fmt.Errorf("Exists = %v, %v", ok, err)
		}
		return nil
	})
}
