package transport

import (
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/internal/recorded"
)

// Frames recorded from protocol 1 mean what they meant.
func TestRecordedFramesAreRead(t *testing.T) {
	call := CallID{Node: testSender, Number: 77}
	records := []Record{
		{Kind: 1, Key: "foo", Value: []byte("bar"), Version: 5<<40 | 1, Expiry: 1700000000000, Schema: 3},
		{Kind: 1, Key: "gone", Field: "f", Version: 5<<40 | 2, Tombstone: true, Origin: 4<<40 | 9},
	}
	result := Result{Value: []byte("v"), Version: 9, Expiry: 8, Int: -7, Schema: 6, Found: true}
	enc := newEncoder(testSender)
	request := Request{
		ID: 1, Timeout: 2e9, CallID: call, Epoch: 5, Mark: 6, Hops: 2, Repeat: true, Asked: true,
		Call: Call{
			Op: OpCompare, Flags: FlagIfPresent, Slot: 12182, Kind: 1, Key: "foo", Field: "f", Value: []byte("new"), Old: []byte("old"),
			Version: 4, Expiry: 3, Delta: -2, Schema: 1,
		},
	}
	response := Response{ID: 1, Result: result}
	app := Append{
		Slot: 12182, Epoch: 5, Session: 4, Prev: 1, Version: 2, Mark: 1, Cause: 3, Call: call, Result: result, Records: records,
	}
	labelled := Append{Slot: 12182, Epoch: 5, Prev: 1, Version: 2, Records: []Record{{Key: "foo", Value: []byte("bar"), Version: 2, Label: 255}}}
	ack := AppendAck{Slot: 12182, Epoch: 5, Session: 4, Version: 2, Durable: 1, Gap: true, Refused: true, Short: true}
	chunk := Chunk{Slot: 12182, Session: 4, Kind: 2, Seq: 3, Last: true, Epoch: 5, Lo: 1, Hi: 1 << 63, Sum: 9, Count: 8, Records: records}
	for _, m := range []struct {
		name  string
		write func()
		want  any
	}{
		{"request", func() { enc.request(&request) }, request},
		{"response", func() { enc.response(1, &response) }, response},
		{"append", func() { enc.append(&app) }, app},
		{"append-labelled", func() { enc.append(&labelled) }, labelled},
		{"ack", func() { enc.ack(&ack) }, ack},
		{"chunk", func() { enc.chunk(&chunk) }, chunk},
		{"control", func() { enc.body(kindControl, []byte{2, 1, 0}) }, []byte{2, 1, 0}},
	} {
		t.Run(m.name, func(t *testing.T) {
			enc.buf = nil
			m.write()
			read := 0
			err := readAll(recorded.Bytes(t, m.name, enc.buf), func(_ kind, got any) {
				read++
				if !reflect.DeepEqual(got, m.want) {
					t.Errorf("got  %+v\nwant %+v", got, m.want)
				}
			})
			if err != nil || read != 1 {
				t.Errorf("%d messages, %v, want one", read, err)
			}
		})
	}
}

// Of a stranger of another protocol at least its versions are understood, so
// that it is refused by name.
func TestRecordedHandshakesAreRead(t *testing.T) {
	id := Identity{Cluster: "orders", ID: testSender, Name: "orders-0", Addr: "10.0.0.1:7946", MinProto: 1, MaxProto: 1}
	h := handshake{from: id, to: nodeID(7), session: 9, body: []byte("b")}
	enc := newEncoder(NodeID{})
	enc.handshake(kindHello, &h)
	got, err := decodeHandshake(recorded.Bytes(t, "hello", enc.buf), kindHello, 1000)
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("hello: got %+v, %v\nwant %+v", got, err, h)
	}
	self := id
	self.MinProto, self.MaxProto = 2, 3
	if v := judge(&self, &got.from); v != verdictProtocol {
		t.Errorf("protocol 2 to 3 judges 1 as %v, want a refusal for the protocol", v)
	}
	if self.MinProto = 1; judge(&self, &got.from) != verdictOK {
		t.Error("protocol 1 to 3 refuses 1")
	}
	w := welcome{verdict: verdictOK, from: id, text: "t", body: []byte("b")}
	enc.buf = nil
	enc.welcome(kindWelcome, &w)
	if got, err := decodeWelcome(recorded.Bytes(t, "welcome", enc.buf), kindWelcome, 1000); err != nil || !reflect.DeepEqual(got, w) {
		t.Errorf("welcome: got %+v, %v\nwant %+v", got, err, w)
	}
}
