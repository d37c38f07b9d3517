package node

import (
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func TestMatchGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, key string
		want         bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"a*c", "abbc", true}, {"a*c", "abbd", false},
		{"a*b*c", "aXbYbZc", true}, {"**a", "ba", true}, {"a*", "a", true}, {"*a", "b", false},
		{"?", "", false}, {"?", "x", true}, {"??", "x", false},
		{"[abc]", "b", true}, {"[a-c]", "d", false}, {"[c-a]", "b", true}, {"[^a-c]", "d", true}, {"[^a]", "a", false},
		{"[]]", "]", true}, {"[a-]", "-", true}, {`[\]]`, "]", true}, {"[^]", "x", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {"a", "a", true}, {"a", "ab", false}, {"", "", true}, {"", "a", false},
		{"*.txt", "a.txt.txt", true}, {"*[0-9]", "a1", true}, {"*[0-9]", "1a", false},
	} {
		if got := matchGlob(tt.pattern, tt.key); got != tt.want {
			t.Errorf("matchGlob(%q, %q) = %v, want %v", tt.pattern, tt.key, got, tt.want)
		}
	}
	for pattern, want := range map[string]bool{"": true, "a[": false, "[^": false, `\`: false, "[a-": false, `[\`: false, "a]": true, "[]": false} {
		if got := ValidGlob(pattern); got != want {
			t.Errorf("ValidGlob(%q) = %v, want %v", pattern, got, want)
		}
	}
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("a*[b-c]?\\d", "axbyd")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(pattern) > 100 || len(key) > 100 {
			return
		}
		got := matchGlob(pattern, key)
		if !ValidGlob(pattern) {
			return
		}
		if matchGlob("*"+pattern, key) != got && got {
			t.Errorf("%q matches %q, but not behind a star", pattern, key)
		}
	})
}

func TestScanRoundTrips(t *testing.T) {
	want := Scan{
		After: store.Cursor{Hash: 1 << 63, Kind: 2, Key: "k", Field: "f", Started: true}, Prefix: "p", Glob: "g", Tag: "t",
		ByTag: true, KeysOnly: true, Absent: true, Small: true, Limit: 9,
	}
	var got Scan
	if ok := got.unpack(want.Call(1).Value); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
}

func FuzzScan(f *testing.F) {
	f.Add((&Scan{Limit: 3, Prefix: "p"}).Call(0).Value)
	f.Add(append(packCursor([]byte{1}, store.Cursor{Key: "k"}), 1, 'a', 1, 2, 3, 1, 'v'))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Scan
		if q.unpack(b) && (q.Limit < 1 || q.Limit > maxPage) {
			t.Errorf("took a limit of %d", q.Limit)
		}
		items, _, _, ok := UnpackPage(b)
		if size := len(items); ok && size > len(b) {
			t.Errorf("%d items of %d bytes", size, len(b))
		}
	})
}
