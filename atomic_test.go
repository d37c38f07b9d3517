package slotmesh_test

import (
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

// onOneAndThree runs tests on one node and across three.
func onOneAndThree(t *testing.T, tests map[string]func(*testing.T, pair), opts ...slotmesh.Option) {
	t.Helper()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) {
			caches := slotmeshtest.Start(t, n, opts...)
			p := pair{w: caches[0], r: caches[n-1], all: caches}
			for name, run := range tests {
				t.Run(name, func(t *testing.T) { run(t, p) })
			}
		})
	}
}

// TestAtomicCalls runs the calls that read and write in one step.
func TestAtomicCalls(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"get and set":                    getSet,
		"get and delete":                 getDelete,
		"get and delete has one winner":  getDeleteHasOneWinner,
		"get and expire":                 getExpire,
		"append":                         appends,
		"incr within bounds":             incrWithinBounds,
		"incr with an initial TTL":       incrWithTTL,
		"bounds hold among many callers": incrBoundsAmongMany,
		"incr of typed values":           incrOfTyped,
		"options combined":               optionsCombined,
		"invalid arguments":              invalidAtomics,
	})
}

func getSet(t *testing.T, p pair) {
	for i := range 30 { // of many slots, so on every node
		key, ctx := unique(t, strconv.Itoa(i)), t.Context()
		old, existed, err := p.w.GetSet(ctx, key, []byte("a"))
		if old != nil || existed || err != nil {
			t.Fatalf("GetSet of an absent key = %q, %v, %v, want nothing", old, existed, err)
		}
		old, existed, err = p.r.GetSet(ctx, key, nil, slotmesh.TTL(time.Hour))
		if string(old) != "a" || !existed || err != nil {
			t.Fatalf("GetSet = %q, %v, %v, want a", old, existed, err)
		}
		wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
		old, existed, err = p.w.GetSet(ctx, key, []byte("c"))
		if old == nil || len(old) != 0 || !existed || err != nil {
			t.Fatalf("GetSet of an empty value = %q (nil %v), %v, %v, want an empty one", old, old == nil, existed, err)
		}
		wantValue(t, p.r, key, "c")
	}
	large := strings.Repeat("x", 1<<20)
	key := unique(t, "large")
	set(t, p.w, key, large)
	if old, _, err := p.r.GetSet(t.Context(), key, []byte("small")); string(old) != large || err != nil {
		t.Errorf("GetSet of 1 MiB = %d bytes, %v", len(old), err)
	}
}

func getDelete(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	_, err := p.w.GetDelete(ctx, key)
	wantErr(t, "GetDelete of an absent key", err, slotmesh.ErrNotFound)
	set(t, p.w, key, "v")
	if got, err := p.r.GetDelete(ctx, key); string(got) != "v" || err != nil {
		t.Errorf("GetDelete = %q, %v, want v", got, err)
	}
	_, err = p.w.Get(ctx, key)
	wantErr(t, "Get after GetDelete", err, slotmesh.ErrNotFound)
}

func getDeleteHasOneWinner(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "prize")
	won := make(chan string, 12)
	var wg sync.WaitGroup
	for i := range cap(won) {
		wg.Go(func() {
			switch got, err := p.all[i%len(p.all)].GetDelete(t.Context(), key); {
			case err == nil:
				won <- string(got)
			case !errors.Is(err, slotmesh.ErrNotFound):
				t.Errorf("GetDelete = %v, want nil or ErrNotFound", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d callers won, want 1", len(won))
	}
	if got := <-won; got != "prize" {
		t.Errorf("the winner got %q, want prize", got)
	}
}

func getExpire(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	_, err := p.r.GetExpire(ctx, key, time.Hour)
	wantErr(t, "GetExpire of an absent key", err, slotmesh.ErrNotFound)
	set(t, p.w, key, "v", slotmesh.TTL(time.Minute))
	if got, err := p.r.GetExpire(ctx, key, time.Hour); string(got) != "v" || err != nil {
		t.Errorf("GetExpire = %q, %v, want v", got, err)
	}
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	wantValue(t, p.w, key, "v")
}

func appends(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	for i, part := range []string{"a", "", "bc"} {
		want := []int{1, 1, 3}[i]
		if n, err := p.all[i%len(p.all)].Append(ctx, key, []byte(part)); n != want || err != nil {
			t.Errorf("Append(%q) = %d, %v, want %d", part, n, err, want)
		}
	}
	wantValue(t, p.r, key, "abc")
	wantErr(t, "Expire", p.w.Expire(ctx, key, time.Hour), nil)
	if _, err := p.r.Append(ctx, key, []byte("d")); err != nil {
		t.Error(err)
	}
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	_, err := p.r.Append(ctx, key, []byte("e"), slotmesh.IfAbsent())
	wantErr(t, "Append IfAbsent to a key", err, slotmesh.ErrConditionFailed)
	_, err = p.r.Append(ctx, key, make([]byte, 16<<20-3))
	wantErr(t, "Append beyond the limit", err, slotmesh.ErrTooLarge)
	wantValue(t, p.r, key, "abcd")
}

func incrWithinBounds(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	opts := []slotmesh.IncrOption{slotmesh.IncrMin(-1), slotmesh.IncrMax(3)}
	for i, tt := range []struct {
		delta, want int64
		err         error
	}{
		{4, 0, slotmesh.ErrConditionFailed}, {3, 3, nil}, {1, 3, slotmesh.ErrConditionFailed},
		{-4, -1, nil}, {-1, -1, slotmesh.ErrConditionFailed}, {0, -1, nil},
		{math.MinInt64, -1, slotmesh.ErrConditionFailed}, {math.MaxInt64, -1, slotmesh.ErrConditionFailed},
		{4, 3, nil}, {math.MaxInt64, 3, slotmesh.ErrConditionFailed},
	} {
		got, err := p.all[i%len(p.all)].Incr(ctx, key, tt.delta, opts...)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Incr(%d) = %d, %v, want %d, %v", tt.delta, got, err, tt.want, tt.err)
		}
	}
	wantValue(t, p.r, key, "3")
	_, err := p.r.Incr(ctx, key, math.MaxInt64, slotmesh.IncrMin(0))
	wantErr(t, "Incr beyond all integers with a bound on the other side", err, slotmesh.ErrNotInteger)
}

func incrWithTTL(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	if _, err := p.w.Incr(ctx, key, 1, slotmesh.IncrTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantTTL(t, p.r, key, 59*time.Minute, time.Hour)
	if n, err := p.r.Incr(ctx, key, 1, slotmesh.IncrTTL(10*time.Hour)); n != 2 || err != nil {
		t.Errorf("Incr = %d, %v, want 2", n, err)
	}
	wantTTL(t, p.r, key, 59*time.Minute, time.Hour)
}

// incrOfTyped: the msgpack of 53 is the one byte that is the digit 5.
func incrOfTyped(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	packed, text := slotmesh.For[int](p.w, key), slotmesh.For[int](p.w, key, slotmesh.WithCodec(slotmesh.JSON()))
	wantErr(t, "Set", packed.Set(ctx, "", 53), nil)
	wantValue(t, p.r, key, "5")
	_, err := p.r.Incr(ctx, key, 1)
	wantErr(t, "Incr of msgpack", err, slotmesh.ErrNotInteger)
	if n, err := packed.Get(ctx, ""); n != 53 || err != nil {
		t.Errorf("Get = %d, %v, want 53", n, err)
	}
	wantErr(t, "Set", text.Set(ctx, "", 53), nil)
	if n, err := p.r.Incr(ctx, key, 1); n != 54 || err != nil {
		t.Errorf("Incr of JSON = %d, %v, want 54", n, err)
	}
	if n, err := text.Get(ctx, ""); n != 54 || err != nil {
		t.Errorf("Get = %d, %v, want 54", n, err)
	}
}

func incrBoundsAmongMany(t *testing.T, p pair) {
	key := unique(t, "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for i := range 60 {
		wg.Go(func() {
			_, err := p.all[i%len(p.all)].Incr(t.Context(), key, 1, slotmesh.IncrMax(25))
			if err == nil {
				mu.Lock()
				passed++
				mu.Unlock()
			} else if !errors.Is(err, slotmesh.ErrConditionFailed) {
				t.Errorf("Incr = %v", err)
			}
		})
	}
	wg.Wait()
	if passed != 25 {
		t.Errorf("%d callers passed, want 25", passed)
	}
}

// optionsCombined tries every condition with every expiry on an absent key, a
// lasting one and one that expires.
func optionsCombined(t *testing.T, p pair) {
	ctx := t.Context()
	expiries := map[string]slotmesh.SetOption{
		"none": {}, "TTL": slotmesh.TTL(time.Hour), "ExpireAt": slotmesh.ExpireAt(time.Now().Add(time.Hour)), "KeepTTL": slotmesh.KeepTTL(),
	}
	for _, before := range []string{"absent", "lasting", "expiring"} {
		for ename, expiry := range expiries {
			for _, cname := range []string{"none", "IfAbsent", "IfPresent", "IfVersion", "IfVersion other"} {
				for _, call := range []string{"Set", "GetSet"} {
					key := unique(t, before+ename+cname+call)
					var version uint64
					switch before {
					case "lasting":
						set(t, p.w, key, "old")
					case "expiring":
						set(t, p.w, key, "old", slotmesh.TTL(time.Minute))
					}
					if item, err := p.w.GetItem(ctx, key); err == nil {
						version = item.Version
					}
					var cond slotmesh.SetOption
					var want error
					switch cname {
					case "IfAbsent":
						if cond = slotmesh.IfAbsent(); before != "absent" {
							want = slotmesh.ErrConditionFailed
						}
					case "IfPresent":
						if cond = slotmesh.IfPresent(); before == "absent" {
							want = slotmesh.ErrConditionFailed
						}
					case "IfVersion":
						cond = slotmesh.IfVersion(version)
					case "IfVersion other":
						cond, want = slotmesh.IfVersion(version+1), slotmesh.ErrVersionMismatch
					}
					var err error
					if call == "Set" {
						err = p.r.Set(ctx, key, []byte("new"), expiry, cond)
					} else {
						var old []byte
						old, _, err = p.r.GetSet(ctx, key, []byte("new"), expiry, cond)
						if err == nil && (string(old) == "old") != (before != "absent") {
							t.Errorf("%s, %s, %s: GetSet returned %q", before, ename, cname, old)
						}
					}
					if !errors.Is(err, want) || want == nil && err != nil {
						t.Errorf("%s, %s, %s: %s = %v, want %v", before, ename, cname, call, err, want)
						continue
					}
					if want != nil {
						continue
					}
					wantValue(t, p.w, key, "new")
					low, high := slotmesh.NoTTL, slotmesh.NoTTL
					switch {
					case ename == "TTL", ename == "ExpireAt":
						low, high = 55*time.Minute, 61*time.Minute
					case ename == "KeepTTL" && before == "expiring":
						low, high = 50*time.Second, time.Minute
					}
					wantTTL(t, p.w, key, low, high)
				}
			}
		}
	}
	for name, expiry := range expiries {
		key := unique(t, "swap"+name)
		set(t, p.w, key, "old", slotmesh.TTL(time.Minute))
		wantErr(t, "CompareAndSwap", p.r.CompareAndSwap(ctx, key, []byte("old"), []byte("new"), expiry), nil)
		switch name {
		case "none":
			wantTTL(t, p.w, key, slotmesh.NoTTL, slotmesh.NoTTL)
		case "KeepTTL":
			wantTTL(t, p.w, key, 50*time.Second, time.Minute)
		default:
			wantTTL(t, p.w, key, 55*time.Minute, 61*time.Minute)
		}
	}
}

func invalidAtomics(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	long := strings.Repeat("k", 64<<10+1)
	for _, tt := range []struct {
		name string
		want error
		call func(context.Context) error
	}{
		{"GetSet with two expiries", slotmesh.ErrInvalid, func(ctx context.Context) error {
			_, _, err := p.r.GetSet(ctx, key, nil, slotmesh.TTL(1), slotmesh.KeepTTL())
			return err
		}},
		{"GetSet of a long key", slotmesh.ErrTooLarge, func(ctx context.Context) error { _, _, err := p.r.GetSet(ctx, long, nil); return err }},
		{"GetDelete of a long key", slotmesh.ErrTooLarge, func(ctx context.Context) error { _, err := p.r.GetDelete(ctx, long); return err }},
		{"GetExpire of no time", slotmesh.ErrInvalid, func(ctx context.Context) error { _, err := p.r.GetExpire(ctx, key, 0); return err }},
		{"Append with a TTL below 0", slotmesh.ErrInvalid, func(ctx context.Context) error {
			_, err := p.r.Append(ctx, key, nil, slotmesh.TTL(-1))
			return err
		}},
		{"Incr between crossed bounds", slotmesh.ErrInvalid, func(ctx context.Context) error {
			_, err := p.r.Incr(ctx, key, 1, slotmesh.IncrMin(2), slotmesh.IncrMax(1))
			return err
		}},
		{"Incr with a TTL of 0", slotmesh.ErrInvalid, func(ctx context.Context) error {
			_, err := p.r.Incr(ctx, key, 1, slotmesh.IncrTTL(0))
			return err
		}},
	} {
		err := tt.call(ctx)
		wantErr(t, tt.name, err, tt.want)
		if text := fmt.Sprint(err); !strings.Contains(text, strconv.Quote(key)) && !strings.Contains(text, long[:40]) {
			t.Errorf("%s: %v does not name the key", tt.name, err)
		}
	}
	if ok, err := p.w.Exists(ctx, key); ok || err != nil {
		t.Errorf("Exists = %v, %v after invalid calls, want false", ok, err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err := p.r.GetSet(done, key, nil)
	wantErr(t, "GetSet with a done context", err, context.Canceled)
	_, err = p.r.Append(done, key, nil)
	wantErr(t, "Append with a done context", err, context.Canceled)
}
