package slotmesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// pair is two nodes of one cluster, in a cluster of one the same: what is
// written through w must be seen through r at once.
type pair struct {
	w, r *slotmesh.Cache
	all  []*slotmesh.Cache
}

// TestCalls runs every behaviour of the calls on one node and across three.
func TestCalls(t *testing.T) {
	parallel(t)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) {
			caches := slotmeshtest.Start(t, n)
			p := pair{w: caches[0], r: caches[n-1], all: caches}
			for _, tt := range []struct {
				name string
				run  func(*testing.T, pair)
			}{
				{"get returns what was set", getReturnsWhatWasSet},
				{"values are the caller's own", valuesAreTheCallersOwn},
				{"missing keys", missingKeys},
				{"delete", deletes},
				{"versions grow", versionsGrow},
				{"any byte string is a key", anyByteStringIsAKey},
				{"sizes at and beyond the limits", sizes},
				{"conditions", conditions},
				{"expiry", expiry},
				{"set without TTL removes it", setRemovesTTL},
				{"expire and persist", expireAndPersist},
				{"invalid arguments change nothing", invalidArguments},
				{"incr", incr},
				{"incr of what is no integer", incrOfNoInteger},
				{"incr from everywhere counts once each", incrFromEverywhere},
				{"compare and swap", compareAndSwap},
				{"compare and swap has one winner", compareAndSwapHasOneWinner},
				{"many keys", manyKeys},
				{"many keys with faults", manyKeysWithFaults},
				{"no keys at all", noKeys},
				{"context done", contextDone},
			} {
				t.Run(tt.name, func(t *testing.T) { tt.run(t, p) })
			}
		})
	}
}

// unique returns a key that no other test uses.
func unique(t *testing.T, suffix string) string { return t.Name() + "/" + suffix }

func set(t *testing.T, c *slotmesh.Cache, key, value string, opts ...slotmesh.SetOption) {
	t.Helper()
	if err := c.Set(t.Context(), key, []byte(value), opts...); err != nil {
		t.Fatalf("Set(%.40q) = %v, want nil", key, err)
	}
}

func wantValue(t *testing.T, c *slotmesh.Cache, key, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), key)
	if err != nil || string(got) != want {
		t.Fatalf("Get(%.40q) = %.40q, %v, want %.40q", key, got, err, want)
	}
}

func wantErr(t *testing.T, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", call, got, want)
	}
}

func getReturnsWhatWasSet(t *testing.T, p pair) {
	for i := range 200 { // of many slots, so on every node
		key := unique(t, strconv.Itoa(i))
		set(t, p.w, key, "first")
		wantValue(t, p.r, key, "first")
		set(t, p.r, key, "second")
		wantValue(t, p.w, key, "second")
	}
}

func valuesAreTheCallersOwn(t *testing.T, p pair) {
	for i := range 20 {
		key := unique(t, strconv.Itoa(i))
		value := []byte("abc")
		if err := p.w.Set(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		value[0] = 'X'
		got, err := p.w.Get(t.Context(), key)
		if err != nil || string(got) != "abc" {
			t.Fatalf("Get = %q, %v after the caller changed what it had set, want abc", got, err)
		}
		got[0] = 'Y'
		wantValue(t, p.r, key, "abc")
		into, err := p.r.GetInto(t.Context(), key, []byte("<"))
		if err != nil || string(into) != "<abc" {
			t.Fatalf("GetInto(<) = %q, %v, want <abc", into, err)
		}
	}
}

func missingKeys(t *testing.T, p pair) {
	key := unique(t, "")
	_, err := p.r.Get(t.Context(), key)
	wantErr(t, "Get", err, slotmesh.ErrNotFound)
	got, err := p.r.GetInto(t.Context(), key, []byte("kept"))
	wantErr(t, "GetInto", err, slotmesh.ErrNotFound)
	if string(got) != "kept" {
		t.Errorf("GetInto returned %q, want dst as it was", got)
	}
	_, err = p.r.GetItem(t.Context(), key)
	wantErr(t, "GetItem", err, slotmesh.ErrNotFound)
	_, err = p.r.TTL(t.Context(), key)
	wantErr(t, "TTL", err, slotmesh.ErrNotFound)
	wantErr(t, "Expire", p.r.Expire(t.Context(), key, time.Hour), slotmesh.ErrNotFound)
	wantErr(t, "Persist", p.r.Persist(t.Context(), key), slotmesh.ErrNotFound)
	if ok, err := p.r.Exists(t.Context(), key); ok || err != nil {
		t.Errorf("Exists = %v, %v, want false", ok, err)
	}
	if ok, err := p.r.Delete(t.Context(), key); ok || err != nil {
		t.Errorf("Delete = %v, %v, want false", ok, err)
	}
}

func deletes(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "v")
	if ok, err := p.r.Exists(t.Context(), key); !ok || err != nil {
		t.Errorf("Exists = %v, %v, want true", ok, err)
	}
	if ok, err := p.r.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete = %v, %v, want true", ok, err)
	}
	_, err := p.w.Get(t.Context(), key)
	wantErr(t, "Get after Delete", err, slotmesh.ErrNotFound)
	set(t, p.w, key, "again", slotmesh.IfAbsent())
	wantValue(t, p.r, key, "again")
}

func versionsGrow(t *testing.T, p pair) {
	key := unique(t, "")
	last := uint64(0)
	for i := range 10 {
		set(t, p.all[i%len(p.all)], key, "same")
		item, err := p.r.GetItem(t.Context(), key)
		if err != nil || item.Version <= last || item.Key != key || string(item.Value) != "same" {
			t.Fatalf("GetItem = %+v, %v, want a version above %d", item, err, last)
		}
		last = item.Version
	}
	if _, err := p.w.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	set(t, p.w, key, "new")
	if item, err := p.r.GetItem(t.Context(), key); err != nil || item.Version <= last {
		t.Errorf("version after a delete = %d, %v, want above %d", item.Version, err, last)
	}
}

func anyByteStringIsAKey(t *testing.T, p pair) {
	for _, key := range []string{"", "\x00", "\xff\xfe", "{", "{}", "{}{a}", "a\r\nb", "日本語", strings.Repeat("k", 64<<10)} {
		set(t, p.w, key, "value of "+key)
		wantValue(t, p.r, key, "value of "+key)
		if ok, err := p.w.Delete(t.Context(), key); !ok || err != nil {
			t.Errorf("Delete(%.40q) = %v, %v, want true", key, ok, err)
		}
	}
}

func sizes(t *testing.T, p pair) {
	for i, size := range []int{0, 1, 1 << 10, 1 << 20, 5 << 20, 16 << 20} {
		key := unique(t, strconv.Itoa(i))
		value := bytes.Repeat([]byte{byte(i + 1)}, size)
		if err := p.w.Set(t.Context(), key, value); err != nil {
			t.Fatalf("Set of %d bytes = %v, want nil", size, err)
		}
		got, err := p.r.Get(t.Context(), key)
		if err != nil || got == nil || !bytes.Equal(got, value) {
			t.Errorf("Get of %d bytes = %d bytes (nil %v), %v", size, len(got), got == nil, err)
		}
		if _, err := p.w.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	key := unique(t, "beyond")
	err := p.w.Set(t.Context(), key, make([]byte, 16<<20+1))
	wantErr(t, "Set of 16 MiB and 1", err, slotmesh.ErrTooLarge)
	long := strings.Repeat("k", 64<<10+1)
	wantErr(t, "Set of a long key", p.w.Set(t.Context(), long, nil), slotmesh.ErrTooLarge)
	_, err = p.r.Get(t.Context(), long)
	wantErr(t, "Get of a long key", err, slotmesh.ErrTooLarge)
	_, err = p.r.Get(t.Context(), key)
	wantErr(t, "Get of what was too large", err, slotmesh.ErrNotFound)
}

func conditions(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	write := func(opt slotmesh.SetOption) error { return p.w.Set(ctx, key, []byte("v"), opt) }
	wantErr(t, "IfPresent without key", write(slotmesh.IfPresent()), slotmesh.ErrConditionFailed)
	wantErr(t, "IfVersion(1) without key", write(slotmesh.IfVersion(1)), slotmesh.ErrVersionMismatch)
	wantErr(t, "IfVersion(0) without key", write(slotmesh.IfVersion(0)), nil)
	wantErr(t, "IfVersion(0) with key", write(slotmesh.IfVersion(0)), slotmesh.ErrVersionMismatch)
	wantErr(t, "IfAbsent with key", write(slotmesh.IfAbsent()), slotmesh.ErrConditionFailed)
	wantErr(t, "IfPresent with key", write(slotmesh.IfPresent()), nil)
	item, err := p.r.GetItem(ctx, key)
	wantErr(t, "GetItem", err, nil)
	wantErr(t, "IfVersion of now", write(slotmesh.IfVersion(item.Version)), nil)
	wantErr(t, "IfVersion of before", write(slotmesh.IfVersion(item.Version)), slotmesh.ErrVersionMismatch)
}

func wantTTL(t *testing.T, c *slotmesh.Cache, key string, low, high time.Duration) {
	t.Helper()
	got, err := c.TTL(t.Context(), key)
	if err != nil || got < low || got > high {
		t.Errorf("TTL = %v, %v, want %v to %v", got, err, low, high)
	}
}

func expiry(t *testing.T, p pair) {
	ctx := t.Context()
	set(t, p.w, unique(t, "hour"), "v", slotmesh.TTL(time.Hour))
	wantTTL(t, p.r, unique(t, "hour"), 59*time.Minute, time.Hour)
	at := time.Now().Add(time.Hour)
	set(t, p.w, unique(t, "at"), "v", slotmesh.ExpireAt(at))
	item, err := p.r.GetItem(ctx, unique(t, "at"))
	if late := item.Expires.Sub(at); err != nil || late < 0 || late >= time.Millisecond {
		t.Errorf("Expires = %v, %v, want %v rounded up", item.Expires, err, at)
	}
	set(t, p.w, unique(t, "past"), "v")
	set(t, p.w, unique(t, "far"), "v", slotmesh.ExpireAt(time.Unix(1<<62, 0)))
	wantValue(t, p.r, unique(t, "far"), "v")
	const longest = math.MaxInt64 / time.Millisecond * time.Millisecond
	wantTTL(t, p.r, unique(t, "far"), longest, longest)
	if e, err := p.r.Cluster().Explain(ctx, unique(t, "far")); e.TTL != longest {
		t.Errorf("Explain: %v, %v, want %v to live", e.TTL, err, longest)
	}
	set(t, p.w, unique(t, "past"), "v", slotmesh.ExpireAt(time.Now().Add(-time.Hour)))
	_, err = p.r.Get(ctx, unique(t, "past"))
	wantErr(t, "Get of what expired in the past", err, slotmesh.ErrNotFound)

	short := unique(t, "short")
	set(t, p.w, short, "v", slotmesh.TTL(100*time.Millisecond))
	await(t, "the key has expired", func() error {
		if ok, err := p.r.Exists(ctx, short); ok || err != nil {
			return fmt.Errorf("Exists = %v, %v", ok, err)
		}
		return nil
	})
	_, err = p.w.Get(ctx, short)
	wantErr(t, "Get of what expired", err, slotmesh.ErrNotFound)
	wantErr(t, "Persist of what expired", p.w.Persist(ctx, short), slotmesh.ErrNotFound)
	set(t, p.w, short, "again", slotmesh.IfAbsent())
}

// TestTTLIsByThePrimarysClock reads on a node whose clock shows another time.
func TestTTLIsByThePrimarysClock(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := c.KeyServedBy("n1")
		c.StepClock("n1", 10*time.Minute)
		set(t, c.Node("n2"), key, "v", slotmesh.TTL(time.Minute))
		for _, name := range c.Names() {
			wantTTL(t, c.Node(name), key, 59*time.Second, time.Minute)
		}
	})
}

func setRemovesTTL(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "v", slotmesh.TTL(time.Hour))
	set(t, p.w, key, "v", slotmesh.KeepTTL())
	wantTTL(t, p.r, key, 59*time.Minute, time.Hour)
	set(t, p.w, key, "v")
	wantTTL(t, p.r, key, slotmesh.NoTTL, slotmesh.NoTTL)
}

func expireAndPersist(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	set(t, p.w, key, "v")
	wantErr(t, "Expire", p.w.Expire(ctx, key, time.Hour), nil)
	wantTTL(t, p.r, key, 59*time.Minute, time.Hour)
	wantErr(t, "Persist", p.w.Persist(ctx, key), nil)
	wantTTL(t, p.r, key, slotmesh.NoTTL, slotmesh.NoTTL)
	wantErr(t, "Expire", p.w.Expire(ctx, key, time.Nanosecond), nil)
	await(t, "the key has expired", func() error {
		if ok, err := p.r.Exists(ctx, key); ok || err != nil {
			return fmt.Errorf("Exists = %v, %v", ok, err)
		}
		return nil
	})
}

func invalidArguments(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	set(t, p.w, key, "v")
	for _, opts := range [][]slotmesh.SetOption{
		{slotmesh.TTL(0)},
		{slotmesh.TTL(-1)},
		{slotmesh.ExpireAt(time.Time{})},
		{slotmesh.ExpireAt(time.Unix(-1<<62, 0))},
		{slotmesh.TTL(1), slotmesh.KeepTTL()},
		{slotmesh.IfAbsent(), slotmesh.IfVersion(1)},
	} {
		wantErr(t, "Set", p.w.Set(ctx, key, []byte("other"), opts...), slotmesh.ErrInvalid)
		for _, err := range p.w.SetMany(ctx, []slotmesh.Entry{{Key: key}, {Key: key}}, opts...) {
			wantErr(t, "SetMany", err, slotmesh.ErrInvalid)
		}
	}
	wantErr(t, "Expire", p.w.Expire(ctx, key, 0), slotmesh.ErrInvalid)
	err := p.w.CompareAndSwap(ctx, key, []byte("v"), []byte("w"), slotmesh.IfPresent())
	wantErr(t, "CompareAndSwap", err, slotmesh.ErrInvalid)
	wantValue(t, p.r, key, "v")
}

func incr(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	for i, tt := range []struct{ delta, want int64 }{{1, 1}, {41, 42}, {-50, -8}, {0, -8}} {
		if got, err := p.all[i%len(p.all)].Incr(ctx, key, tt.delta); got != tt.want || err != nil {
			t.Errorf("Incr(%d) = %d, %v, want %d", tt.delta, got, err, tt.want)
		}
	}
	wantValue(t, p.r, key, "-8")
	wantErr(t, "Expire", p.w.Expire(ctx, key, time.Hour), nil)
	if _, err := p.r.Incr(ctx, key, 1); err != nil {
		t.Error(err)
	}
	wantTTL(t, p.r, key, 59*time.Minute, time.Hour)
}

func incrOfNoInteger(t *testing.T, p pair) {
	key := unique(t, "")
	for _, value := range []string{"", "x", "1.5", " 1", "9223372036854775808"} {
		set(t, p.w, key, value)
		_, err := p.r.Incr(t.Context(), key, 1)
		wantErr(t, fmt.Sprintf("Incr of %q", value), err, slotmesh.ErrNotInteger)
	}
	for _, tt := range []struct{ value, delta int64 }{{math.MaxInt64, 1}, {math.MinInt64, -1}} {
		set(t, p.w, key, strconv.FormatInt(tt.value, 10))
		_, err := p.r.Incr(t.Context(), key, tt.delta)
		wantErr(t, fmt.Sprintf("Incr of %d by %d", tt.value, tt.delta), err, slotmesh.ErrNotInteger)
		wantValue(t, p.r, key, strconv.FormatInt(tt.value, 10))
	}
}

func incrFromEverywhere(t *testing.T, p pair) {
	const callers, each = 12, 50
	key := unique(t, "")
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range each {
				if _, err := p.all[i%len(p.all)].Incr(t.Context(), key, 1); err != nil {
					t.Errorf("Incr = %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	wantValue(t, p.r, key, strconv.Itoa(callers*each))
}

func compareAndSwap(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	swap := func(old, next string, opts ...slotmesh.SetOption) error {
		return p.r.CompareAndSwap(ctx, key, []byte(old), []byte(next), opts...)
	}
	wantErr(t, "swap of an absent key", swap("", "v"), slotmesh.ErrConditionFailed)
	set(t, p.w, key, "one")
	wantErr(t, "swap of another value", swap("two", "three"), slotmesh.ErrConditionFailed)
	wantErr(t, "swap", swap("one", "two", slotmesh.TTL(time.Hour)), nil)
	wantValue(t, p.w, key, "two")
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	wantErr(t, "swap that keeps the TTL", swap("two", "three", slotmesh.KeepTTL()), nil)
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	wantErr(t, "swap to nothing", swap("three", ""), nil)
	wantErr(t, "swap from nothing", swap("", "four"), nil)
	wantValue(t, p.w, key, "four")
}

func compareAndSwapHasOneWinner(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "free")
	won := make(chan int, 12)
	var wg sync.WaitGroup
	for i := range cap(won) {
		wg.Go(func() {
			err := p.all[i%len(p.all)].CompareAndSwap(t.Context(), key, []byte("free"), []byte(strconv.Itoa(i)))
			switch {
			case err == nil:
				won <- i
			case !errors.Is(err, slotmesh.ErrConditionFailed):
				t.Errorf("CompareAndSwap = %v, want nil or ErrConditionFailed", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d callers won, want 1", len(won))
	}
	wantValue(t, p.r, key, strconv.Itoa(<-won))
}

func manyKeys(t *testing.T, p pair) {
	const n = 500
	ctx := t.Context()
	var entries []slotmesh.Entry
	var keys []string
	for i := range n {
		key := unique(t, strconv.Itoa(i))
		entries = append(entries, slotmesh.Entry{Key: key, Value: []byte(strconv.Itoa(i))})
		keys = append(keys, key, key+"/absent")
	}
	if err := errors.Join(p.w.SetMany(ctx, entries, slotmesh.TTL(time.Hour))...); err != nil {
		t.Fatalf("SetMany = %v, want nil", err)
	}
	for i, r := range p.r.GetMany(ctx, keys) {
		switch {
		case r.Key != keys[i]:
			t.Fatalf("result %d is about %q, want %q", i, r.Key, keys[i])
		case i%2 == 0 && (r.Err != nil || string(r.Value) != strconv.Itoa(i/2) || r.Version == 0 || r.Expires.IsZero()):
			t.Errorf("GetMany of %q = %+v, want %d with a version and an expiry", r.Key, r, i/2)
		case i%2 == 1 && !errors.Is(r.Err, slotmesh.ErrNotFound):
			t.Errorf("GetMany of %q = %+v, want ErrNotFound", r.Key, r)
		}
	}
	for i, r := range p.r.DeleteMany(ctx, keys) {
		if r.Err != nil || r.Existed != (i%2 == 0) {
			t.Errorf("DeleteMany of %q = %+v, want existed %v", keys[i], r, i%2 == 0)
		}
	}
	for _, r := range p.w.GetMany(ctx, keys) {
		wantErr(t, "GetMany after DeleteMany", r.Err, slotmesh.ErrNotFound)
	}
}

func manyKeysWithFaults(t *testing.T, p pair) {
	ctx := t.Context()
	good, long := unique(t, "good"), strings.Repeat("k", 64<<10+1)
	errs := p.w.SetMany(ctx, []slotmesh.Entry{{Key: long}, {Key: good, Value: []byte("v")}})
	wantErr(t, "SetMany of a long key", errs[0], slotmesh.ErrTooLarge)
	wantErr(t, "SetMany beside a long key", errs[1], nil)
	got := p.r.GetMany(ctx, []string{good, long})
	wantErr(t, "GetMany beside a long key", got[0].Err, nil)
	wantErr(t, "GetMany of a long key", got[1].Err, slotmesh.ErrTooLarge)
	errs = p.w.SetMany(ctx, []slotmesh.Entry{{Key: good}, {Key: unique(t, "new")}}, slotmesh.IfAbsent())
	wantErr(t, "SetMany IfAbsent of a present key", errs[0], slotmesh.ErrConditionFailed)
	wantErr(t, "SetMany IfAbsent of a new key", errs[1], nil)
	wantValue(t, p.r, good, "v")
}

func noKeys(t *testing.T, p pair) {
	ctx := t.Context()
	if n := len(p.w.GetMany(ctx, nil)) + len(p.w.SetMany(ctx, nil)) + len(p.w.DeleteMany(ctx, nil)); n != 0 {
		t.Errorf("%d results for no keys, want none", n)
	}
}

func contextDone(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "v")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tt := range []struct {
		ctx  context.Context
		want error
	}{{cancelled, context.Canceled}, {late, context.DeadlineExceeded}} {
		for _, c := range p.all {
			for name, err := range everyCall(tt.ctx, c, key) {
				wantErr(t, name, err, tt.want)
			}
		}
	}
	wantValue(t, p.r, key, "v")
}

// everyCall makes each call once and returns the errors by name.
func everyCall(ctx context.Context, c *slotmesh.Cache, key string) map[string]error {
	errs := map[string]error{
		"Set":            c.Set(ctx, key, []byte("w")),
		"Expire":         c.Expire(ctx, key, time.Hour),
		"Persist":        c.Persist(ctx, key),
		"CompareAndSwap": c.CompareAndSwap(ctx, key, []byte("v"), []byte("w")),
		"SetMany":        c.SetMany(ctx, []slotmesh.Entry{{Key: key}})[0],
		"GetMany":        c.GetMany(ctx, []string{key})[0].Err,
		"DeleteMany":     c.DeleteMany(ctx, []string{key})[0].Err,
	}
	_, errs["Get"] = c.Get(ctx, key)
	_, errs["GetInto"] = c.GetInto(ctx, key, nil)
	_, errs["GetItem"] = c.GetItem(ctx, key)
	_, errs["Delete"] = c.Delete(ctx, key)
	_, errs["Exists"] = c.Exists(ctx, key)
	_, errs["TTL"] = c.TTL(ctx, key)
	_, errs["Incr"] = c.Incr(ctx, key, 1)
	_, errs["Append"] = c.Append(ctx, key, nil)
	_, _, errs["GetSet"] = c.GetSet(ctx, key, nil)
	_, errs["GetDelete"] = c.GetDelete(ctx, key)
	_, errs["GetExpire"] = c.GetExpire(ctx, key, time.Hour)
	_, errs["GetOrLoad"] = c.GetOrLoad(ctx, key+"/absent", func(context.Context, string) ([]byte, error) { return nil, nil })
	errs["Txn"] = c.Txn(ctx, key, func(tx *slotmesh.Tx) error { return tx.Set(key, nil) })
	return errs
}
