package node

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func TestWatchRoundTrips(t *testing.T) {
	want := Watch{After: 1 << 50, Lineage: 1 << 63, Now: true, Key: "k", ByKey: true, Tag: "t", ByTag: true, Prefix: "p", KeysOnly: true}
	var got Watch
	if _, ok := got.unpack(want.Call(1).Value); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
}

func FuzzNews(f *testing.F) {
	f.Add(append(binary.AppendUvarint([]byte{1}, 1<<40), 7, WatchSet, 1, 'k', 1, 2, 3, 1, 'v'))
	w := Watch{Key: "k", ByKey: true}
	f.Add(w.Call(0).Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		if news, ok := UnpackNews(b); ok && len(news.Events) > len(b) {
			t.Errorf("%d events of %d bytes", len(news.Events), len(b))
		}
		var w Watch
		_, _ = w.unpack(b)
	})
}
