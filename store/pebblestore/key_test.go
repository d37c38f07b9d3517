package pebblestore

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

// FuzzParse reads keys and values that a damaged disk may hold. What is taken is
// whole: written again and read again it is the same.
func FuzzParse(f *testing.F) {
	f.Add(dataKey(nil, 12182, 3, 1, "k\x00e\x01y", "\x00field"), appendRecord(nil, &store.Record{Version: 9, Expiry: 7, Origin: 5, Schema: 2, Value: []byte("v")}))
	f.Add(dataKey(nil, 0, 0, 0, "", ""), appendRecord(nil, &store.Record{Version: 1 << 63, Tombstone: true}))
	f.Add(slotKey(5), slotValue(4, 1<<50))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if p, err := parseKey(k); err == nil {
			again, err := parseKey(placeKey(nil, p.slot, p.gen, p.hash, p.kind, p.key, p.field))
			if err != nil || again != p {
				t.Errorf("key %x is %+v, written again %+v, %v", k, p, again, err)
			}
		}
		if r, _, err := parseRecord(v); err == nil {
			if version, err := versionOf(v); err != nil || version != r.Version {
				t.Errorf("versionOf(%x) = %d, %v, want %d", v, version, err, r.Version)
			}
			again, _, err := parseRecord(appendRecord(nil, &r))
			if r.Origin == r.Version || r.Tombstone { // is not written, and nothing is of a tombstone
				again.Origin, again.Expiry, again.Schema, again.Value = r.Origin, r.Expiry, r.Schema, r.Value
			}
			if len(r.Value)+len(again.Value) == 0 {
				again.Value = r.Value
			}
			if err != nil || !reflect.DeepEqual(again, r) {
				t.Errorf("record %x is %+v, written again %+v, %v", v, r, again, err)
			}
		}
		if gen, highest, err := parseSlotValue(v); err == nil && !bytes.Equal(slotValue(gen, highest), v) {
			t.Errorf("slot value %x is written again as %x", v, slotValue(gen, highest))
		}
	})
}
