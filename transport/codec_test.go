package transport

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const testMax = 1 << 20

// Generators. Half of all fields are zero, so that every length of array is
// met.

func drawUint[T uint8 | uint16 | uint32 | uint64](t *rapid.T, name string) T {
	return rapid.OneOf(rapid.Just(T(0)), rapid.Custom(func(t *rapid.T) T { return T(rapid.Uint64().Draw(t, "v")) })).Draw(t, name)
}

func drawInt(t *rapid.T, name string) int64 {
	return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64()).Draw(t, name)
}

func drawBytes(t *rapid.T, name string) []byte {
	return rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 400)).Draw(t, name)
}

func drawString(t *rapid.T, name string) string {
	return rapid.OneOf(rapid.Just(""), rapid.String()).Draw(t, name)
}

var testSender = nodeID(42)

func drawNode(t *rapid.T, name string) NodeID {
	return rapid.SampledFrom([]NodeID{{}, testSender, nodeID(7)}).Draw(t, name)
}

func drawCallID(t *rapid.T) CallID {
	return CallID{drawNode(t, "node"), drawUint[uint64](t, "number")}
}

func drawResult(t *rapid.T) Result {
	return Result{
		Value: drawBytes(t, "value"), Version: drawUint[uint64](t, "version"), Expiry: drawInt(t, "expiry"),
		Int: drawInt(t, "int"), Schema: drawUint[uint32](t, "schema"), Found: rapid.Bool().Draw(t, "found"),
	}
}

func drawTrace(t *rapid.T) []byte {
	b := drawBytes(t, "trace")
	return b[:min(len(b), MaxTrace)]
}

func drawRequest(t *rapid.T) Request {
	return Request{
		ID: drawUint[uint64](t, "id"), Timeout: drawInt(t, "timeout"), CallID: drawCallID(t),
		Epoch: drawUint[uint64](t, "epoch"), Mark: drawUint[uint64](t, "mark"), Hops: drawUint[uint8](t, "hops"), Sent: drawInt(t, "sent"),
		Repeat: rapid.Bool().Draw(t, "repeat"), Asked: rapid.Bool().Draw(t, "asked"),
		Call: Call{
			Op: Op(drawUint[uint8](t, "op")), Flags: drawUint[uint16](t, "flags"), Slot: drawUint[uint16](t, "slot"),
			Kind: drawUint[uint8](t, "kind"), Key: drawString(t, "key"), Field: drawString(t, "field"),
			Value: drawBytes(t, "value"), Old: drawBytes(t, "old"), Version: drawUint[uint64](t, "version"),
			Expiry: drawInt(t, "expiry"), Delta: drawInt(t, "delta"), Schema: drawUint[uint32](t, "schema"), Trace: drawTrace(t),
		},
	}
}

func drawResponse(t *rapid.T) Response {
	text := drawString(t, "text")
	return Response{
		ID: drawUint[uint64](t, "id"), Code: Code(drawUint[uint8](t, "code")), Claim: drawBytes(t, "claim"),
		Node: drawNode(t, "node"), Mark: drawUint[uint64](t, "mark"), Text: text[:min(len(text), MaxText)], Result: drawResult(t),
	}
}

func drawRecords(t *rapid.T) []Record {
	rs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
		return Record{
			Kind: drawUint[uint8](t, "kind"), Key: drawString(t, "key"), Field: drawString(t, "field"), Value: drawBytes(t, "value"),
			Tombstone: rapid.Bool().Draw(t, "tombstone"), Version: drawUint[uint64](t, "version"),
			Origin: drawUint[uint64](t, "origin"), Expiry: drawInt(t, "expiry"), Schema: drawUint[uint32](t, "schema"),
		}
	}), 0, 20).Draw(t, "records")
	if len(rs) == 0 {
		return nil
	}
	return rs
}

func drawAppend(t *rapid.T) Append {
	return Append{
		Slot: drawUint[uint16](t, "slot"), Epoch: drawUint[uint64](t, "epoch"), Session: drawUint[uint64](t, "session"),
		Prev: drawUint[uint64](t, "prev"), Version: drawUint[uint64](t, "version"), Mark: drawUint[uint64](t, "mark"),
		Cause: drawUint[uint8](t, "cause"), Call: drawCallID(t), Result: drawResult(t), Records: drawRecords(t),
	}
}

func drawAck(t *rapid.T) AppendAck {
	return AppendAck{
		Slot: drawUint[uint16](t, "slot"), Epoch: drawUint[uint64](t, "epoch"), Session: drawUint[uint64](t, "session"),
		Version: drawUint[uint64](t, "version"), Durable: drawUint[uint64](t, "durable"), Gap: rapid.Bool().Draw(t, "gap"),
		Refused: rapid.Bool().Draw(t, "refused"), Short: rapid.Bool().Draw(t, "short"),
	}
}

func drawChunk(t *rapid.T) Chunk {
	return Chunk{
		Slot: drawUint[uint16](t, "slot"), Session: drawUint[uint64](t, "session"), Kind: drawUint[uint8](t, "kind"),
		Seq: drawUint[uint64](t, "seq"), Last: rapid.Bool().Draw(t, "last"), Epoch: drawUint[uint64](t, "epoch"),
		Lo: drawUint[uint64](t, "lo"), Hi: drawUint[uint64](t, "hi"), Sum: drawUint[uint64](t, "sum"),
		Count: drawUint[uint64](t, "count"), Body: drawBytes(t, "body"), Records: drawRecords(t),
	}
}

// readAll decodes a batch the way a session does, copying each message.
func readAll(b []byte, each func(kind, any)) error {
	d := newDecoder(testSender, testMax, testMax)
	for len(b) > 0 {
		k, msg, rest, err := next(b)
		if err != nil {
			return err
		}
		d.open(msg)
		var m any
		switch k {
		case kindRequest:
			m = *d.request()
		case kindResponse:
			m = *d.response(d.responseID())
		case kindAppend:
			m = *d.append()
		case kindAck:
			m = *d.appendAck()
		case kindChunk:
			m = *d.chunk()
		case kindPiece:
			m = d.piece()
		case kindClaims, kindControl:
			m = d.bytes(d.body)
		}
		if d.err != nil {
			return d.err
		}
		if slot, ok := slotOf(k, msg); ok && slot != slotIn(m) {
			panic(fmt.Sprintf("slotOf says %d of %+v", slot, m))
		}
		if each != nil {
			each(k, m)
		}
		b = rest
	}
	return nil
}

func slotIn(m any) uint16 {
	switch m := m.(type) {
	case Request:
		return m.Slot
	case Append:
		return m.Slot
	case AppendAck:
		return m.Slot
	case Chunk:
		return m.Slot
	}
	return 0
}

func TestMessagesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		enc := newEncoder(testSender)
		var want []any
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				m := drawRequest(t)
				enc.request(&m)
				want = append(want, m)
			case 1:
				m := drawResponse(t)
				enc.response(m.ID, &m)
				want = append(want, m)
			case 2:
				m := drawAppend(t)
				enc.append(&m)
				want = append(want, m)
			case 3:
				m := drawAck(t)
				enc.ack(&m)
				want = append(want, m)
			case 4:
				m := drawChunk(t)
				enc.chunk(&m)
				want = append(want, m)
			case 5:
				m := drawBytes(t, "body")
				enc.body(kindControl, m)
				want = append(want, m)
			}
		}
		i := 0
		err := readAll(enc.buf, func(_ kind, m any) {
			if !reflect.DeepEqual(m, want[i]) {
				t.Fatalf("got  %+v\nwant %+v", m, want[i])
			}
			i++
		})
		if err != nil || i != len(want) {
			t.Fatalf("decoded %d of %d messages: %v", i, len(want), err)
		}
	})
}

func TestHandshakeRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		short := func(name string) string { s := drawString(t, name); return s[:min(len(s), maxName)] }
		id := Identity{
			Cluster: short("cluster"), ID: drawNode(t, "id"), Name: short("name"), Addr: short("addr"),
			MinProto: drawUint[uint8](t, "min"), MaxProto: drawUint[uint8](t, "max"),
		}
		h := handshake{from: id, to: drawNode(t, "to"), session: drawUint[uint64](t, "session"), body: drawBytes(t, "body")}
		enc := newEncoder(NodeID{})
		enc.handshake(kindHello, &h)
		if got, err := decodeHandshake(enc.buf, kindHello, 1000); err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, h)
		}
		w := welcome{verdict: verdict(drawUint[uint8](t, "verdict")), from: id, text: short("text"), body: h.body}
		enc.buf = nil
		enc.welcome(kindWelcome, &w)
		if got, err := decodeWelcome(enc.buf, kindWelcome, 1000); err != nil || !reflect.DeepEqual(got, w) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, w)
		}
	})
}

func TestUnknownTrailingFieldsAreSkipped(t *testing.T) {
	enc := newEncoder(testSender)
	want := Request{ID: 1, Hops: 3, Sent: 4, Known: 5, After: 6, Call: Call{Op: OpGet, Key: "k", Trace: []byte("t")}}
	enc.begin(kindRequest)
	first := enc.arr
	enc.buf = enc.buf[:enc.start]
	enc.request(&want)
	// As a later release would: two more fields at the end.
	enc.arr = array{head: first.head, n: 23, count: 23, end: len(enc.buf)}
	enc.str("new")
	enc.uint(1 << 40)
	enc.end()
	enc.ack(&AppendAck{Slot: 9})
	n := 0
	err := readAll(enc.buf, func(k kind, m any) {
		if n++; k == kindRequest && !reflect.DeepEqual(m, want) {
			t.Errorf("got %+v, want %+v", m, want)
		}
	})
	if err != nil || n != 2 {
		t.Errorf("read %d messages: %v", n, err)
	}
}

func TestUnknownRecordFieldsAreSkipped(t *testing.T) {
	enc := newEncoder(testSender)
	enc.begin(kindChunk)
	for range 4 {
		enc.uint(0)
	}
	enc.bool(true)
	for range 5 {
		enc.uint(0)
	}
	enc.bytes(nil)
	_ = enc.mp.EncodeArrayLen(2)
	outer := enc.arr
	for range 2 {
		enc.arr = enc.open()
		enc.str("key")
		enc.uint(1)
		enc.bytes(nil)
		enc.uint(2)
		enc.bool(true)
		enc.str("")
		enc.int(3)
		enc.uint(4)
		enc.uint(5)
		enc.uint(6)
		_ = enc.mp.EncodeMulti(map[string]any{"a": []int{1, 2}}, []any{1, "x", nil, 3.5, []byte("y"), true}, -7, strings.Repeat("z", 300))
		enc.arr.count, enc.arr.end = 14, len(enc.buf)
		enc.shut()
	}
	enc.arr = outer
	enc.field(true)
	enc.end()
	err := readAll(enc.buf, func(_ kind, m any) {
		rs := m.(Chunk).Records
		if len(rs) != 2 || rs[0].Key != "key" || rs[1].Key != "key" {
			t.Errorf("records %+v", rs)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBadLengthsAreRefused(t *testing.T) {
	nested := []byte{0x9c, 0, 0, 0, 0, 0xc2, 0, 0, 0, 0, 0, 0xc0, 0x91, 0x9b, 0xa0, 0, 0xc0, 0, 0xc2, 0xa0, 0, 0, 0, 0}
	nested = append(nested, bytes.Repeat([]byte{0x91}, 1<<20)...) // a record whose eleventh field nests a million deep
	long := newEncoder(testSender)
	long.request(&Request{Call: Call{Key: strings.Repeat("k", MaxKey+1)}})
	many := newEncoder(testSender)
	many.append(&Append{Records: make([]Record, MaxRecords+1)})
	for _, tt := range []struct {
		name  string
		batch []byte
	}{
		{"stray bytes", []byte{0, 0, 0}},
		{"length zero", []byte{0, 0, 0, 0, 1}},
		{"length past the end", []byte{0, 0, 1, 0, 1, 0x90}},
		{"huge length", []byte{0xff, 0xff, 0xff, 0xff, 1}},
		{"no array", message(kindRequest, []byte{0xc1})},
		{"array past the end", message(kindRequest, []byte{0xdd, 0xff, 0xff, 0xff, 0xff})},
		{"bytes past the end", message(kindClaims, []byte{0x91, 0xc6, 0x7f, 0xff, 0xff, 0xff})},
		{"records past the end", message(kindAppend, []byte{0x96, 0, 0, 0, 0, 0, 0xdd, 0, 0, 0xff, 0xff})},
		{"slot above 16 bits", message(kindAck, []byte{0x91, 0xce, 0, 1, 0, 0})},
		{"node ID of 3 bytes", message(kindRequest, []byte{0x97, 0, 0, 0, 0, 0xa0, 0, 0xa3, 1, 2, 3})},
		{"deep nesting", message(kindChunk, nested)},
		{"long key", long.buf},
		{"many records", many.buf},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := readAll(tt.batch, nil); !errors.Is(err, ErrBadFrame) {
				t.Errorf("err = %v, want ErrBadFrame", err)
			}
		})
	}
}

// message frames raw bytes.
func message(k kind, body []byte) []byte {
	n := len(body) + 1
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(k)}, body...)
}

func FuzzDecodeBatch(f *testing.F) {
	enc := newEncoder(testSender)
	enc.request(&Request{ID: 1, CallID: CallID{testSender, 2}, Epoch: 3, Mark: 1 << 40, Call: Call{Op: OpSet, Slot: 7, Key: "key", Value: []byte("value")}})
	enc.response(9, &Response{Code: CodeMoved, Claim: []byte("claim"), Text: "text"})
	enc.append(&Append{Slot: 1, Version: 5, Records: []Record{{Key: "a", Value: []byte("b")}, {Key: "c", Tombstone: true}}})
	enc.ack(&AppendAck{Slot: 4, Version: 1 << 41, Gap: true})
	enc.chunk(&Chunk{Session: 3, Body: []byte("body"), Records: []Record{{Key: "a", Origin: 3}}})
	enc.body(kindControl, []byte("control"))
	f.Add(enc.buf)
	f.Add(message(kindAppend, []byte{0x96, 0, 0, 0, 0, 0, 0x91, 0x92, 0xa1, 'k', 5}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readAll(b, func(k kind, m any) {
			// What was read can be written and read again.
			enc := newEncoder(testSender)
			switch m := m.(type) {
			case Request:
				enc.request(&m)
			case Response:
				enc.response(m.ID, &m)
			case Append:
				enc.append(&m)
			case AppendAck:
				enc.ack(&m)
			case Chunk:
				enc.chunk(&m)
			default:
				return
			}
			err := readAll(enc.buf, func(_ kind, again any) {
				if !reflect.DeepEqual(again, m) && !emptied(again, m) {
					t.Fatalf("kind %d: got %+v, want %+v", k, again, m)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

// emptied allows for record slices of length 0.
func emptied(a, b any) bool {
	x, ok1 := a.(Append)
	y, ok2 := b.(Append)
	return ok1 && ok2 && len(x.Records) == 0 && len(y.Records) == 0
}

func FuzzHandshake(f *testing.F) {
	enc := newEncoder(NodeID{})
	enc.handshake(kindHandshake, &handshake{from: Identity{Cluster: "c", ID: nodeID(1), Name: "n", Addr: "a", MinProto: 1, MaxProto: 2}, session: 3})
	f.Add(bytes.Clone(enc.buf))
	enc.buf = nil
	enc.welcome(kindWelcome, &welcome{verdict: verdictBusy, text: "x", body: []byte("b")})
	f.Add(enc.buf)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []kind{kindHandshake, kindHello} {
			if h, err := decodeHandshake(b, k, 1000); err == nil {
				enc := newEncoder(NodeID{})
				enc.handshake(k, &h)
				if again, err := decodeHandshake(enc.buf, k, 1000); err != nil || !reflect.DeepEqual(again, h) {
					t.Fatalf("got %+v, %v, want %+v", again, err, h)
				}
			}
		}
		_, _ = decodeWelcome(b, kindWelcome, 1000)
	})
}
