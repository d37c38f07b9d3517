package node

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

func TestTxnRoundTrips(t *testing.T) {
	want := Txn{
		Checks: []TxnCheck{{"{t}a", 0}, {"{t}b", 1 << 60}},
		Writes: []TxnWrite{
			{Key: "{t}", Value: []byte{}, Flags: transport.FlagRelative, Expiry: 1 << 50, Schema: 1 << 31},
			{Key: "t", Value: []byte("v"), Delete: true},
		},
		Reads: []string{"t", "{t}c"},
		Bare:  true,
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
		"other slot 3": (&Txn{Reads: []string{"elsewhere"}}).Pack(nil),
		"other slot 2": (&Txn{Writes: []TxnWrite{{Key: "elsewhere"}}}).Pack(nil),
	} {
		if _, ok := unpackTxn(bad, hashtag.Slot("t"), 100, 100); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestTxnReadsRoundTrip(t *testing.T) {
	items := []store.Item{
		{},
		{State: store.Found, Version: 1 << 50, Expiry: 1 << 46, Schema: 7, Value: []byte("v")},
		{State: store.Found, Version: 2, Schema: SchemaAbsent},
		{State: store.Found, Version: 3, Value: []byte{}},
	}
	var packed []byte
	for i := range items {
		packed = packRead(packed, &items[i])
	}
	want := []Result{{}, {Found: true, Version: 1 << 50, Expiry: 1 << 46, Schema: 7, Value: []byte("v")}, {}, {Found: true, Version: 3, Value: []byte{}}}
	if got, ok := UnpackReads(packed, 9); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if got, ok := UnpackReads(packed, 2); !ok || len(got) != 2 {
		t.Errorf("of two that were asked for: %+v, %v", got, ok)
	}
	if _, ok := UnpackReads(packed[:6], 9); ok {
		t.Error("a cut answer was taken")
	}
	if got, ok := UnpackReads(nil, 9); !ok || len(got) != 0 {
		t.Errorf("of a peer that knows no reads: %+v, %v", got, ok)
	}
}

func FuzzUnpackReads(f *testing.F) {
	f.Add(packRead(nil, &store.Item{State: store.Found, Version: 3, Value: []byte("v")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		reads, ok := UnpackReads(b, 5)
		size := 0
		for _, r := range reads {
			size += len(r.Value)
		}
		if ok && (len(reads) > 5 || size > len(b)) {
			t.Errorf("%d reads of %d bytes from %d bytes", len(reads), size, len(b))
		}
	})
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
