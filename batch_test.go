package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
)

// TestBatchAndExplain runs batches, and what tells where a key is.
func TestBatchAndExplain(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"calls of all kinds":          batchKinds,
		"calls on one key keep order": batchOrder,
		"calls that give what was":    batchOld,
		"faults":                      batchFaults,
		"where an item came from":     itemSource,
		"explain":                     explain,
	})
}

func batchKinds(t *testing.T, p pair) {
	ctx := t.Context()
	set(t, p.w, unique(t, "get"), "v")
	set(t, p.w, unique(t, "delete"), "v")
	b := p.r.Batch()
	get, miss := b.Get(unique(t, "get")), b.Get(unique(t, "miss"))
	put := b.Set(unique(t, "set"), []byte("new"), slotmesh.TTL(time.Hour))
	failed := b.Set(unique(t, "get"), nil, slotmesh.IfAbsent())
	gone, none := b.Delete(unique(t, "delete")), b.Delete(unique(t, "none"))
	sum, bound := b.Incr(unique(t, "n"), 5), b.Incr(unique(t, "m"), 5, slotmesh.IncrMax(3))
	expired := b.Expire(unique(t, "get"), time.Hour)
	if b.Len() != 9 {
		t.Errorf("Len = %d, want 9", b.Len())
	}
	wantErr(t, "Do", b.Do(ctx), nil)
	if string(get.Value) != "v" || get.Version == 0 || get.Err != nil || get.Key != unique(t, "get") {
		t.Errorf("Get = %+v", get)
	}
	wantErr(t, "Get of an absent key", miss.Err, slotmesh.ErrNotFound)
	wantErr(t, "Set", put.Err, nil)
	wantErr(t, "Set IfAbsent", failed.Err, slotmesh.ErrConditionFailed)
	if !gone.Existed || none.Existed || errors.Join(gone.Err, none.Err) != nil {
		t.Errorf("Delete = %+v and %+v", gone, none)
	}
	if sum.Int != 5 || sum.Err != nil || bound.Int != 0 || !errors.Is(bound.Err, slotmesh.ErrConditionFailed) {
		t.Errorf("Incr = %+v and %+v", sum, bound)
	}
	wantErr(t, "Expire", expired.Err, nil)
	wantValue(t, p.w, unique(t, "set"), "new")
	wantTTL(t, p.w, unique(t, "get"), 59*time.Minute, time.Hour)
}

func batchOld(t *testing.T, p pair) {
	key, none := unique(t, "key"), unique(t, "none")
	b := p.r.Batch()
	first, missing := b.GetSet(key, []byte("a")), b.GetDelete(none)
	length := b.Append(key, []byte("b"))
	swapped, refused := b.CompareAndSwap(key, []byte("ab"), []byte("c")), b.CompareAndSwap(key, []byte("ab"), nil)
	touched, lost := b.GetExpire(key, time.Hour), b.GetExpire(none, time.Hour)
	there, absent := b.Exists(key), b.Exists(none)
	lasting, lastingNone := b.Persist(key), b.Persist(none)
	second, taken, gone := b.GetSet(key, []byte("d")), b.GetDelete(key), b.Exists(key)
	doubled := b.CompareAndSwap(key, nil, nil, slotmesh.IfAbsent())
	wantErr(t, "Do", b.Do(t.Context()), slotmesh.ErrInvalid) // of the last one
	for _, want := range []struct {
		call    string
		got     *slotmesh.BatchResult
		value   string
		existed bool
		err     error
	}{
		{"GetSet of an absent key", first, "", false, nil},
		{"GetDelete of an absent key", missing, "", false, slotmesh.ErrNotFound},
		{"CompareAndSwap", swapped, "", false, nil},
		{"CompareAndSwap of another value", refused, "", false, slotmesh.ErrConditionFailed},
		{"GetExpire", touched, "c", true, nil},
		{"GetExpire of an absent key", lost, "", false, slotmesh.ErrNotFound},
		{"Exists", there, "", true, nil},
		{"Exists of an absent key", absent, "", false, nil},
		{"Persist", lasting, "", true, nil},
		{"Persist of an absent key", lastingNone, "", false, slotmesh.ErrNotFound},
		{"GetSet", second, "c", true, nil},
		{"GetDelete", taken, "d", true, nil},
		{"Exists of what was deleted", gone, "", false, nil},
		{"CompareAndSwap with a condition", doubled, "", false, slotmesh.ErrInvalid},
	} {
		wantErr(t, want.call, want.got.Err, want.err)
		if string(want.got.Value) != want.value || want.got.Existed != want.existed {
			t.Errorf("%s = %q, %v, want %q, %v", want.call, want.got.Value, want.got.Existed, want.value, want.existed)
		}
	}
	if length.Int != 2 || length.Err != nil || there.Version == 0 || there.Expires.IsZero() {
		t.Errorf("Append = %d, %v; Exists = %+v", length.Int, length.Err, there)
	}
}

func batchOrder(t *testing.T, p pair) {
	b := p.r.Batch()
	var reads []*slotmesh.BatchResult
	for i := range 20 {
		for k := range 5 {
			key := unique(t, strconv.Itoa(k))
			b.Set(key, []byte(strconv.Itoa(i)))
			reads = append(reads, b.Get(key))
		}
	}
	wantErr(t, "Do", b.Do(t.Context()), nil)
	for i, r := range reads {
		if r.Err != nil || string(r.Value) != strconv.Itoa(i/5) {
			t.Fatalf("read %d = %q, %v, want %d", i, r.Value, r.Err, i/5)
		}
	}
}

func batchFaults(t *testing.T, p pair) {
	b := p.r.Batch()
	long := b.Get(strings.Repeat("k", 64<<10+1))
	bad := b.Set(unique(t, "a"), nil, slotmesh.TTL(0))
	ttl, crossed := b.Expire(unique(t, "a"), -1), b.Incr(unique(t, "a"), 1, slotmesh.IncrMin(2), slotmesh.IncrMax(1))
	good := b.Set(unique(t, "b"), []byte("v"))
	err := b.Do(t.Context())
	wantErr(t, "Do", err, slotmesh.ErrInvalid)
	wantErr(t, "Do", err, slotmesh.ErrTooLarge)
	wantErr(t, "Get of a long key", long.Err, slotmesh.ErrTooLarge)
	for _, r := range []*slotmesh.BatchResult{bad, ttl, crossed} {
		wantErr(t, "a call at fault", r.Err, slotmesh.ErrInvalid)
	}
	wantErr(t, "Set beside them", good.Err, nil)
	wantErr(t, "a call added after Do", b.Get(unique(t, "b")).Err, slotmesh.ErrInvalid)
	wantErr(t, "a second Do", b.Do(t.Context()), slotmesh.ErrInvalid)
	wantErr(t, "Do of nothing", p.r.Batch().Do(t.Context()), nil)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	late := p.r.Batch()
	late.Get("x")
	wantErr(t, "Do with a done context", late.Do(done), context.Canceled)
}

func itemSource(t *testing.T, p pair) {
	for i := range 20 {
		key := unique(t, strconv.Itoa(i))
		set(t, p.w, key, "v")
		owner, err := p.r.Cluster().Owner(key)
		if err != nil {
			t.Fatal(err)
		}
		want := slotmesh.SourceRemote
		if owner.Self {
			want = slotmesh.SourceLocal
		}
		if item, err := p.r.GetItem(t.Context(), key); err != nil || item.Source != want {
			t.Errorf("GetItem = %v, %v, want %v", item.Source, err, want)
		}
	}
}

func explain(t *testing.T, p pair) {
	ctx := t.Context()
	key := "{" + unique(t, "") + "}"
	state := func(want string) slotmesh.Explanation {
		t.Helper()
		e, err := p.r.Cluster().Explain(ctx, key)
		if err != nil || e.State != want {
			t.Fatalf("Explain = %v, %v, want it %s", e, err, want)
		}
		return e
	}
	e := state("absent")
	if e.Tag != unique(t, "") || e.Slot != p.w.Cluster().KeySlot(key) || e.Primary == "" || e.Epoch == 0 || len(p.all) == 3 && len(e.Backups) != 1 {
		t.Errorf("Explain = %+v", e)
	}
	set(t, p.w, key, "value", slotmesh.TTL(time.Hour))
	e = state("present")
	if len(p.all) == 3 && (len(e.Copies) != 1 || !e.Copies[0].InSync || e.Copies[0].Node != e.Backups[0]) {
		t.Errorf("Explain: copies %+v, want one in sync on %v", e.Copies, e.Backups)
	}
	if e.Size != 5 || e.Version == 0 || e.TTL < 59*time.Minute || e.SlotRecords != 1 || !strings.Contains(fmt.Sprint(e), "5 bytes") {
		t.Errorf("Explain = %+v", e)
	}
	_, _ = p.w.Delete(ctx, key)
	state("deleted")
	_, _ = p.w.GetOrLoad(ctx, key, func(context.Context, string) ([]byte, error) {
		if e := state("deleted"); !e.Loading {
			t.Errorf("Explain = %+v, want it loading", e)
		}
		return nil, slotmesh.ErrNotFound
	}, slotmesh.LoadNegative(time.Hour))
	state("no value")
	wantErr(t, "Set", slotmesh.For[int](p.w, "", slotmesh.WithSchema(7)).Set(ctx, key, 1), nil)
	if e = state("present"); e.Codec != 1 || e.Schema != 7 || e.TTL != slotmesh.NoTTL {
		t.Errorf("Explain = %+v", e)
	}
	set(t, p.w, key, "v", slotmesh.TTL(time.Millisecond))
	await(t, "the key has expired", func() error {
		if e, err := p.r.Cluster().Explain(ctx, key); err != nil || e.State != "expired" {
			return fmt.Errorf("%v, %v", e, err)
		}
		return nil
	})
	_, err := p.r.Cluster().Explain(ctx, strings.Repeat("k", 64<<10+1))
	wantErr(t, "Explain of a long key", err, slotmesh.ErrTooLarge)
}
