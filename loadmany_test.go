package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/slotmesh/slotmesh"
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
