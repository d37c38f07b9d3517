package node

import (
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

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
