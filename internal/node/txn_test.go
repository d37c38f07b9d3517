package node

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/transport"
)

func TestTxnRoundTrips(t *testing.T) {
	want := Txn{
		Checks: []TxnCheck{{"{t}a", 0}, {"{t}b", 1 << 60}},
		Writes: []TxnWrite{
			{Key: "{t}", Value: []byte{}, Flags: transport.FlagRelative, Expiry: 1 << 50, Schema: 1 << 31},
			{Key: "t", Value: []byte("v"), Delete: true},
		},
	}
	got, ok := unpackTxn(want.Pack(nil), hashtag.Slot("t"), 100, 100)
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	for name, bad := range map[string][]byte{
		"empty":        nil,
		"too many":     {0xff, 0xff, 0x03},
		"cut off":      want.Pack(nil)[:10],
		"long key":     (&Txn{Checks: []TxnCheck{{"{t}" + string(make([]byte, 100)), 0}}}).Pack(nil),
		"other slot":   (&Txn{Checks: []TxnCheck{{"elsewhere", 0}}}).Pack(nil),
		"other slot 2": (&Txn{Writes: []TxnWrite{{Key: "elsewhere"}}}).Pack(nil),
	} {
		if _, ok := unpackTxn(bad, hashtag.Slot("t"), 100, 100); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzUnpackTxn(f *testing.F) {
	f.Add((&Txn{Checks: []TxnCheck{{"t", 3}}, Writes: []TxnWrite{{Key: "t", Value: []byte("v")}}}).Pack(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		txn, ok := unpackTxn(b, hashtag.Slot("t"), 100, 100)
		if !ok {
			return
		}
		packed := txn.Pack(nil)
		again, ok := unpackTxn(packed, hashtag.Slot("t"), 100, 100)
		if !ok || !bytes.Equal(again.Pack(nil), packed) {
			t.Errorf("%+v packed is read as %+v, %v", txn, again, ok)
		}
	})
}
