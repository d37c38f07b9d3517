package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// watching runs a watch on a goroutine, to the end of the test, and returns its events;
// it waits for the first EventLive.
func watching(t *testing.T, c *slotmesh.Cache, opts ...slotmesh.WatchOption) <-chan slotmesh.Event {
	t.Helper()
	events, end := beginWatch(t, c, opts...)
	t.Cleanup(end)
	return events
}

func beginWatch(t *testing.T, c *slotmesh.Cache, opts ...slotmesh.WatchOption) (_ <-chan slotmesh.Event, end func()) {
	t.Helper()
	events, live := make(chan slotmesh.Event, 10_000), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		var once sync.Once
		for e, err := range c.Watch(ctx, opts...) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("Watch = %v", err)
				}
				once.Do(func() { close(live) })
				return
			}
			events <- e
			if e.Type == slotmesh.EventLive {
				once.Do(func() { close(live) })
			}
		}
	})
	receive(t, "the first EventLive", live)
	return events, func() { cancel(); wg.Wait() }
}

func nextEvent(t *testing.T, events <-chan slotmesh.Event) slotmesh.Event {
	t.Helper()
	return receive(t, "an event", events)
}

func wantEvents(t *testing.T, events <-chan slotmesh.Event, want ...string) {
	t.Helper()
	last := map[string]uint64{}
	for _, w := range want {
		e := nextEvent(t, events)
		got := strings.TrimSpace(fmt.Sprint(e.Type, " ", e.Key, " ", string(e.Value)))
		if got != w {
			t.Fatalf("event %q, want %q", got, w)
		}
		if e.Key != "" && e.Version <= last[e.Key] {
			t.Errorf("version %d of %q after %d", e.Version, e.Key, last[e.Key])
		}
		last[e.Key] = e.Version
	}
}

// TestWatch runs the behaviour of watches.
func TestWatch(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"what happens to a key":     watchKey,
		"a tag and a prefix":        watchTag,
		"what wrote":                watchOps,
		"labels":                    watchLabels,
		"a prefix over all slots":   watchAll,
		"expiry":                    watchExpiry,
		"a snapshot first":          watchSnapshot,
		"transactions":              watchTxn,
		"every write of many, once": watchMany,
		"a burst":                   watchBurst,
		"a slow loop":               watchSlow,
		"a gap in one slot of all":  watchGap,
		"large values":              watchLarge,
		"bad input":                 watchBadInput,
		"leaving":                   watchLeaves,
	})
}

func watchKey(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	set(t, p.w, key, "before")
	events := watching(t, p.r, slotmesh.WatchKey(key))
	set(t, p.w, key, "a")
	set(t, p.w, key+"other", "x")
	_, _ = p.r.Append(ctx, key, []byte("b"))
	_, _ = p.w.Delete(ctx, key)
	set(t, p.r, key, "", slotmesh.TTL(time.Hour))
	wantEvents(t, events, "live", "set "+key+" a", "set "+key+" ab", "delete "+key)
	e := nextEvent(t, events)
	if left := time.Until(e.Expires); e.Type != slotmesh.EventSet || left < 59*time.Minute || left > 61*time.Minute || e.Value == nil {
		t.Errorf("event %+v, want a set of an empty value for an hour", e)
	}
	keys := watching(t, p.w, slotmesh.WatchKey(key), slotmesh.WatchKeysOnly())
	set(t, p.w, key, "v")
	wantEvents(t, keys, "live", "set "+key)
}

func watchOps(t *testing.T, p pair) {
	ctx, key := t.Context(), unique(t, "")
	watches := map[string]<-chan slotmesh.Event{"key": watching(t, p.r, slotmesh.WatchKey(key)), "prefix": watching(t, p.r, slotmesh.WatchPrefix(key))}
	for _, events := range watches {
		wantEvents(t, events, "live")
	}
	set(t, p.w, key, "1")
	_, _ = p.w.Incr(ctx, key, 1)
	_, _ = p.w.Append(ctx, key, []byte("0"))
	_ = p.w.Expire(ctx, key, time.Hour)
	_ = p.w.Persist(ctx, key)
	set(t, p.w, key, "2")
	for name, events := range watches {
		for _, want := range []string{"", "incr", "append", "expire", "expire", ""} {
			if e := nextEvent(t, events); e.Type != slotmesh.EventSet || e.Op != want {
				t.Errorf("watch of a %s: event %+v, want a set by %q", name, e, want)
			}
		}
	}
}

func watchLabels(t *testing.T, p pair) {
	tag := unique(t, "")
	a, b := tag+"{"+tag+"}a", tag+"{"+tag+"}b"
	watches := map[string]<-chan slotmesh.Event{"tag": watching(t, p.r, slotmesh.WatchTag(tag)), "prefix": watching(t, p.r, slotmesh.WatchPrefix(tag))}
	for _, events := range watches {
		wantEvents(t, events, "live")
	}
	for _, label := range []uint8{3, 255} {
		if err := p.w.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
			_ = tx.Set(a, []byte("1"))
			tx.SetLabel(label)
			_ = tx.Set(b, []byte("2"))
			tx.SetLabel(0)
			return tx.Set(a+"a", []byte("3"))
		}); err != nil {
			t.Fatal(err)
		}
		if err := p.w.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
			tx.SetLabel(label - 1)
			_ = tx.Delete(b)
			return tx.Delete(a + "none")
		}); err != nil {
			t.Fatal(err)
		}
		for name, events := range watches {
			for _, want := range []slotmesh.Event{{Key: a}, {Key: b, Label: label}, {Key: a + "a"}, {Key: b, Label: label - 1, Type: slotmesh.EventDelete}} {
				if e := nextEvent(t, events); e.Key != want.Key || e.Label != want.Label || (e.Type == slotmesh.EventDelete) != (want.Type == slotmesh.EventDelete) {
					t.Errorf("watch of a %s: event %+v, want %+v", name, e, want)
				}
			}
		}
	}
}

func watchTag(t *testing.T, p pair) {
	tag := unique(t, "")
	a, b := "{"+tag+"}a", "{"+tag+"}b"
	all := watching(t, p.r, slotmesh.WatchTag("{"+tag+"}"))
	some := watching(t, p.r, slotmesh.WatchPrefix(b))
	set(t, p.w, a, "1")
	set(t, p.w, b, "2")
	set(t, p.w, tag, "3")
	wantEvents(t, all, "live", "set "+a+" 1", "set "+b+" 2", "set "+tag+" 3")
	wantEvents(t, some, "live", "set "+b+" 2")
}

func watchExpiry(t *testing.T, p pair) {
	key := unique(t, "")
	events := watching(t, p.r, slotmesh.WatchKey(key))
	set(t, p.w, key, "v", slotmesh.TTL(50*time.Millisecond))
	wantEvents(t, events, "live", "set "+key+" v", "expire "+key)
}

func watchSnapshot(t *testing.T, p pair) {
	tag := unique(t, "")
	for i := range 300 {
		set(t, p.w, fmt.Sprintf("{%s}%d", tag, i), strconv.Itoa(i))
	}
	events := watching(t, p.r, slotmesh.WatchTag(tag), slotmesh.WatchSnapshot())
	set(t, p.w, tag, "after")
	seen := map[string]bool{}
	for {
		e := nextEvent(t, events)
		if e.Type == slotmesh.EventLive {
			break
		}
		seen[e.Key] = true
	}
	if len(seen) != 300 {
		t.Errorf("a snapshot of %d keys, want 300", len(seen))
	}
	wantEvents(t, events, "set "+tag+" after")
}

func watchTxn(t *testing.T, p pair) {
	tag := unique(t, "")
	a, b := "{"+tag+"}a", "{"+tag+"}b"
	events := watching(t, p.r, slotmesh.WatchTag(tag))
	wantErr(t, "Txn", p.w.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		return errors.Join(tx.Set(a, []byte("1")), tx.Set(b, []byte("2")))
	}), nil)
	wantEvents(t, events, "live", "set "+a+" 1", "set "+b+" 2")
}

func watchMany(t *testing.T, p pair) {
	tag := unique(t, "")
	events := watching(t, p.r, slotmesh.WatchTag(tag))
	const writers, each = 6, 100
	fromAll(pair{all: p.all}, writers/len(p.all), func(c *slotmesh.Cache) {
		for range each {
			if _, err := c.Incr(t.Context(), tag, 1); err != nil {
				t.Errorf("Incr = %v", err)
			}
		}
	})
	wantEvents(t, events, "live")
	for want := 1; want <= writers/len(p.all)*len(p.all)*each; want++ {
		if e := nextEvent(t, events); e.Type != slotmesh.EventSet || string(e.Value) != strconv.Itoa(want) {
			t.Fatalf("event %v %q, want set %d", e.Type, e.Value, want)
		}
	}
}

func watchSlow(t *testing.T, p pair) {
	key := unique(t, "")
	value := make([]byte, 1<<20)
	first := true
	for e, err := range p.r.Watch(t.Context(), slotmesh.WatchKey(key), slotmesh.WatchSnapshot()) {
		if err != nil {
			t.Fatal(err)
		}
		if first { // live: sleep through more than is kept
			first = false
			for range 20 {
				if err := p.w.Set(t.Context(), key, value); err != nil {
					t.Fatal(err)
				}
			}
			set(t, p.w, key, "last")
			continue
		}
		if e.Type == slotmesh.EventResync {
			continue
		}
		if e.Type != slotmesh.EventSet || string(e.Value) != "last" {
			t.Errorf("event %v of %d bytes, want the snapshot after a resync", e.Type, len(e.Value))
		}
		break
	}
}

// watchBurst has the loop sleep through a burst of small writes: all of them are kept.
func watchBurst(t *testing.T, p pair) {
	const burst = 5000
	for i, watch := range []func(string) slotmesh.WatchOption{slotmesh.WatchKey, slotmesh.WatchTag, slotmesh.WatchPrefix} {
		key := unique(t, strconv.Itoa(i))
		told := 0
		for e, err := range p.r.Watch(t.Context(), watch(key)) {
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Type == slotmesh.EventLive:
				for range burst {
					if _, err := p.w.Incr(t.Context(), key, 1); err != nil {
						t.Fatal(err)
					}
				}
				continue
			}
			if told++; e.Type != slotmesh.EventSet || string(e.Value) != strconv.Itoa(told) {
				t.Fatalf("event %v %q, want set %d", e.Type, e.Value, told)
			}
			if told == burst {
				break
			}
		}
	}
}

// watchGap has the loop sleep through more than is kept of one slot: what happened in
// another is told all the same, once.
func watchGap(t *testing.T, p pair) {
	prefix := unique(t, "")
	const each = 100
	value, told, resyncs := make([]byte, 1<<20), 0, 0
	for e, err := range p.r.Watch(t.Context(), slotmesh.WatchPrefix(prefix)) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Type == slotmesh.EventLive:
			for range 20 {
				if err := p.w.Set(t.Context(), prefix+"large", value); err != nil {
					t.Fatal(err)
				}
			}
			for range each {
				if _, err := p.w.Incr(t.Context(), prefix+"n", 1); err != nil {
					t.Fatal(err)
				}
			}
		case e.Type == slotmesh.EventResync:
			resyncs++
		case e.Key == prefix+"n":
			if told++; string(e.Value) != strconv.Itoa(told) {
				t.Fatalf("event %v %q, want set %d", e.Type, e.Value, told)
			}
		}
		if told == each && resyncs > 0 {
			break
		}
	}
}

func watchLarge(t *testing.T, p pair) {
	key := unique(t, "")
	events := watching(t, p.r, slotmesh.WatchKey(key))
	wantEvents(t, events, "live")
	for _, size := range []int{300 << 10, 2 << 20, 70 << 10} {
		if err := p.w.Set(t.Context(), key, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if e := nextEvent(t, events); e.Type != slotmesh.EventSet || len(e.Value) != size {
			t.Errorf("event %v of %d bytes, want %d", e.Type, len(e.Value), size)
		}
	}
}

func watchBadInput(t *testing.T, p pair) {
	long := strings.Repeat("k", 64<<10+1)
	for name, opts := range map[string][]slotmesh.WatchOption{
		"nothing":       nil,
		"two":           {slotmesh.WatchKey("a"), slotmesh.WatchTag("a")},
		"open prefix":   {slotmesh.WatchPrefix("{user")},
		"a long key":    {slotmesh.WatchKey(long)},
		"a long tag":    {slotmesh.WatchTag(long)},
		"both":          {slotmesh.WatchKey("a"), slotmesh.FromNow(), slotmesh.WatchSnapshot()},
		"a long prefix": {slotmesh.WatchTag("x"), slotmesh.WatchPrefix(long)},
	} {
		n := 0
		for _, err := range p.r.Watch(t.Context(), opts...) {
			n++
			wantErr(t, name, err, slotmesh.ErrInvalid)
		}
		if n != 1 {
			t.Errorf("%s yields %d times, want once", name, n)
		}
	}
}

func watchLeaves(t *testing.T, p pair) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	within(t, 15*time.Second, "a watch whose context ends", func() {
		for _, err := range p.r.Watch(ctx, slotmesh.WatchKey("nothing happens")) {
			if err != nil {
				wantErr(t, "Watch", err, context.DeadlineExceeded)
			}
		}
	})
	for e, err := range p.r.Watch(t.Context(), slotmesh.WatchKey("nothing happens")) {
		if e.Type != slotmesh.EventLive || err != nil {
			t.Errorf("first event %v, %v, want live", e.Type, err)
		}
		break
	}
}

// TestBriefWatchesLeaveLittle has watches that end at once: their questions are gone
// soon, not only when those of a long one would be asked again.
func TestBriefWatchesLeaveLittle(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := c.KeyServedBy("n2")
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			for e, err := range c.Node("n1").Watch(ctx, slotmesh.WatchKey(key)) {
				if e.Type != slotmesh.EventLive && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Watch = %v, %v", e, err)
				}
			}
			cancel()
		}
		if n := c.Node("n2").Stats().Guests; n == 0 {
			t.Error("no question waits at the primary: nothing is shown")
		}
		c.Advance(5 * time.Second)
		if n := c.Node("n2").Stats().Guests; n != 0 {
			t.Errorf("%d questions of watches that have ended wait at the primary", n)
		}
	})
}

// TestEndedWatchesMakeRoom has more watches of a prefix, one after another, than a
// node serves at a time.
func TestEndedWatchesMakeRoom(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 2, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // within which idle ones are kept
		defer cancel()
		for i := range 300 {
			for e, err := range c.Node("n1").Watch(ctx, slotmesh.WatchPrefix("")) {
				if e.Type != slotmesh.EventLive || err != nil {
					t.Fatalf("watch %d begins with event %v, %v, want live", i, e.Type, err)
				}
				break
			}
		}
	})
}

// TestWatchSurvivesAFailover closes the primary under a counter that is watched:
// no number is missing without an EventResync. In virtual time: where a busy machine
// costs a copy there may be more of them.
func TestWatchSurvivesAFailover(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := c.KeyServedBy("n3")
		events, end := beginWatch(t, c.Node("n1"), slotmesh.WatchKey(key))
		defer end()
		wantEvents(t, events, "live")
		const half = 150
		for i := range 2 * half {
			if i == half {
				wantErr(t, "Close", c.Node("n3").Close(), nil)
			}
			if _, err := c.Node("n2").Incr(t.Context(), key, 1); err != nil {
				t.Fatalf("Incr = %v", err)
			}
		}
		resyncs := 0
		for want := 1; want <= 2*half; {
			e := nextEvent(t, events)
			switch n, _ := strconv.Atoi(string(e.Value)); {
			case e.Type == slotmesh.EventResync:
				resyncs++
				want = -1
			case want == -1:
				want = n + 1
			case n != want:
				t.Fatalf("event %d, want %d", n, want)
			default:
				want++
			}
			if want == -1 && resyncs > 1 {
				t.Fatal("more than one resync")
			}
		}
		t.Logf("%d resyncs", resyncs)
	})
}

func watchAll(t *testing.T, p pair) {
	prefix, ctx := unique(t, ""), t.Context()
	set(t, p.w, prefix+"before", "x")
	events := watching(t, p.r, slotmesh.WatchPrefix(prefix))
	other := watching(t, p.w, slotmesh.WatchPrefix(prefix), slotmesh.WatchSnapshot())
	wantEvents(t, events, "live")
	wantEvents(t, other, "set "+prefix+"before x", "live")
	last := map[string]int{}
	const keys, each = 40, 5
	for v := 1; v <= each; v++ {
		for k := range keys {
			set(t, p.w, fmt.Sprint(prefix, k), strconv.Itoa(v))
			set(t, p.w, fmt.Sprint("elsewhere", k), "x")
		}
	}
	_, _ = p.w.Delete(ctx, prefix+"before")
	for n := 0; n < keys*each+1; n++ {
		e := nextEvent(t, events)
		if e.Type == slotmesh.EventDelete && e.Key == prefix+"before" {
			continue
		}
		v, _ := strconv.Atoi(string(e.Value))
		if e.Type != slotmesh.EventSet || !strings.HasPrefix(e.Key, prefix) || v != last[e.Key]+1 {
			t.Fatalf("event %v of %s: %q after %d", e.Type, e.Key, e.Value, last[e.Key])
		}
		last[e.Key] = v
	}
}

// TestWatchOfAPrefixSurvivesAFailover closes a node while counters in many slots
// are watched: no number is missing, and no EventResync is needed. In virtual time:
// where a busy machine costs a copy there may be one.
func TestWatchOfAPrefixSurvivesAFailover(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		events, end := beginWatch(t, c.Node("n1"), slotmesh.WatchPrefix("counter"), slotmesh.WatchKeysOnly())
		defer end()
		wantEvents(t, events, "live")
		const keys, half = 50, 6
		for i := range 2 * half {
			if i == half {
				wantErr(t, "Close", c.Node("n3").Close(), nil)
			}
			for k := range keys {
				if _, err := c.Node("n2").Incr(t.Context(), fmt.Sprint("counter", k), 1); err != nil {
					t.Fatalf("Incr = %v", err)
				}
			}
		}
		seen, versions := 0, map[string]uint64{}
		for seen < 2*half*keys {
			e := nextEvent(t, events)
			if e.Type == slotmesh.EventResync {
				t.Fatalf("a resync after %d of %d events", seen, 2*half*keys)
			}
			if e.Version <= versions[e.Key] {
				t.Fatalf("version %d of %s after %d", e.Version, e.Key, versions[e.Key])
			}
			versions[e.Key] = e.Version
			seen++
		}
	})
}
