package node

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/recorded"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Bodies of calls, of their answers and of control messages, as protocol 1 wrote
// them, mean what they meant.
func TestRecordedBodiesAreRead(t *testing.T) {
	slot := hashtag.Slot("foo")
	nums := func(b []byte, vs ...uint64) []byte {
		for _, v := range vs {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	cursor := store.Cursor{Started: true, Hash: 1 << 60, Kind: 1, Key: "foo", Field: "f"}
	scan := Scan{ByTag: true, KeysOnly: true, Absent: true, Small: true, Limit: 100, Prefix: "a", Glob: "a*", Tag: "t", After: cursor}
	watch := Watch{After: 5, Lineage: 6, ByKey: true, ByTag: true, KeysOnly: true, Now: true, Key: "foo", Tag: "t", Prefix: "p"}
	txn := Txn{
		Checks: []TxnCheck{{"foo", 3}}, Reads: []string{"foo"},
		Writes: []TxnWrite{{Key: "foo", Value: []byte("v"), Flags: transport.FlagKeepTTL, Expiry: 9, Schema: 2}, {Key: "foo", Value: []byte{}, Delete: true}},
	}
	labelled := Txn{Checks: []TxnCheck{}, Writes: []TxnWrite{{Key: "foo", Value: []byte("v"), Label: 255}, {Key: "foo", Value: []byte{}, Delete: true, Label: 1}}}
	question := feedQuestion{token: 1, answered: 2, keysOnly: true, wait: true, prefix: "p", adopt: []feedAdopt{{3, 4, 5}}}
	explanation := Explanation{
		State: ExplainPresent, Version: 1, Size: 2, Expiry: 3, Left: 4, Schema: 5, Loading: true, Waiting: 6, Records: 7, Bytes: 8, Recent: 9,
		Copies: []ExplainedCopy{{shard.NewNodeID(1, 11), true, 0}, {shard.NewNodeID(2, 22), false, 3}},
	}
	ranges := rangeList{span{0, 1 << 40}, []store.Digest{{Sum: 1 << 63, Records: 300}, {}, {Sum: 7, Records: 1}}}
	load := Load{Token: 7, Lease: 3 * time.Second, Wait: true, Ignore: 8}
	release := Release{Token: 7, How: ReleaseFailed, Text: "no"}
	lock := Lock{Token: 7, TTL: 3 * time.Second, How: LockRenew}
	read := store.Item{State: store.Found, Value: []byte("v"), Version: 1, Expiry: 2, Schema: 3}
	hello := helloAnswer{used: 1, clock: 2, probed: probeReached}
	attributes := map[string]string{"a": "1", "resp": "10.0.0.1:6379"}
	item := ScanItem{"foo", []byte("v"), 1, 2, 3}
	event := WatchEvent{What: WatchSet, Key: "foo", Version: 1, Expiry: 2, Schema: 3, Value: []byte("v")}
	labelledEvent := event
	labelledEvent.Op, labelledEvent.Label = WatchAppended, 255

	for _, tt := range []struct {
		name string
		now  []byte
		want any
		read func(b []byte) (got any, ok bool)
	}{
		{"scan", scan.Call(slot).Value, scan, func(b []byte) (any, bool) {
			var q Scan
			ok := q.unpack(b)
			return q, ok
		}},
		{
			"page", packBytes(nums(packString(packCursor(nums(nil, 1), cursor), item.Key), 1, 2, 3), item.Value), []any{[]ScanItem{item}, cursor, true},
			func(b []byte) (any, bool) {
				items, next, done, ok := UnpackPage(b)
				return []any{items, next, done}, ok
			},
		},
		{"watch", watch.Call(slot).Value, watch, func(b []byte) (any, bool) {
			var w Watch
			_, ok := w.unpack(b)
			return w, ok
		}},
		{
			"news", packBytes(nums(packString(nums(nil, 1, 5, 6, uint64(WatchSet)), "foo"), 1, 2, 3), event.Value),
			News{Upto: 5, Lineage: 6, Gap: true, Events: []WatchEvent{event}},
			func(b []byte) (any, bool) {
				news, ok := UnpackNews(b)
				return news, ok
			},
		},
		{
			"news-labelled", packBytes(nums(packString(nums(nil, 0, 5, 6, uint64(WatchSet|WatchAppended<<watchOpShift)|255<<watchLabelShift), "foo"), 1, 2, 3), event.Value),
			News{Upto: 5, Lineage: 6, Events: []WatchEvent{labelledEvent}},
			func(b []byte) (any, bool) {
				news, ok := UnpackNews(b)
				return news, ok
			},
		},
		{"txn", txn.Pack(nil), txn, func(b []byte) (any, bool) {
			got, ok := unpackTxn(b, slot, 100, 100)
			return got, ok
		}},
		{"txn-labelled", labelled.Pack(nil), labelled, func(b []byte) (any, bool) {
			got, ok := unpackTxn(b, slot, 100, 100)
			return got, ok
		}},
		{
			"reads", packRead(packRead(nil, &read), &store.Item{}), []Result{{Found: true, Value: []byte("v"), Version: 1, Expiry: 2, Schema: 3}, {}},
			func(b []byte) (any, bool) {
				got, ok := UnpackReads(b, 2)
				return got, ok
			},
		},
		{"feed", question.pack(), question, func(b []byte) (any, bool) {
			var q feedQuestion
			ok := q.unpack(b)
			return q, ok
		}},
		{"explanation", explanation.pack(nil), explanation, func(b []byte) (any, bool) {
			got, ok := UnpackExplanation(b)
			return got, ok
		}},
		{"ranges", ranges.pack(nil), ranges, func(b []byte) (any, bool) {
			got, ok := unpackRanges(ranges.span, 3, b)
			return got, ok
		}},
		{"load", load.Call(slot, "foo").Value, load, func(b []byte) (any, bool) {
			var l Load
			ok := l.unpack(b)
			return l, ok
		}},
		{"release", release.Call(slot, "foo").Value, release, func(b []byte) (any, bool) {
			var l Release
			ok := l.unpack(b)
			return l, ok
		}},
		{"lock", lock.Call(slot, "foo").Value, lock, func(b []byte) (any, bool) {
			var l Lock
			ok := l.unpack(b)
			return l, ok
		}},
		{"hello", hello.append(nil), hello, func(b []byte) (any, bool) { return parseHello(b), true }},
		{"attributes", []byte(packAttributes(attributes)), attributes, func(b []byte) (any, bool) { return unpackAttributes(string(b)), true }},
	} {
		if got, ok := tt.read(recorded.Bytes(t, tt.name, tt.now)); !ok || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.name, got, ok, tt.want)
		}
	}
}
