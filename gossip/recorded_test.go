package gossip

import (
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/internal/recorded"
)

// What protocol 1 says of its members in gossip means what it meant.
func TestRecordedMembersAreRead(t *testing.T) {
	id := NodeID{1, 2, 3, 15: 9}
	plain := Member{ID: id, Name: "orders-0", Addr: "10.0.0.1:7946", Weight: 100, MinProto: 1, MaxProto: 1}
	full := plain
	full.Zone, full.Seat, full.Attributes = "eu-1a", "orders-7", "\x04resp\x0d10.0.0.1:6379"
	full.Weight, full.Leaving, full.Visitor = 0, true, true
	for _, tt := range []struct {
		name    string
		m       Member
		goodbye bool
	}{{"member", plain, false}, {"member_full", full, false}, {"goodbye", plain, true}} {
		got, goodbye, err := decodeMeta(formatID(id), recorded.Bytes(t, tt.name, encodeMeta(&tt.m, tt.goodbye)))
		if err != nil || goodbye != tt.goodbye || !reflect.DeepEqual(got, tt.m) {
			t.Errorf("%s: %+v, goodbye %v, %v\nwant %+v, %v", tt.name, got, goodbye, err, tt.m, tt.goodbye)
		}
	}
}

// A member of a later release may say more, at the end.
func TestMoreFieldsThanKnownAreLeftOut(t *testing.T) {
	id := NodeID{1}
	m := Member{ID: id, Name: "a", Addr: "10.0.0.1:1", MinProto: 1, MaxProto: 2, Attributes: "x"}
	meta := encodeMeta(&m, false)
	meta[0] += 2 // the array's length, of fewer than 16
	meta = append(meta, 0xa1, 'n', 7)
	got, _, err := decodeMeta(formatID(id), meta)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v\nwant %+v", got, err, m)
	}
}
