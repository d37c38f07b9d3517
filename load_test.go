package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

type loader = func(context.Context, string) ([]byte, error)

// counted is a loader that takes a moment and counts its runs.
func counted(n *atomic.Int64, value string, err error) loader {
	return func(ctx context.Context, key string) ([]byte, error) {
		n.Add(1)
		select {
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return []byte(value), err
	}
}

// fromAll makes a call from many goroutines on every node at once.
func fromAll(p pair, each int, call func(c *slotmesh.Cache)) {
	var wg sync.WaitGroup
	for _, c := range p.all {
		for range each {
			wg.Go(func() { call(c) })
		}
	}
	wg.Wait()
}

// TestGetOrLoad runs the behaviour of loads.
func TestGetOrLoad(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"one load for all callers":                   loadOnce,
		"the loader's error reaches all":             loadErrors,
		"a loader that panics":                       loadPanics,
		"no value":                                   loadAbsent,
		"a load that has ended":                      loadEnds,
		"a remembered absence":                       loadNegative,
		"TTL and jitter":                             loadTTL,
		"stale while revalidating":                   loadStale,
		"stale and gone":                             loadStaleGone,
		"early refresh":                              loadEarly,
		"a caller that leaves":                       loadCallerLeaves,
		"all callers leave":                          loadAllLeave,
		"a delete during the load":                   loadDeleted,
		"a load begun before a delete":               loadJoinedAfterDelete,
		"a write during the load":                    loadOverwritten,
		"a loader that takes too long":               loadTooLong,
		"many keys, one call":                        loadMany,
		"many keys from everywhere":                  loadManyFromEverywhere,
		"many keys with an error":                    loadManyErrors,
		"many keys that the loader changes":          loadManyChanged,
		"times without end":                          loadForEver,
		"typed values":                               loadTyped,
		"bad input":                                  loadBadInput,
		"conditions do not see a remembered absence": loadNegativeAndConditions,
	})
}

func loadOnce(t *testing.T, p pair) {
	for i := range 10 {
		key := unique(t, strconv.Itoa(i))
		var runs atomic.Int64
		fromAll(p, 50, func(c *slotmesh.Cache) {
			got, err := c.GetOrLoad(t.Context(), key, counted(&runs, "v", nil))
			if string(got) != "v" || err != nil {
				t.Errorf("GetOrLoad = %q, %v, want v", got, err)
			}
		})
		if n := runs.Load(); n != 1 {
			t.Errorf("the loader ran %d times, want once", n)
		}
		wantValue(t, p.r, key, "v")
	}
	if got, err := p.w.GetOrLoad(t.Context(), unique(t, "empty"), func(context.Context, string) ([]byte, error) { return nil, nil }); got == nil || len(got) != 0 || err != nil {
		t.Errorf("GetOrLoad of an empty value = %q (nil %v), %v", got, got == nil, err)
	}
}

func loadErrors(t *testing.T, p pair) {
	key, mine := unique(t, ""), errors.New("origin is down")
	var runs, own atomic.Int64
	fromAll(p, 20, func(c *slotmesh.Cache) {
		_, err := c.GetOrLoad(t.Context(), key, counted(&runs, "", mine))
		var le *slotmesh.LoadError
		if !errors.As(err, &le) || le.Key != key || !strings.Contains(err.Error(), "origin is down") {
			t.Errorf("GetOrLoad = %v, want a LoadError of the key", err)
		}
		if errors.Is(err, mine) {
			own.Add(1)
		}
	})
	if n := runs.Load(); n < 1 || n > 5 { // callers that came late made loads of their own
		t.Errorf("the loader ran %d times, want about once", n)
	}
	if own.Load() == 0 {
		t.Error("nobody got the loader's own error")
	}
	got, err := p.r.GetOrLoad(t.Context(), key, counted(&runs, "fine", nil))
	if string(got) != "fine" || err != nil {
		t.Errorf("GetOrLoad after an error = %q, %v, want fine", got, err)
	}
}

func loadPanics(t *testing.T, p pair) {
	key := unique(t, "")
	fromAll(p, 5, func(c *slotmesh.Cache) {
		_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) ([]byte, error) { panic("oops") })
		var le *slotmesh.LoadError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), "oops") {
			t.Errorf("GetOrLoad = %v, want a LoadError of the panic", err)
		}
	})
	_, err := p.r.GetOrLoad(t.Context(), key, func(context.Context, string) ([]byte, error) { panic("oops") })
	var pe *slotmesh.PanicError
	if !errors.As(err, &pe) || pe.Value != "oops" || !strings.Contains(string(pe.Stack), "loadPanics") {
		t.Errorf("GetOrLoad = %v, want where it panicked", err)
	}
	_, err = p.r.GetOrLoad(t.Context(), key, func(context.Context, string) ([]byte, error) { runtime.Goexit(); return nil, nil })
	if !strings.Contains(fmt.Sprint(err), "loader ended its goroutine") {
		t.Errorf("GetOrLoad = %v, want that the loader's goroutine ended", err)
	}
	results := p.r.GetOrLoadMany(t.Context(), []string{key}, func(context.Context, []string) (map[string][]byte, error) { panic("oops") })
	if !strings.Contains(fmt.Sprint(results[0].Err), "oops") {
		t.Errorf("GetOrLoadMany = %v, want the panic", results[0].Err)
	}
}

func loadAbsent(t *testing.T, p pair) {
	key := unique(t, "")
	var runs atomic.Int64
	fromAll(p, 10, func(c *slotmesh.Cache) {
		_, err := c.GetOrLoad(t.Context(), key, counted(&runs, "", slotmesh.ErrNotFound))
		wantErr(t, "GetOrLoad", err, slotmesh.ErrNotFound)
	})
	before := runs.Load()
	_, _ = p.r.GetOrLoad(t.Context(), key, counted(&runs, "", slotmesh.ErrNotFound))
	if runs.Load() != before+1 {
		t.Error("an absence was remembered that should not be")
	}
}

// Who calls after a load has ended without a value makes a load of its own.
func loadEnds(t *testing.T, p pair) {
	for i := range 10 {
		keys := []string{unique(t, fmt.Sprint(i, "a")), unique(t, fmt.Sprint(i, "b"))}
		for _, none := range []error{slotmesh.ErrNotFound, errors.New("origin is down")} {
			var runs atomic.Int64
			load := counted(&runs, "", none)
			many := func(context.Context, []string) (map[string][]byte, error) { runs.Add(1); return nil, none }
			_, _ = p.w.GetOrLoad(t.Context(), keys[0], load)
			_, _ = p.r.GetOrLoad(t.Context(), keys[0], load)
			_ = p.w.GetOrLoadMany(t.Context(), keys, many)
			_ = p.r.GetOrLoadMany(t.Context(), keys, many)
			if n := runs.Load(); n != 4 {
				t.Fatalf("4 calls one after another made %d loads that failed with %v", n, none)
			}
		}
	}
}

func loadNegative(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	var runs atomic.Int64
	load := counted(&runs, "", fmt.Errorf("no row: %w", slotmesh.ErrNotFound))
	for range 3 {
		fromAll(p, 3, func(c *slotmesh.Cache) {
			_, err := c.GetOrLoad(ctx, key, load, slotmesh.LoadNegative(time.Minute))
			wantErr(t, "GetOrLoad", err, slotmesh.ErrNotFound)
		})
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the loader ran %d times, want once", n)
	}
	_, err := p.r.Get(ctx, key)
	wantErr(t, "Get", err, slotmesh.ErrNotFound)
	set(t, p.w, key, "came")
	if got, err := p.r.GetOrLoad(ctx, key, load); string(got) != "came" || err != nil {
		t.Errorf("GetOrLoad = %q, %v, want came", got, err)
	}
	short := unique(t, "short")
	_, _ = p.r.GetOrLoad(ctx, short, load, slotmesh.LoadNegative(time.Millisecond))
	await(t, "the absence is forgotten", func() error {
		_, err := p.r.GetOrLoad(ctx, short, counted(&runs, "v", nil))
		return err
	})
}

func loadNegativeAndConditions(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	none := func(context.Context, string) ([]byte, error) { return nil, slotmesh.ErrNotFound }
	remember := func() {
		t.Helper()
		if _, err := p.w.GetOrLoad(ctx, key, none, slotmesh.LoadNegative(time.Minute)); !errors.Is(err, slotmesh.ErrNotFound) {
			t.Fatalf("GetOrLoad = %v", err)
		}
	}
	remember()
	wantErr(t, "Set IfPresent", p.r.Set(ctx, key, nil, slotmesh.IfPresent()), slotmesh.ErrConditionFailed)
	wantErr(t, "Expire", p.r.Expire(ctx, key, time.Hour), slotmesh.ErrNotFound)
	if ok, err := p.r.Exists(ctx, key); ok || err != nil {
		t.Errorf("Exists = %v, %v, want false", ok, err)
	}
	wantErr(t, "CompareAndSwap", p.r.CompareAndSwap(ctx, key, nil, []byte("x")), slotmesh.ErrConditionFailed)
	wantErr(t, "Txn", p.r.Txn(ctx, key, func(tx *slotmesh.Tx) error {
		_, err := tx.Get(key)
		wantErr(t, "Tx.Get", err, slotmesh.ErrNotFound)
		return tx.Set("{"+key+"}other", nil)
	}), nil)
	wantErr(t, "Set IfAbsent KeepTTL", p.r.Set(ctx, key, []byte("v"), slotmesh.IfAbsent(), slotmesh.KeepTTL()), nil)
	wantTTL(t, p.w, key, slotmesh.NoTTL, slotmesh.NoTTL)
	_, _ = p.w.Delete(ctx, key)
	remember()
	if n, err := p.r.Incr(ctx, key, 5); n != 5 || err != nil {
		t.Errorf("Incr = %d, %v, want 5", n, err)
	}
	_, _ = p.w.Delete(ctx, key)
	remember()
	if existed, err := p.r.Delete(ctx, key); existed || err != nil {
		t.Errorf("Delete = %v, %v, want false", existed, err)
	}
	var runs atomic.Int64
	if got, err := p.r.GetOrLoad(ctx, key, counted(&runs, "v", nil)); string(got) != "v" || err != nil {
		t.Errorf("GetOrLoad after Delete = %q, %v, want v", got, err)
	}
}

func loadTTL(t *testing.T, p pair) {
	ctx := t.Context()
	var runs atomic.Int64
	load := counted(&runs, "v", nil)
	if _, err := p.r.GetOrLoad(ctx, unique(t, "ever"), load); err != nil {
		t.Fatal(err)
	}
	wantTTL(t, p.w, unique(t, "ever"), slotmesh.NoTTL, slotmesh.NoTTL)
	if _, err := p.r.GetOrLoad(ctx, unique(t, "hour"), load, slotmesh.LoadTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantTTL(t, p.w, unique(t, "hour"), 59*time.Minute, time.Hour)
	seen := map[time.Duration]bool{}
	for i := range 8 {
		key := unique(t, strconv.Itoa(i))
		if _, err := p.r.GetOrLoad(ctx, key, load, slotmesh.LoadTTL(time.Hour), slotmesh.LoadJitter(0.5)); err != nil {
			t.Fatal(err)
		}
		wantTTL(t, p.w, key, 30*time.Minute-time.Second, time.Hour)
		ttl, _ := p.w.TTL(ctx, key)
		seen[ttl.Round(time.Minute)] = true
	}
	if len(seen) < 3 {
		t.Errorf("8 jittered TTLs are %v, want them spread", seen)
	}
}

func loadStale(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	opts := []slotmesh.LoadOption{slotmesh.LoadTTL(50 * time.Millisecond), slotmesh.LoadStale(time.Hour)}
	var runs atomic.Int64
	if _, err := p.w.GetOrLoad(ctx, key, counted(&runs, "old", nil), opts...); err != nil {
		t.Fatal(err)
	}
	await(t, "a stale value was loaded anew", func() error {
		fromAll(p, 5, func(c *slotmesh.Cache) {
			got, err := c.GetOrLoad(ctx, key, counted(&runs, "new", nil), opts...)
			if string(got) != "old" && string(got) != "new" || err != nil {
				t.Errorf("GetOrLoad = %q, %v, want old or new", got, err)
			}
		})
		if got, err := p.r.Get(ctx, key); string(got) != "new" {
			return fmt.Errorf("Get = %q, %v", got, err)
		}
		return nil
	})
}

// A value whose loader finds none any more goes; one whose loader fails stays.
func loadStaleGone(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	opts := []slotmesh.LoadOption{slotmesh.LoadTTL(time.Millisecond), slotmesh.LoadStale(time.Hour)}
	var runs atomic.Int64
	if _, err := p.w.GetOrLoad(ctx, key, counted(&runs, "old", nil), opts...); err != nil {
		t.Fatal(err)
	}
	await(t, "three loads have failed", func() error {
		got, err := p.r.GetOrLoad(ctx, key, counted(&runs, "", errors.New("origin is down")), opts...)
		if string(got) != "old" || err != nil {
			t.Fatalf("GetOrLoad = %q, %v, want old", got, err)
		}
		if n := runs.Load(); n < 4 {
			return fmt.Errorf("%d loads", n)
		}
		return nil
	})
	await(t, "the value is gone", func() error {
		_, _ = p.w.GetOrLoad(ctx, key, counted(&runs, "", slotmesh.ErrNotFound), opts...)
		if got, err := p.r.Get(ctx, key); !errors.Is(err, slotmesh.ErrNotFound) {
			return fmt.Errorf("Get = %q, %v", got, err)
		}
		return nil
	})
}

func loadForEver(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	opts := []slotmesh.LoadOption{slotmesh.LoadTTL(time.Millisecond), slotmesh.LoadStale(math.MaxInt64), slotmesh.LoadEarly(math.MaxInt64)}
	var runs atomic.Int64
	await(t, "a value that may be stale for ever is loaded anew", func() error {
		if _, err := p.r.GetOrLoad(ctx, key, counted(&runs, "v", nil), opts...); err != nil || runs.Load() < 3 {
			return fmt.Errorf("%d runs, %v", runs.Load(), err)
		}
		return nil
	})
	if left, err := p.r.TTL(ctx, key); left <= 0 || err != nil {
		t.Errorf("TTL = %v, %v, want very long", left, err)
	}
}

func loadEarly(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	var runs atomic.Int64
	opts := []slotmesh.LoadOption{slotmesh.LoadTTL(time.Hour), slotmesh.LoadEarly(30 * time.Minute)}
	if _, err := p.w.GetOrLoad(ctx, key, counted(&runs, "0", nil), opts...); err != nil {
		t.Fatal(err)
	}
	await(t, "a value was loaded before it expired", func() error {
		if _, err := p.r.GetOrLoad(ctx, key, counted(&runs, "1", nil), opts...); err != nil {
			return err
		}
		if got, err := p.w.Get(ctx, key); string(got) != "1" {
			return fmt.Errorf("Get = %q, %v", got, err)
		}
		return nil
	})
}

// waitFor is a loader that says it runs and waits to be let go.
func waitFor(running, let chan struct{}, value string) loader {
	return func(ctx context.Context, _ string) ([]byte, error) {
		running <- struct{}{}
		select {
		case <-let:
			return []byte(value), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func loadCallerLeaves(t *testing.T, p pair) {
	key := unique(t, "")
	running, let := make(chan struct{}, 4), make(chan struct{})
	first, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := p.w.GetOrLoad(first, key, waitFor(running, let, "v"))
		wantErr(t, "GetOrLoad of the one who left", err, context.Canceled)
	})
	receive(t, "the loader", running)
	others := make(chan struct{})
	for _, c := range append(p.all, p.w) {
		wg.Go(func() {
			others <- struct{}{}
			got, err := c.GetOrLoad(t.Context(), key, waitFor(running, let, "v"))
			if string(got) != "v" || err != nil {
				t.Errorf("GetOrLoad = %q, %v, want v", got, err)
			}
		})
		<-others
	}
	cancel()
	close(let)
	wg.Wait()
}

func loadAllLeave(t *testing.T, p pair) {
	key := unique(t, "")
	running, let := make(chan struct{}, 4), make(chan struct{})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-running
		cancel()
	}()
	_, err := p.w.GetOrLoad(ctx, key, func(ctx context.Context, key string) ([]byte, error) {
		v, err := waitFor(running, let, "v")(ctx, key)
		ended <- err
		return v, err
	}, slotmesh.LoadTimeout(5*time.Minute))
	wantErr(t, "GetOrLoad", err, context.Canceled)
	wantErr(t, "the loader's context", receive(t, "the loader's end", ended), context.Canceled)
	// The lease was given back: another load begins at once.
	within(t, time.Minute, "the next load", func() {
		close(let)
		if got, err := p.r.GetOrLoad(t.Context(), key, waitFor(running, let, "w")); string(got) != "w" || err != nil {
			t.Errorf("GetOrLoad = %q, %v, want w", got, err)
		}
	})
}

func loadDeleted(t *testing.T, p pair) {
	key := unique(t, "")
	running, let := make(chan struct{}, 4), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := p.w.GetOrLoad(t.Context(), key, waitFor(running, let, "outdated"))
		if string(got) != "outdated" || err != nil {
			t.Errorf("GetOrLoad = %q, %v, want what its loader gave", got, err)
		}
	})
	receive(t, "the loader", running)
	if _, err := p.r.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	close(let)
	wg.Wait()
	_, err := p.r.Get(t.Context(), key)
	wantErr(t, "Get of what was loaded before the delete", err, slotmesh.ErrNotFound)
}

// Who asks after a delete gets nothing that somebody read before it, though he waits
// for the same load.
func loadJoinedAfterDelete(t *testing.T, p pair) {
	key := unique(t, "")
	misses := func() (n uint64) {
		for _, c := range p.all {
			n += c.Stats().Misses
		}
		return n
	}
	running, let := make(chan struct{}, 4), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.w.GetOrLoad(t.Context(), key, waitFor(running, let, "outdated")) })
	receive(t, "the loader", running)
	if _, err := p.r.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	before := misses()
	var runs atomic.Int64
	for range 5 {
		wg.Go(func() {
			got, err := p.w.GetOrLoad(t.Context(), key, counted(&runs, "new", nil))
			if string(got) != "new" || err != nil {
				t.Errorf("GetOrLoad after the delete = %q, %v, want new", got, err)
			}
		})
	}
	await(t, "all have looked", func() error {
		if n := misses() - before; n < 5 {
			return fmt.Errorf("%d misses", n)
		}
		return nil
	})
	close(let)
	wg.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("loaded %d times after the delete, want once", n)
	}
}

func loadOverwritten(t *testing.T, p pair) {
	key := unique(t, "")
	running, let := make(chan struct{}, 4), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.w.GetOrLoad(t.Context(), key, waitFor(running, let, "outdated")) })
	receive(t, "the loader", running)
	wg.Go(func() { // waits for the load, and gets what was written instead of it
		_, err := p.r.GetOrLoad(t.Context(), key, waitFor(running, let, "outdated"))
		wantErr(t, "GetOrLoad", err, nil)
	})
	set(t, p.r, key, "newer")
	close(let)
	wg.Wait()
	wantValue(t, p.w, key, "newer")
}

func loadTooLong(t *testing.T, p pair) {
	key := unique(t, "")
	running := make(chan struct{}, 4)
	never := make(chan struct{})
	_, err := p.w.GetOrLoad(t.Context(), key, waitFor(running, never, "v"), slotmesh.LoadTimeout(20*time.Millisecond))
	wantErr(t, "GetOrLoad", err, context.DeadlineExceeded)
	var runs atomic.Int64
	if got, err := p.r.GetOrLoad(t.Context(), key, counted(&runs, "v", nil)); string(got) != "v" || err != nil {
		t.Errorf("GetOrLoad = %q, %v, want v", got, err)
	}
}

func loadTyped(t *testing.T, p pair) {
	ctx := t.Context()
	v := slotmesh.For[user](p.r, t.Name())
	var runs atomic.Int64
	load := func(_ context.Context, key string) (user, error) {
		runs.Add(1)
		return user{Name: key}, nil
	}
	for range 2 {
		if got, err := v.GetOrLoad(ctx, "ann", load); got.Name != "ann" || err != nil {
			t.Errorf("GetOrLoad = %+v, %v, want ann", got, err)
		}
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the loader ran %d times, want once", n)
	}
	newer := slotmesh.For[user](p.w, t.Name(), slotmesh.WithSchema(2))
	if got, err := newer.GetOrLoad(ctx, "ann", load); got.Name != "ann" || err != nil || runs.Load() != 2 {
		t.Errorf("GetOrLoad of another schema = %+v, %v after %d loads, want a second load", got, err, runs.Load())
	}
	if got, err := newer.Get(ctx, "ann"); got.Name != "ann" || err != nil {
		t.Errorf("Get = %+v, %v, want ann", got, err)
	}
	bad := slotmesh.For[func()](p.r, t.Name()+"bad")
	_, err := bad.GetOrLoad(ctx, "x", func(context.Context, string) (func(), error) { return func() {}, nil })
	wantErr(t, "GetOrLoad of what can't be encoded", err, slotmesh.ErrCodec)
}

func loadBadInput(t *testing.T, p pair) {
	ctx, key := t.Context(), unique(t, "")
	never := func(context.Context, string) ([]byte, error) { t.Error("called"); return nil, nil }
	_, err := p.r.GetOrLoad(ctx, key, nil)
	wantErr(t, "GetOrLoad with nil", err, slotmesh.ErrInvalid)
	_, err = slotmesh.For[user](p.r, "x").GetOrLoad(ctx, key, nil)
	wantErr(t, "typed GetOrLoad with nil", err, slotmesh.ErrInvalid)
	wantErr(t, "GetOrLoadMany with nil", p.r.GetOrLoadMany(ctx, []string{key}, nil)[0].Err, slotmesh.ErrInvalid)
	for name, opts := range map[string][]slotmesh.LoadOption{
		"TTL 0":             {slotmesh.LoadTTL(0)},
		"negative TTL 0":    {slotmesh.LoadNegative(0)},
		"jitter above 1":    {slotmesh.LoadTTL(1), slotmesh.LoadJitter(1.1)},
		"jitter NaN":        {slotmesh.LoadTTL(1), slotmesh.LoadJitter(nan())},
		"stale without TTL": {slotmesh.LoadStale(time.Second)},
		"stale below 0":     {slotmesh.LoadTTL(1), slotmesh.LoadStale(-1)},
		"early below 0":     {slotmesh.LoadTTL(1), slotmesh.LoadEarly(-1)},
		"timeout too short": {slotmesh.LoadTimeout(time.Millisecond)},
		"timeout too long":  {slotmesh.LoadTimeout(time.Hour)},
	} {
		_, err := p.r.GetOrLoad(ctx, key, never, opts...)
		wantErr(t, name, err, slotmesh.ErrInvalid)
	}
	_, err = p.r.GetOrLoad(ctx, strings.Repeat("k", 64<<10+1), never)
	wantErr(t, "GetOrLoad of a long key", err, slotmesh.ErrTooLarge)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = p.r.GetOrLoad(done, key, never)
	wantErr(t, "GetOrLoad with a done context", err, context.Canceled)
}

func nan() float64 { var zero float64; return zero / zero }

// TestLoadPassesOn closes the node whose process loads: another one's caller
// takes over.
func TestLoadPassesOn(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	key := ""
	for i := 0; ; i++ { // served by the third node, loaded by the first
		key = fmt.Sprintf("passes%d", i)
		if owner, err := caches[2].Cluster().Owner(key); err == nil && owner.Self {
			break
		}
	}
	running, never := make(chan struct{}, 4), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := caches[0].GetOrLoad(t.Context(), key, waitFor(running, never, ""), slotmesh.LoadTimeout(5*time.Minute))
		wantErr(t, "GetOrLoad on the closed node", err, slotmesh.ErrClosed)
	})
	receive(t, "the loader", running)
	var runs atomic.Int64
	wg.Go(func() {
		got, err := caches[1].GetOrLoad(t.Context(), key, counted(&runs, "v", nil))
		if string(got) != "v" || err != nil {
			t.Errorf("GetOrLoad = %q, %v, want v", got, err)
		}
	})
	within(t, time.Minute, "Close and the load elsewhere", func() {
		wantErr(t, "Close", caches[0].Close(), nil)
		wg.Wait()
	})
	if runs.Load() != 1 {
		t.Errorf("the second loader ran %d times, want once", runs.Load())
	}
}

// TestLoadPassesOnFromASilentHost has the host of who loads lose its power: nothing ends
// its connections.
func TestLoadPassesOnFromASilentHost(t *testing.T) {
	parallel(t)
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key, running, let := c.KeyServedBy("n3"), make(chan struct{}, 4), make(chan struct{})
		n1, timeout := c.Node("n1"), slotmesh.LoadTimeout(10*time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = n1.GetOrLoad(t.Context(), key, waitFor(running, let, "outdated"), timeout) })
		receive(t, "the loader", running)
		var runs atomic.Int64
		wg.Go(func() {
			began := time.Now()
			got, err := c.Node("n2").GetOrLoad(t.Context(), key, counted(&runs, "v", nil), timeout)
			if took := time.Since(began); string(got) != "v" || err != nil || took > 10*time.Second {
				t.Errorf("GetOrLoad = %q, %v after %v, want v soon", got, err, took)
			}
		})
		c.Advance(time.Second)
		c.PowerOff("n1")
		wg.Wait()
	})
}

// TestLoadSurvivesItsPrimary closes the node that keeps the lease.
func TestLoadSurvivesItsPrimary(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	key := ""
	for i := 0; ; i++ {
		key = fmt.Sprintf("primary%d", i)
		if owner, err := caches[2].Cluster().Owner(key); err == nil && owner.Self {
			break
		}
	}
	running, let := make(chan struct{}, 400), make(chan struct{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			got, err := caches[i%2].GetOrLoad(t.Context(), key, waitFor(running, let, "v"))
			if string(got) != "v" || err != nil {
				t.Errorf("GetOrLoad = %q, %v, want v", got, err)
			}
		})
	}
	receive(t, "the loader", running)
	wantErr(t, "Close", caches[2].Close(), nil)
	close(let)
	wg.Wait()
	if n := 1 + len(running); n > 2 {
		t.Errorf("%d loads, want one more at most", n)
	}
}

// TestOneLoadInTheFleet has 200 callers on each of 12 nodes ask for one cold
// key.
func TestOneLoadInTheFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("a large fleet takes a while to start")
	}
	small := []slotmesh.Option{slotmesh.WithMaxMemory(16 << 20)}
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: largeFleet, Seed: 1, Options: small}, func(t *testing.T, c *slotmeshtest.Cluster) {
		var p pair
		for _, name := range c.Names() {
			p.all = append(p.all, c.Node(name))
		}
		var runs atomic.Int64
		fromAll(p, 200, func(c *slotmesh.Cache) {
			got, err := c.GetOrLoad(t.Context(), "cold", counted(&runs, "v", nil))
			if string(got) != "v" || err != nil {
				t.Errorf("GetOrLoad = %q, %v, want v", got, err)
			}
		})
		if n := runs.Load(); n != 1 {
			t.Errorf("the loader ran %d times, want once", n)
		}
	})
}

// TestLoadsAreRefusedWhereTooManyWait has more callers wait for a load than a node keeps:
// the others are told so.
func TestLoadsAreRefusedWhereTooManyWait(t *testing.T) {
	parallel(t)
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 1, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		n1, keys := c.Node("n1"), []string{"k"}
		running, let := make(chan struct{}, 1), make(chan struct{})
		long, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		none := func(context.Context, []string) (map[string][]byte, error) { return nil, nil }
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = n1.GetOrLoad(long, "k", waitFor(running, let, "v"), slotmesh.LoadTimeout(10*time.Minute))
		})
		receive(t, "the loader", running)
		for range 1 << 13 {
			wg.Go(func() { n1.GetOrLoadMany(long, keys, none) })
		}
		c.Await("all wait", func() error {
			if n := n1.Stats().Guests; n < 1<<13 {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		wantErr(t, "GetOrLoadMany", n1.GetOrLoadMany(t.Context(), keys, none)[0].Err, slotmesh.ErrOverloaded)
		_, err := slotmesh.For[user](n1, "").GetOrLoad(t.Context(), "k", func(context.Context, string) (user, error) { return user{}, nil })
		wantErr(t, "GetOrLoad", err, slotmesh.ErrOverloaded)
		close(let)
		wg.Wait()
	})
}

// TestLoadsThatHeedTheirTimePassOn has loaders end when their time is up, as those do
// that heed their contexts: whoever waits elsewhere loads, and is not told of an error.
func TestLoadsThatHeedTheirTimePassOn(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	var wg sync.WaitGroup
	for i := range 300 { // which of the two is noticed first is chance
		key := fmt.Sprint("heeds", i)
		running, never, given := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
		wg.Go(func() {
			defer close(given)
			_, err := caches[0].GetOrLoad(t.Context(), key, waitFor(running, never, ""), slotmesh.LoadTimeout(100*time.Millisecond))
			wantErr(t, "GetOrLoad whose time was up", err, context.DeadlineExceeded)
		})
		wg.Go(func() {
			select {
			case <-running:
			case <-given: // it failed
			}
			var runs atomic.Int64
			if got, err := caches[1].GetOrLoad(t.Context(), key, counted(&runs, "v", nil)); string(got) != "v" || err != nil {
				t.Errorf("GetOrLoad elsewhere = %q, %v, want v", got, err)
			}
		})
	}
	wg.Wait()
	if n := caches[0].Stats().LoadsFailed; n != 300 {
		t.Errorf("%d failed loads are counted, want 300", n)
	}
}
