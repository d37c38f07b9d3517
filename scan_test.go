package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// scanned returns what a scan yields, and how often.
func scanned(t *testing.T, c *slotmesh.Cache, opts ...slotmesh.ScanOption) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for item, err := range c.Scan(t.Context(), opts...) {
		if err != nil {
			t.Fatalf("Scan = %v", err)
		}
		seen[item.Key]++
	}
	return seen
}

// TestScan runs the behaviour of scans.
func TestScan(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"every key once":              scanAll,
		"prefix and glob":             scanMatches,
		"one tag, one slot":           scanTag,
		"values, versions and expiry": scanItems,
		"what is gone is not seen":    scanSkips,
		"a cursor goes on":            scanCursor,
		"small pages":                 scanPages,
		"large values":                scanLarge,
		"bad input":                   scanBadInput,
		"delete by prefix":            deletePrefix,
	})
}

func fill(t *testing.T, c *slotmesh.Cache, prefix string, n int) {
	t.Helper()
	var entries []slotmesh.Entry
	for i := range n {
		entries = append(entries, slotmesh.Entry{Key: prefix + strconv.Itoa(i), Value: []byte(strconv.Itoa(i))})
	}
	if err := errors.Join(c.SetMany(t.Context(), entries)...); err != nil {
		t.Fatal(err)
	}
}

func scanAll(t *testing.T, p pair) {
	fill(t, p.w, unique(t, ""), 2000)
	seen := scanned(t, p.r, slotmesh.ScanPrefix(unique(t, "")))
	for i := range 2000 {
		if n := seen[unique(t, strconv.Itoa(i))]; n != 1 {
			t.Fatalf("key %d was seen %d times, want once", i, n)
		}
	}
	if len(seen) != 2000 {
		t.Errorf("%d keys, want 2000", len(seen))
	}
}

func scanMatches(t *testing.T, p pair) {
	for _, key := range []string{"user:1", "user:2", "user:10", "group:1", "u[1]"} {
		set(t, p.w, t.Name()+key, "v")
	}
	for pattern, want := range map[string]string{
		"*user:?":     "user:1 user:2",
		"*:1*":        "group:1 user:1 user:10",
		"*user:[^1]*": "user:2",
		`*u\[1]`:      "u[1]",
		"*user:[^1":   "user:2",
		"*nothing":    "",
	} {
		var got []string
		for _, key := range slices.Sorted(maps.Keys(scanned(t, p.r, slotmesh.ScanPrefix(t.Name()), slotmesh.ScanGlob(pattern)))) {
			got = append(got, strings.TrimPrefix(key, t.Name()))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("ScanGlob(%q) = %v, want %v", pattern, got, want)
		}
	}
}

func scanTag(t *testing.T, p pair) {
	tag := t.Name()
	for _, key := range []string{tag, "{" + tag + "}a", "b{" + tag + "}", "{" + tag + "2}a"} {
		set(t, p.w, key, "v")
	}
	for _, given := range []string{tag, "{" + tag + "}"} {
		if seen := scanned(t, p.r, slotmesh.ScanTag(given)); len(seen) != 3 {
			t.Errorf("ScanTag(%q) = %v, want 3 keys", given, seen)
		}
	}
	slot := int(p.r.Cluster().KeySlot(tag))
	if seen := scanned(t, p.r, slotmesh.ScanSlot(slot), slotmesh.ScanPrefix("{"+tag)); len(seen) != 1 {
		t.Errorf("ScanSlot(%d) = %v, want 1 key", slot, seen)
	}
}

func scanItems(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "v", slotmesh.TTL(time.Hour))
	for item, err := range p.r.Scan(t.Context(), slotmesh.ScanPrefix(key)) {
		want, _ := p.w.GetItem(t.Context(), key)
		if err != nil || string(item.Value) != "v" || item.Version != want.Version || !item.Expires.Equal(want.Expires) {
			t.Errorf("Scan = %+v, %v, want %+v", item, err, want)
		}
	}
	for item, err := range p.r.Scan(t.Context(), slotmesh.ScanPrefix(key), slotmesh.ScanKeysOnly()) {
		if err != nil || item.Value != nil || item.Version == 0 {
			t.Errorf("Scan of keys = %+v, %v, want no value", item, err)
		}
	}
}

func scanSkips(t *testing.T, p pair) {
	ctx, prefix := t.Context(), unique(t, "")
	set(t, p.w, prefix+"here", "v")
	set(t, p.w, prefix+"deleted", "v")
	_, _ = p.w.Delete(ctx, prefix+"deleted")
	set(t, p.w, prefix+"expired", "v", slotmesh.TTL(time.Millisecond))
	_, _ = p.w.GetOrLoad(ctx, prefix+"absent", func(context.Context, string) ([]byte, error) { return nil, slotmesh.ErrNotFound }, slotmesh.LoadNegative(time.Hour))
	await(t, "the key has expired", func() error {
		if seen := scanned(t, p.r, slotmesh.ScanPrefix(prefix)); len(seen) != 1 || seen[prefix+"here"] != 1 {
			return fmt.Errorf("Scan = %v", seen)
		}
		return nil
	})
}

func scanCursor(t *testing.T, p pair) {
	prefix := unique(t, "")
	fill(t, p.w, prefix, 300)
	fill(t, p.w, "{"+prefix+"}", 100) // many in one slot
	seen := map[string]int{}
	var at slotmesh.Cursor
	for rounds := 0; !at.Done(); rounds++ {
		if rounds > 100 {
			t.Fatal("it never ends")
		}
		left := 17
		for item, err := range p.all[rounds%len(p.all)].Scan(t.Context(), slotmesh.ScanFrom(&at), slotmesh.ScanGlob("*"+prefix+"*"), slotmesh.ScanPageSize(10)) {
			if err != nil {
				t.Fatal(err)
			}
			seen[item.Key]++
			if left--; left == 0 {
				break
			}
		}
		text := at.String()
		again, err := slotmesh.ParseCursor(text)
		if err != nil || again != at {
			t.Fatalf("ParseCursor(%q) = %+v, %v, want %+v", text, again, err, at)
		}
		at = again
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%q was seen %d times", key, n)
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d keys, want 400", len(seen))
	}
}

func scanPages(t *testing.T, p pair) {
	fill(t, p.w, "{"+t.Name()+"}", 333)
	for _, size := range []int{1, 7, 4096} {
		if seen := scanned(t, p.r, slotmesh.ScanTag(t.Name()), slotmesh.ScanPageSize(size)); len(seen) != 333 {
			t.Errorf("%d keys by pages of %d, want 333", len(seen), size)
		}
	}
}

func scanLarge(t *testing.T, p pair) {
	sizes := map[string]int{}
	for i, size := range []int{1, 200 << 10, 3, 70 << 10, 1 << 20, 60 << 10} {
		for _, key := range []string{fmt.Sprintf("{%s}%d", t.Name(), i), fmt.Sprintf("%s%d", t.Name(), i)} {
			sizes[key] = size
			set(t, p.w, key, strings.Repeat("x", size))
		}
	}
	n := 0
	for item, err := range p.r.Scan(t.Context(), slotmesh.ScanGlob("*"+t.Name()+"*")) {
		if n++; err != nil || len(item.Value) != sizes[item.Key] {
			t.Errorf("Scan = %d bytes of %q, %v, want %d", len(item.Value), item.Key, err, sizes[item.Key])
		}
	}
	if n != len(sizes) {
		t.Errorf("%d items, want %d", n, len(sizes))
	}
}

func scanBadInput(t *testing.T, p pair) {
	for name, opts := range map[string][]slotmesh.ScanOption{
		"page of 0":         {slotmesh.ScanPageSize(0)},
		"page too large":    {slotmesh.ScanPageSize(5000)},
		"slot below 0":      {slotmesh.ScanSlot(-1)},
		"slot too large":    {slotmesh.ScanSlot(16384)},
		"slot beside a tag": {slotmesh.ScanTag("foo"), slotmesh.ScanSlot(1)},
		"empty glob":        {slotmesh.ScanGlob("")},
		"long glob":         {slotmesh.ScanGlob(strings.Repeat("*", 65537))},
		"no cursor":         {slotmesh.ScanFrom(nil)},
	} {
		n := 0
		for _, err := range p.r.Scan(t.Context(), opts...) {
			n++
			wantErr(t, name, err, slotmesh.ErrInvalid)
		}
		if n != 1 {
			t.Errorf("%s yields %d times, want once", name, n)
		}
	}
	for _, text := range []string{"", "x", "!", "gYAB", "AQEB"} {
		_, err := slotmesh.ParseCursor(text)
		wantErr(t, "ParseCursor", err, slotmesh.ErrInvalid)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range p.r.Scan(done) {
		wantErr(t, "Scan with a done context", err, context.Canceled)
	}
}

// TestDeletePrefixGoesOn breaks a removal off: with its cursor the next one leaves
// nothing behind.
func TestDeletePrefixGoesOn(t *testing.T) {
	c := slotmeshtest.Start(t, 1)[0]
	const keys = 5000
	entries := make([]slotmesh.Entry, keys)
	for i := range entries {
		entries[i].Key = fmt.Sprint("key", i)
	}
	wantErr(t, "SetMany", errors.Join(c.SetMany(t.Context(), entries)...), nil)
	var at slotmesh.Cursor
	ctx, cancel := context.WithCancel(t.Context())
	first, err := c.DeletePrefix(ctx, "key", func(removed int) {
		if removed > keys/5 {
			cancel()
		}
	}, slotmesh.ScanFrom(&at))
	wantErr(t, "DeletePrefix", err, context.Canceled)
	if at.Done() || first == keys || strings.Count(err.Error(), "\n") > 1 {
		t.Errorf("DeletePrefix that is broken off = %d, %v", first, err)
	}
	if _, err := c.DeletePrefix(t.Context(), "key", nil, slotmesh.ScanFrom(&at)); err != nil || !at.Done() {
		t.Errorf("DeletePrefix = %v", err)
	}
	for it, err := range c.Scan(t.Context()) {
		t.Fatalf("%s is left, %v", it.Key, err)
	}
}

func deletePrefix(t *testing.T, p pair) {
	ctx := t.Context()
	fill(t, p.w, unique(t, "go"), 700)
	fill(t, p.w, unique(t, "stay"), 5)
	fill(t, p.w, "{"+unique(t, "tag")+"}", 20)
	last := 0
	n, err := p.r.DeletePrefix(ctx, unique(t, "go"), func(removed int) { last = removed })
	if n != 700 || last != 700 || err != nil {
		t.Errorf("DeletePrefix = %d (%d reported), %v, want 700", n, last, err)
	}
	if seen := scanned(t, p.w, slotmesh.ScanPrefix(unique(t, ""))); len(seen) != 5 {
		t.Errorf("%d keys left, want 5", len(seen))
	}
	n, err = p.r.DeletePrefix(ctx, "{"+unique(t, "tag"), nil, slotmesh.ScanTag(unique(t, "tag")))
	if n != 20 || err != nil {
		t.Errorf("DeletePrefix in a tag = %d, %v, want 20", n, err)
	}
	if _, err := p.r.Clear(ctx); err != nil {
		t.Error(err)
	}
	if seen := scanned(t, p.w); len(seen) != 0 {
		t.Errorf("%d keys after Clear, want none", len(seen))
	}
}

// FuzzParseCursor reads cursors that may come from anybody, as in a link to the next
// page. What is taken is a cursor that comes back as itself.
func FuzzParseCursor(f *testing.F) {
	f.Add(slotmesh.CursorAt(0).String())
	f.Add(slotmesh.CursorAt(1<<40 + 7).String())
	f.Add("gIABAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := slotmesh.ParseCursor(text)
		if err != nil {
			if !errors.Is(err, slotmesh.ErrInvalid) {
				t.Errorf("ParseCursor(%q) = %v, want ErrInvalid", text, err)
			}
			return
		}
		if again, err := slotmesh.ParseCursor(c.String()); err != nil || again != c {
			t.Errorf("cursor of %q came back as %v, %v, want %v", text, again, err, c)
		}
		if s := c.Slot(); s < 0 || s > 16384 {
			t.Errorf("cursor of %q is in slot %d", text, s)
		}
		if at := slotmesh.CursorAt(c.Number()); at.Slot() < c.Slot() && c.Number() != 0 { // 0: the end
			t.Errorf("cursor of %q goes back from slot %d to %d as a number", text, c.Slot(), at.Slot())
		}
	})
}
