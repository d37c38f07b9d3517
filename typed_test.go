package slotmesh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slotmesh/slotmesh"
)

type user struct {
	Name  string
	Age   int
	Notes []byte
}

// TestTyped runs the calls of typed views.
func TestTyped(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"every codec round-trips":             typedCodecs,
		"an absent key":                       typedAbsent,
		"update":                              typedUpdate,
		"update from everywhere":              typedUpdateFromEverywhere,
		"many":                                typedMany,
		"an older schema is upgraded":         typedUpgrade,
		"an unknown schema reads as a miss":   typedUnknownSchema,
		"a codec that fails names the key":    typedCodecFails,
		"arguments at fault":                  typedFaults,
		"a prefix with a tag shares one slot": typedTagPrefix,
	})
}

func typedCodecs(t *testing.T, p pair) {
	ctx := t.Context()
	want := user{"ann", 42, []byte{0, 1}}
	for name, codec := range map[string]slotmesh.Codec{"msgpack": slotmesh.Msgpack(), "json": slotmesh.JSON(), "own": {
		ID: 100, Marshal: json.Marshal, Unmarshal: json.Unmarshal,
	}} {
		w := slotmesh.For[user](p.w, t.Name()+name, slotmesh.WithCodec(codec))
		r := slotmesh.For[*user](p.r, t.Name()+name, slotmesh.WithCodec(codec))
		wantErr(t, "Set", w.Set(ctx, "a", want, slotmesh.TTL(time.Hour)), nil)
		got, err := r.Get(ctx, "a")
		if err != nil || got == nil || got.Name != want.Name || got.Age != want.Age || string(got.Notes) != string(want.Notes) {
			t.Errorf("%s: Get = %+v, %v, want %+v", name, got, err, want)
		}
		if existed, err := r.Delete(ctx, "a"); !existed || err != nil {
			t.Errorf("%s: Delete = %v, %v, want true", name, existed, err)
		}
	}
	pb := slotmesh.For[*wrapperspb.StringValue](p.r, t.Name()+"pb", slotmesh.WithCodec(slotmesh.Protobuf(proto.Marshal, proto.Unmarshal)))
	wantErr(t, "Set", pb.Set(ctx, "a", wrapperspb.String("hello")), nil)
	if got, err := pb.Get(ctx, "a"); err != nil || got.GetValue() != "hello" {
		t.Errorf("Get = %v, %v, want hello", got, err)
	}
	names := slotmesh.For[string](p.w, t.Name()+"string")
	wantErr(t, "Set", names.Set(ctx, "", ""), nil)
	if got, err := names.Get(ctx, ""); got != "" || err != nil {
		t.Errorf("Get = %q, %v, want an empty string", got, err)
	}
}

func typedAbsent(t *testing.T, p pair) {
	v := slotmesh.For[user](p.r, t.Name())
	_, err := v.Get(t.Context(), "none")
	wantErr(t, "Get", err, slotmesh.ErrNotFound)
	wantErr(t, "Set IfPresent", v.Set(t.Context(), "none", user{}, slotmesh.IfPresent()), slotmesh.ErrConditionFailed)
}

func typedUpdate(t *testing.T, p pair) {
	ctx := t.Context()
	v := slotmesh.For[user](p.r, t.Name())
	older := func(u user) (user, error) { u.Age++; return u, nil }
	for want := 1; want <= 3; want++ {
		if got, err := v.Update(ctx, "a", older); got.Age != want || err != nil {
			t.Fatalf("Update = %+v, %v, want age %d", got, err, want)
		}
	}
	if _, err := v.Update(ctx, "a", older, slotmesh.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Update(ctx, "a", older); err != nil {
		t.Fatal(err)
	}
	wantTTL(t, p.w, t.Name()+"a", 59*time.Minute, time.Hour)
	mine := errors.New("mine")
	_, err := v.Update(ctx, "a", func(user) (user, error) { return user{}, mine })
	wantErr(t, "Update", err, mine)
	if got, err := v.Get(ctx, "a"); got.Age != 5 || err != nil {
		t.Errorf("Get = %+v, %v, want age 5", got, err)
	}
	_, err = v.Update(ctx, "a", func(u user) (user, error) {
		return u, v.Set(ctx, "a", user{Name: "other"})
	})
	wantErr(t, "Update of a key that others keep writing", err, slotmesh.ErrConflict)
}

func typedUpdateFromEverywhere(t *testing.T, p pair) {
	var wg sync.WaitGroup
	for i := range 6 {
		v := slotmesh.For[int](p.all[i%len(p.all)], t.Name())
		wg.Go(func() {
			for range 10 {
				if _, err := v.Update(t.Context(), "n", func(n int) (int, error) { return n + 1, nil }); err != nil {
					t.Errorf("Update = %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := slotmesh.For[int](p.r, t.Name()).Get(t.Context(), "n"); n != 60 || err != nil {
		t.Errorf("Get = %d, %v, want 60", n, err)
	}
}

func typedMany(t *testing.T, p pair) {
	ctx := t.Context()
	v := slotmesh.For[int](p.w, t.Name())
	var entries []slotmesh.TypedEntry[int]
	var keys []string
	for i := range 100 {
		entries = append(entries, slotmesh.TypedEntry[int]{Key: strconv.Itoa(i), Value: i})
		keys = append(keys, strconv.Itoa(i), "absent"+strconv.Itoa(i))
	}
	if err := errors.Join(v.SetMany(ctx, entries, slotmesh.TTL(time.Hour))...); err != nil {
		t.Fatal(err)
	}
	for i, r := range slotmesh.For[int](p.r, t.Name()).GetMany(ctx, keys) {
		if r.Key != keys[i] || i%2 == 0 && (r.Err != nil || r.Value != i/2 || r.Version == 0 || r.Expires.IsZero()) || i%2 == 1 && !errors.Is(r.Err, slotmesh.ErrNotFound) {
			t.Errorf("GetMany of %q = %+v", keys[i], r)
		}
	}
}

type userV0 struct{ First, Last string }

func typedUpgrade(t *testing.T, p pair) {
	ctx := t.Context()
	old := slotmesh.For[userV0](p.w, t.Name())
	wantErr(t, "Set", old.Set(ctx, "a", userV0{"Ann", "Lee"}), nil)
	wantErr(t, "Set", old.Set(ctx, "bad", userV0{"", ""}), nil)
	now := slotmesh.For[user](p.r, t.Name(), slotmesh.WithSchema(1, slotmesh.Upgrade(0, func(o userV0) (user, error) {
		if o.First == "" {
			return user{}, errors.New("no name")
		}
		return user{Name: o.First + " " + o.Last}, nil
	})))
	if got, err := now.Get(ctx, "a"); got.Name != "Ann Lee" || err != nil {
		t.Errorf("Get = %+v, %v, want Ann Lee", got, err)
	}
	_, err := now.Get(ctx, "bad")
	wantErr(t, "Get of a value that can't be upgraded", err, slotmesh.ErrCodec)
	if got, err := now.Update(ctx, "a", func(u user) (user, error) { u.Age = 7; return u, nil }); got.Name != "Ann Lee" || err != nil {
		t.Errorf("Update = %+v, %v", got, err)
	}
	// The earlier release does not know what the later one wrote.
	_, err = old.Get(ctx, "a")
	wantErr(t, "Get of a newer schema", err, slotmesh.ErrNotFound)
	// What raw calls do to a value leaves its schema alone.
	wantErr(t, "Expire", p.w.Expire(ctx, t.Name()+"a", time.Hour), nil)
	if got, err := now.Get(ctx, "a"); got.Age != 7 || err != nil {
		t.Errorf("Get = %+v, %v, want age 7", got, err)
	}
}

func typedUnknownSchema(t *testing.T, p pair) {
	ctx := t.Context()
	newer := slotmesh.For[user](p.w, t.Name(), slotmesh.WithSchema(9))
	wantErr(t, "Set", newer.Set(ctx, "newer", user{}), nil)
	wantErr(t, "Set", slotmesh.For[user](p.w, t.Name(), slotmesh.WithCodec(slotmesh.JSON())).Set(ctx, "codec", user{}), nil)
	set(t, p.w, t.Name()+"raw", "\x80")
	miss := slotmesh.For[user](p.r, t.Name())
	strict := slotmesh.For[user](p.r, t.Name(), slotmesh.SchemaErrors())
	for _, key := range []string{"newer", "codec", "raw"} {
		_, err := miss.Get(ctx, key)
		wantErr(t, "Get "+key, err, slotmesh.ErrNotFound)
		_, err = strict.Get(ctx, key)
		wantErr(t, "strict Get "+key, err, slotmesh.ErrSchema)
		if !strings.Contains(fmt.Sprint(err), t.Name()+key) {
			t.Errorf("%q does not name the key", err)
		}
		wantErr(t, "strict GetMany "+key, strict.GetMany(ctx, []string{key})[0].Err, slotmesh.ErrSchema)
		_, err = miss.Update(ctx, key, func(u user) (user, error) { return u, nil })
		wantErr(t, "Update "+key, err, slotmesh.ErrSchema)
	}
}

func typedCodecFails(t *testing.T, p pair) {
	ctx := t.Context()
	broken := slotmesh.Codec{
		ID:        101,
		Marshal:   func(v any) ([]byte, error) { return []byte(v.(string)), nil },
		Unmarshal: func(data []byte, _ any) error { return fmt.Errorf("no %s today", data) },
	}
	v := slotmesh.For[string](p.r, t.Name(), slotmesh.WithCodec(broken))
	wantErr(t, "Set", v.Set(ctx, "key1", "x"), nil)
	_, err := v.Get(ctx, "key1")
	wantErr(t, "Get", err, slotmesh.ErrCodec)
	if !strings.Contains(fmt.Sprint(err), "key1") {
		t.Errorf("%q does not name the key", err)
	}
	panics := slotmesh.For[int](p.r, t.Name(), slotmesh.WithCodec(broken)) // v.(string) of an int
	wantErr(t, "Set", panics.Set(ctx, "key2", 1), slotmesh.ErrCodec)
	wantErr(t, "SetMany", panics.SetMany(ctx, []slotmesh.TypedEntry[int]{{Key: "key2"}})[0], slotmesh.ErrCodec)
	funcs := slotmesh.For[func()](p.r, t.Name())
	wantErr(t, "Set of a function", funcs.Set(ctx, "key3", func() {}), slotmesh.ErrCodec)
}

func typedFaults(t *testing.T, p pair) {
	ctx := t.Context()
	same := func(u user) (user, error) { return u, nil }
	for name, v := range map[string]*slotmesh.Typed[user]{
		"nil cache":                  slotmesh.For[user](nil, "x"),
		"open tag":                   slotmesh.For[user](p.r, "a{b"),
		"codec without functions":    slotmesh.For[user](p.r, "x", slotmesh.WithCodec(slotmesh.Codec{ID: 100})),
		"codec of slotmesh's number": slotmesh.For[user](p.r, "x", slotmesh.WithCodec(slotmesh.Codec{ID: 9, Marshal: json.Marshal, Unmarshal: json.Unmarshal})),
		"negative schema":            slotmesh.For[user](p.r, "x", slotmesh.WithSchema(-1)),
		"large schema":               slotmesh.For[user](p.r, "x", slotmesh.WithSchema(1<<24)),
		"upgrade without function":   slotmesh.For[user](p.r, "x", slotmesh.WithSchema(1, slotmesh.Upgrade[user, user](0, nil))),
		"upgrade to itself":          slotmesh.For[user](p.r, "x", slotmesh.WithSchema(1, slotmesh.Upgrade(1, same))),
		"upgrade to another type":    slotmesh.For[user](p.r, "x", slotmesh.WithSchema(1, slotmesh.Upgrade(0, func(u user) (int, error) { return 0, nil }))),
	} {
		_, err := v.Get(ctx, "k")
		wantErr(t, name+": Get", err, slotmesh.ErrInvalid)
		wantErr(t, name+": Set", v.Set(ctx, "k", user{}), slotmesh.ErrInvalid)
		_, err = v.Delete(ctx, "k")
		wantErr(t, name+": Delete", err, slotmesh.ErrInvalid)
		_, err = v.Update(ctx, "k", same)
		wantErr(t, name+": Update", err, slotmesh.ErrInvalid)
		wantErr(t, name+": GetMany", v.GetMany(ctx, []string{"k"})[0].Err, slotmesh.ErrInvalid)
		wantErr(t, name+": SetMany", v.SetMany(ctx, []slotmesh.TypedEntry[user]{{}})[0], slotmesh.ErrInvalid)
	}
	good := slotmesh.For[user](p.r, t.Name())
	_, err := good.Update(ctx, "k", nil)
	wantErr(t, "Update with nil", err, slotmesh.ErrInvalid)
	_, err = good.Update(ctx, "k", same, slotmesh.IfAbsent())
	wantErr(t, "Update with a condition", err, slotmesh.ErrInvalid)
	wantErr(t, "Set with TTL 0", good.Set(ctx, "k", user{}, slotmesh.TTL(0)), slotmesh.ErrInvalid)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = good.Update(done, "k", same)
	wantErr(t, "Update with a done context", err, context.Canceled)
}

func typedTagPrefix(t *testing.T, p pair) {
	v := slotmesh.For[int](p.r, "{"+t.Name()+"}:")
	wantErr(t, "Set", v.Set(t.Context(), "{a}", 1), nil)
	if n, err := v.Get(t.Context(), "{a}"); n != 1 || err != nil {
		t.Errorf("Get = %d, %v, want 1", n, err)
	}
	if p.w.Cluster().KeySlot("{"+t.Name()+"}:{a}") != p.w.Cluster().KeySlot(t.Name()) {
		t.Error("the prefix does not decide the slot")
	}
}
