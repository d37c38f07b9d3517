package slotmesh_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestNearCache reads a key on nodes that do not serve it, until they answer by
// themselves, and writes it.
func TestNearCache(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3, slotmesh.WithNearCache(1<<20))
	ctx := t.Context()
	key := keyServedBy(t, caches[0])
	near := func(c *slotmesh.Cache, key, want string) {
		t.Helper()
		slotmeshtest.Await(t, "a near read of "+want, func() error {
			item, err := c.GetItem(ctx, key)
			if err != nil || string(item.Value) != want {
				t.Fatalf("GetItem = %q, %v; want %q", item.Value, err, want)
			}
			if item.Source != slotmesh.SourceCopy {
				return fmt.Errorf("from %v", item.Source)
			}
			if item.Age != 0 || item.Version == 0 {
				t.Errorf("near item of age %v, version %d", item.Age, item.Version)
			}
			return nil
		})
	}
	for _, writer := range caches {
		for _, value := range []string{"one", "two", ""} {
			set(t, writer, key, value)
			near(caches[1], key, value)
			near(caches[2], key, value)
		}
	}
	// A transaction, and a delete: the miss is kept too.
	wantErr(t, "Txn", caches[2].Txn(ctx, key, func(tx *slotmesh.Tx) error { return tx.Set(key, []byte("three")) }), nil)
	near(caches[1], key, "three")
	if _, err := caches[2].Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "a near miss", func() error {
		before := caches[1].Stats().NearHits
		if _, err := caches[1].Get(ctx, key); !errors.Is(err, slotmesh.ErrNotFound) {
			t.Fatalf("Get = %v, want ErrNotFound", err)
		}
		if caches[1].Stats().NearHits == before {
			return errors.New("not near")
		}
		return nil
	})
	set(t, caches[0], key, "four")
	if v, err := caches[1].Get(ctx, key); err != nil || string(v) != "four" {
		t.Errorf("Get after a kept miss = %q, %v", v, err)
	}
	// Values that a caller changes are its own.
	near(caches[1], key, "four")
	v, _ := caches[1].Get(ctx, key)
	v[0] = 'F'
	near(caches[1], key, "four")

	if st := caches[0].Stats(); st.NearGrants == 0 || st.Revocations < 9 {
		t.Errorf("%d grants and %d revocations at the primary", st.NearGrants, st.Revocations)
	}
	if st := caches[1].Stats(); st.NearEntries == 0 || st.NearBytes == 0 {
		t.Errorf("%d entries of %d bytes", st.NearEntries, st.NearBytes)
	}
}

// TestNearReadsSeeEveryAcknowledgedWrite has each node count up one key in turn:
// what was acknowledged is read at once on all nodes.
func TestNearReadsSeeEveryAcknowledgedWrite(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3, slotmesh.WithNearCache(1<<20))
	ctx, stop := t.Context(), make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range caches { // readers, so that it is kept
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Get(ctx, "counter"); err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
					t.Errorf("Get = %v", err)
					return
				}
			}
		})
	}
	for i := range 60 {
		want, err := caches[i%3].Incr(ctx, "counter", 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range caches {
			if got, err := c.Get(ctx, "counter"); err != nil || string(got) != fmt.Sprint(want) {
				t.Fatalf("Get = %s, %v; want %d", got, err, want)
			}
		}
	}
	close(stop)
	wg.Wait()
	hits := uint64(0)
	for _, c := range caches {
		hits += c.Stats().NearHits
	}
	if hits < 60 {
		t.Errorf("%d near reads", hits)
	}
}

// Keys of one slot are written side by side while another node may answer reads of
// them: it gives up each at once, so that no write waits for the end of its lease.
func TestWritesOfNearKeysOfOneSlotDoNotWait(t *testing.T) {
	opts := []slotmesh.Option{slotmesh.WithNearCache(1 << 20)}
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1, Options: opts}, func(t *testing.T, c *slotmeshtest.Cluster) {
		tag := c.KeyServedBy("n2")
		var entries []slotmesh.Entry
		for i := range 20 {
			entries = append(entries, slotmesh.Entry{Key: fmt.Sprintf("{%s}%d", tag, i)})
		}
		write := func() {
			for i, err := range c.Node("n1").SetMany(t.Context(), entries) {
				wantErr(t, "Set of "+entries[i].Key, err, nil)
			}
		}
		write()
		for range 3 {
			for _, e := range entries {
				for _, reader := range []string{"n1", "n3"} { // one of them has no copy
					_, err := c.Node(reader).Get(t.Context(), e.Key)
					wantErr(t, "Get of "+e.Key, err, nil)
				}
			}
		}
		if n := c.Node("n2").Stats().NearGrants; n != len(entries) {
			t.Fatalf("%d keys are granted, want %d", n, len(entries))
		}
		began := time.Now()
		write()
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("the writes took %v", took)
		}
	})
}

// TestNearReadersShareARequest has many readers of one key on a node ask its
// primary together a few times for each write, not each by itself.
func TestNearReadersShareARequest(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithNearCache(1<<20))
	key := keyServedBy(t, caches[0])
	served := func() (count uint64) {
		for _, call := range caches[0].Stats().Calls {
			if call.Op == "get" && call.Source == "served" {
				count += call.Count
			}
		}
		return count
	}
	set(t, caches[0], key, "0")
	for range 3 {
		wantValue(t, caches[1], key, "0") // so that it asks for leases
	}
	const readers, rounds = 100, 50
	before := served()
	for i := range rounds {
		want := fmt.Sprint(i)
		set(t, caches[0], key, want)
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() { wantValue(t, caches[1], key, want) })
		}
		wg.Wait()
	}
	if asked := served() - before; asked > readers*rounds/2 { // leases run out where the machine is busy
		t.Errorf("%d reads after %d writes made %d requests", readers*rounds, rounds, asked)
	}
}

// TestNearCacheIsBounded reads more than it can keep.
func TestNearCacheIsBounded(t *testing.T) {
	parallel(t)
	const limit = 1 << 20
	caches := slotmeshtest.Start(t, 2, slotmesh.WithNearCache(limit))
	ctx, value := t.Context(), string(make([]byte, 4<<10))
	var keys []string
	for i := range 2000 {
		keys = append(keys, fmt.Sprint("key", i))
		set(t, caches[0], keys[i], value)
	}
	for range 3 {
		for _, r := range caches[1].GetMany(ctx, keys) {
			wantErr(t, r.Key, r.Err, nil)
		}
	}
	st := caches[1].Stats()
	if st.NearBytes == 0 || st.NearBytes > limit || st.NearEntries == 0 {
		t.Errorf("%d bytes in %d entries, want at most %d", st.NearBytes, st.NearEntries, limit)
	}
	if st.NearRejected+st.NearEvicted == 0 {
		t.Error("nothing was rejected or evicted")
	}
}

// BenchmarkGetNear reads a key of another node that is kept here.
func BenchmarkGetNear(b *testing.B) {
	caches := slotmeshtest.Start(b, 2, slotmesh.WithNearCache(1<<20))
	ctx := b.Context()
	key := ""
	for i := 0; key == ""; i++ {
		if owner, err := caches[0].Cluster().Owner(fmt.Sprint(i)); err == nil && owner.Name == "n1" {
			key = fmt.Sprint(i)
		}
	}
	if err := caches[0].Set(ctx, key, make([]byte, 100)); err != nil {
		b.Fatal(err)
	}
	before := caches[1].Stats().NearHits
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := caches[1].Get(ctx, key); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(caches[1].Stats().NearHits-before)/float64(b.N), "near/op")
}

// TestPageShowsTheNearCache reads a key of another node until it is near, and has
// it taken back.
func TestPageShowsTheNearCache(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithNearCache(1<<20))
	key := keyServedBy(t, caches[0])
	set(t, caches[0], key, "one")
	type figures struct {
		Hits, Revocations      uint64
		Entries, Bytes, Grants int
	}
	shown := func(c *slotmesh.Cache) figures {
		t.Helper()
		var v struct{ Near *figures }
		if w := ask(c.Handler(), "GET", "/debug/slotmesh", "application/json"); json.Unmarshal(w.Body.Bytes(), &v) != nil || v.Near == nil {
			t.Fatalf("the page has no near cache: %s", w.Body)
		}
		return *v.Near
	}
	if got := shown(caches[1]); got != (figures{}) {
		t.Errorf("before any read it shows %+v", got)
	}
	slotmeshtest.Await(t, "the page shows hits, and what they take", func() error {
		wantValue(t, caches[1], key, "one")
		reader, primary := shown(caches[1]), shown(caches[0])
		if reader.Hits == 0 || reader.Entries == 0 || reader.Bytes == 0 || primary.Grants == 0 {
			return fmt.Errorf("%+v, the primary %+v", reader, primary)
		}
		return nil
	})
	slotmeshtest.Await(t, "the page of the primary shows that a write took the key back", func() error {
		wantValue(t, caches[1], key, "one") // or its lease may have run out since
		set(t, caches[0], key, "one")
		if got := shown(caches[0]); got.Revocations == 0 {
			return fmt.Errorf("it shows %+v", got)
		}
		return nil
	})
}
