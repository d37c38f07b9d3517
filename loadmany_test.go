package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestTypedGetOrLoadMany loads what is missing, and what another release wrote,
// with one call.
func TestTypedGetOrLoadMany(t *testing.T) {
	type user struct{ Name string }
	c, ctx := open(t), t.Context()
	users := slotmesh.For[user](c, "user:")
	wantErr(t, "Set", users.Set(ctx, "a", user{"Ann"}), nil)
	wantErr(t, "Set", slotmesh.For[string](c, "user:", slotmesh.WithSchema(9)).Set(ctx, "b", "of a later release"), nil)
	calls := 0
	load := func(_ context.Context, keys []string) (map[string]user, error) {
		calls++
		if slices.Sort(keys); !slices.Equal(keys, []string{"b", "c", "none"}) {
			t.Errorf("load of %q", keys)
		}
		return map[string]user{"b": {"Bob"}, "c": {"Cid"}}, nil
	}
	check := func(got []slotmesh.TypedResult[user]) {
		t.Helper()
		for i, want := range []string{"Ann", "Bob", "Cid", "", "Bob"} {
			if want == "" {
				wantErr(t, got[i].Key, got[i].Err, slotmesh.ErrNotFound)
			} else if got[i].Err != nil || got[i].Value.Name != want || got[i].Version == 0 {
				t.Errorf("%s = %+v, want %s", got[i].Key, got[i], want)
			}
		}
	}
	keys := []string{"a", "b", "c", "none", "b"}
	check(users.GetOrLoadMany(ctx, keys, load))
	if calls != 1 {
		t.Errorf("%d loads, want 1", calls)
	}
	if u, err := users.Get(ctx, "b"); err != nil || u.Name != "Bob" {
		t.Errorf("Get = %+v, %v", u, err)
	}
	wantErr(t, "Set", slotmesh.For[string](c, "user:").Set(ctx, "odd", "no user"), nil)
	odd := users.GetOrLoadMany(ctx, []string{"odd"}, load)[0]
	if wantErr(t, "odd", odd.Err, slotmesh.ErrCodec); odd.Version != 0 {
		t.Errorf("odd = %+v, want its key and error alone", odd)
	}
	failed := errors.New("source is down")
	for _, res := range users.GetOrLoadMany(ctx, []string{"a", "x"}, func(context.Context, []string) (map[string]user, error) { return nil, failed }) {
		if res.Key == "a" {
			wantErr(t, "a", res.Err, nil)
		} else {
			wantErr(t, "x", res.Err, failed)
		}
	}
	for _, res := range users.GetOrLoadMany(ctx, []string{"a"}, nil) {
		wantErr(t, "nil loader", res.Err, slotmesh.ErrInvalid)
	}
}

func ExampleTyped_GetOrLoadMany() {
	type Product struct{ Price int }
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	products := slotmesh.For[Product](c, "product:")
	fromTable := func(_ context.Context, ids []string) (map[string]Product, error) {
		fmt.Println("one query for", len(ids))
		found := map[string]Product{}
		for _, id := range ids {
			found[id] = Product{Price: 10 * len(id)}
		}
		return found, nil
	}
	for range 2 {
		for _, p := range products.GetOrLoadMany(ctx, []string{"7", "42"}, fromTable) {
			fmt.Println(p.Key, p.Value.Price, p.Err)
		}
	}
	// Output:
	// one query for 2
	// 7 10 <nil>
	// 42 20 <nil>
	// 7 10 <nil>
	// 42 20 <nil>
}

func loadMany(t *testing.T, p pair) {
	ctx := t.Context()
	var keys []string
	for i := range 200 {
		keys = append(keys, unique(t, strconv.Itoa(i)))
	}
	set(t, p.w, keys[0], "0")
	keys = append(keys, keys[1], keys[0])
	for round := range 2 {
		calls, asked := 0, 0
		for i, r := range p.r.GetOrLoadMany(ctx, keys, func(_ context.Context, missing []string) (map[string][]byte, error) {
			calls, asked = calls+1, len(missing)
			got := map[string][]byte{}
			for _, key := range missing {
				if n, _ := strconv.Atoi(key[strings.LastIndex(key, "/")+1:]); n%10 != 9 {
					got[key] = []byte(strconv.Itoa(n))
				}
			}
			return got, nil
		}, slotmesh.LoadTTL(time.Hour), slotmesh.LoadNegative(time.Hour)) {
			n, _ := strconv.Atoi(keys[i][strings.LastIndex(keys[i], "/")+1:])
			switch {
			case r.Key != keys[i]:
				t.Errorf("result %d is of %q, want %q", i, r.Key, keys[i])
			case n%10 == 9:
				wantErr(t, "GetOrLoadMany of a key without value", r.Err, slotmesh.ErrNotFound)
			case r.Err != nil || string(r.Value) != strconv.Itoa(n):
				t.Errorf("GetOrLoadMany of %q = %q, %v", r.Key, r.Value, r.Err)
			}
		}
		if want := 1 - round; calls != want || round == 0 && asked != 199 {
			t.Errorf("round %d: %d loads of %d keys, want %d of 199", round, calls, asked, want)
		}
	}
	wantTTL(t, p.w, keys[5], 59*time.Minute, time.Hour)
	if got := p.r.GetOrLoadMany(ctx, nil, func(context.Context, []string) (map[string][]byte, error) { t.Error("called"); return nil, nil }); len(got) != 0 {
		t.Errorf("GetOrLoadMany of nothing = %v", got)
	}
	empty := unique(t, "empty")
	for _, r := range p.r.GetOrLoadMany(ctx, []string{empty, empty}, func(context.Context, []string) (map[string][]byte, error) { return map[string][]byte{empty: nil}, nil }) {
		if r.Value == nil || r.Err != nil {
			t.Errorf("GetOrLoadMany of an empty value = %v (nil %v), %v", r.Value, r.Value == nil, r.Err)
		}
	}
}

func loadManyFromEverywhere(t *testing.T, p pair) {
	var keys []string
	for i := range 50 {
		keys = append(keys, unique(t, strconv.Itoa(i)))
	}
	var mu sync.Mutex
	loads := map[string]int{}
	fromAll(p, 5, func(c *slotmesh.Cache) {
		for _, r := range c.GetOrLoadMany(t.Context(), keys, func(_ context.Context, missing []string) (map[string][]byte, error) {
			time.Sleep(10 * time.Millisecond) // as an origin would
			mu.Lock()
			defer mu.Unlock()
			got := map[string][]byte{}
			for _, key := range missing {
				loads[key]++
				got[key] = []byte(key)
			}
			return got, nil
		}) {
			if r.Err != nil || string(r.Value) != r.Key {
				t.Errorf("GetOrLoadMany of %q = %q, %v", r.Key, r.Value, r.Err)
			}
		}
	})
	for key, n := range loads {
		if n != 1 {
			t.Errorf("%q was loaded %d times, want once", key, n)
		}
	}
}

func loadManyChanged(t *testing.T, p pair) {
	prefix := unique(t, "")
	keys := []string{prefix + "1", prefix + "2", prefix + "3"}
	load := func(_ context.Context, keys []string) (map[string][]byte, error) {
		values := map[string][]byte{}
		for i, key := range keys {
			values[key] = []byte(strings.TrimPrefix(key, prefix))
			keys[i] = ""
		}
		return values, nil
	}
	for i, r := range p.r.GetOrLoadMany(t.Context(), keys, load) {
		if want := strconv.Itoa(i + 1); string(r.Value) != want || r.Err != nil {
			t.Errorf("%s = %q, %v, want %s", r.Key, r.Value, r.Err, want)
		}
	}
}

func loadManyErrors(t *testing.T, p pair) {
	mine := errors.New("mine")
	for _, r := range p.r.GetOrLoadMany(t.Context(), []string{unique(t, "a"), unique(t, "b")}, func(context.Context, []string) (map[string][]byte, error) {
		return nil, mine
	}) {
		var le *slotmesh.LoadError
		if !errors.As(r.Err, &le) || le.Key != r.Key || !errors.Is(r.Err, mine) {
			t.Errorf("GetOrLoadMany = %v, want a LoadError", r.Err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	r := p.r.GetOrLoadMany(done, []string{unique(t, "c")}, func(ctx context.Context, _ []string) (map[string][]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	wantErr(t, "GetOrLoadMany", r[0].Err, context.Canceled)
	if got, err := p.w.GetOrLoad(t.Context(), unique(t, "c"), func(context.Context, string) ([]byte, error) { return []byte("v"), nil }); string(got) != "v" || err != nil {
		t.Errorf("GetOrLoad after it = %q, %v", got, err)
	}
}

// TestGetOrLoadManyEndsWithTheCache closes a cache whose caller loads.
func TestGetOrLoadManyEndsWithTheCache(t *testing.T) {
	parallel(t)
	c, running := open(t), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := c.GetOrLoadMany(t.Context(), []string{"k"}, func(ctx context.Context, _ []string) (map[string][]byte, error) {
			close(running)
			<-ctx.Done()
			return nil, ctx.Err()
		}, slotmesh.LoadTimeout(10*time.Minute))
		wantErr(t, "GetOrLoadMany", r[0].Err, slotmesh.ErrClosed)
	})
	receive(t, "the loader", running)
	within(t, time.Minute, "Close", func() { wantErr(t, "Close", c.Close(), nil) })
	wg.Wait()
}

// TestGetOrLoadManyWaitsLong waits for a load that takes longer than WithOpTimeout.
func TestGetOrLoadManyWaitsLong(t *testing.T) {
	parallel(t)
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		keys := []string{c.KeyServedBy("n1"), c.KeyServedBy("n2")}
		load := func(_ context.Context, keys []string) (map[string][]byte, error) {
			<-time.After(12 * time.Second)
			values := map[string][]byte{}
			for _, key := range keys {
				values[key] = []byte("v")
			}
			return values, nil
		}
		var wg sync.WaitGroup
		for _, name := range []string{"n1", "n1", "n2", "n2"} {
			wg.Go(func() {
				for _, r := range c.Node(name).GetOrLoadMany(t.Context(), keys, load, slotmesh.LoadTimeout(time.Minute)) {
					if string(r.Value) != "v" || r.Err != nil {
						t.Errorf("%s: GetOrLoadMany of %s = %q, %v, want v", name, r.Key, r.Value, r.Err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestGetOrLoadManyTakesNothingWhileItWaits has two callers wait for the same keys, each
// of them first in line for another one: when who loads them gives up neither keeps what
// the other waits for.
func TestGetOrLoadManyTakesNothingWhileItWaits(t *testing.T) {
	parallel(t)
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		keys := []string{c.KeyServedBy("n1"), c.KeyServedBy("n2")}
		first, giveUp := context.WithCancel(t.Context())
		running := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			c.Node("n3").GetOrLoadMany(first, keys, func(ctx context.Context, _ []string) (map[string][]byte, error) {
				close(running)
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		receive(t, "the loader", running)
		for _, name := range []string{"n1", "n2"} {
			wg.Go(func() {
				for _, r := range c.Node(name).GetOrLoadMany(t.Context(), keys, func(_ context.Context, keys []string) (map[string][]byte, error) {
					values := map[string][]byte{}
					for _, key := range keys {
						values[key] = []byte("v")
					}
					return values, nil
				}) {
					if string(r.Value) != "v" || r.Err != nil {
						t.Errorf("%s: GetOrLoadMany of %s = %q, %v, want v", name, r.Key, r.Value, r.Err)
					}
				}
			})
		}
		c.Advance(time.Second) // both are in line
		giveUp()
		gave := time.Now()
		wg.Wait()
		if took := time.Since(gave); took > time.Second {
			t.Errorf("they took %v, want no waiting for each other", took)
		}
	})
}
