package node

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

func TestWatchRoundTrips(t *testing.T) {
	want := Watch{After: 1 << 50, Lineage: 1 << 63, Now: true, Key: "k", ByKey: true, Tag: "t", ByTag: true, Prefix: "p", KeysOnly: true, Ops: true}
	var got Watch
	if _, ok := got.unpack(want.Call(1).Value); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
}

// Who does not ask what wrote, a node of an earlier release, is not told.
func TestEventsSayWhatWrote(t *testing.T) {
	for _, tt := range []struct {
		op    transport.Op
		flags uint16
		want  uint8
	}{
		{transport.OpSet, 0, 0}, {transport.OpCompare, transport.FlagKeepTTL, 0}, {transport.OpTxn, 0, 0},
		{transport.OpExpire, 0, WatchTimed}, {transport.OpIncr, 0, WatchIncr}, {transport.OpAppend, 0, WatchAppended},
		{transport.OpSet, transport.FlagKeepTTL, WatchKept},
	} {
		for _, ops := range []bool{true, false} {
			e := entry{cause: causeOf(&Call{Op: tt.op, Flags: tt.flags}), records: []store.Record{{Key: "k", Value: []byte("v"), Version: 1}}}
			w, count := Watch{Ops: ops}, 0
			f := fields{b: w.appendEvents(nil, &e, &count)}
			if plain := f.b[0] == WatchSet; plain != (!ops || tt.want == 0) {
				t.Errorf("op %d, asked %v: the event begins with %d", tt.op, ops, f.b[0])
			}
			if got := f.event(); ops && got.Op != tt.want || got.What != WatchSet || f.bad {
				t.Errorf("op %d, asked %v: event %+v, want op %d", tt.op, ops, got, tt.want)
			}
		}
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
