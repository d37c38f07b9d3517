package transport

import (
	"encoding/binary"

	"github.com/vmihailenco/msgpack/v5"
)

// encoder appends messages to buf. It writes every field and then cuts the
// array behind the last that is not zero, so no message needs a count of its
// own fields beforehand. It never fails: the msgpack encoder's only errors
// are its writer's, and the writer is memory.
type encoder struct {
	buf  []byte
	self NodeID // written as nil, since most call IDs are the sender's own

	mp    *msgpack.Encoder
	start int // of the message being written
	arr   array
}

// array is the array being written: where its header is, how many fields it
// has, and count and end as of the last field that is not zero.
type array struct{ head, n, count, end int }

func newEncoder(self NodeID) *encoder {
	e := &encoder{self: self}
	e.mp = msgpack.NewEncoder(e)
	return e
}

// Write and WriteByte make encoder the msgpack encoder's writer.
func (e *encoder) Write(p []byte) (int, error) {
	e.buf = append(e.buf, p...)
	return len(p), nil
}

func (e *encoder) WriteByte(c byte) error {
	e.buf = append(e.buf, c)
	return nil
}

// begin starts a message, end finishes it.
func (e *encoder) begin(k kind) {
	e.start = len(e.buf)
	e.buf = append(e.buf, 0, 0, 0, 0, byte(k))
	e.arr = e.open()
}

func (e *encoder) end() {
	e.shut()
	binary.BigEndian.PutUint32(e.buf[e.start:], uint32(len(e.buf)-e.start-4))
}

// open writes the header of an array whose count shut fills in. It is always
// msgpack's array16, so that the count has room.
func (e *encoder) open() array {
	a := array{head: len(e.buf)}
	e.buf = append(e.buf, 0xdc, 0, 0)
	a.end = len(e.buf)
	return a
}

func (e *encoder) shut() {
	e.buf = e.buf[:e.arr.end]
	binary.BigEndian.PutUint16(e.buf[e.arr.head+1:], uint16(e.arr.count))
}

// field counts the field just written; set says that it is not zero.
func (e *encoder) field(set bool) {
	e.arr.n++
	if set {
		e.arr.count, e.arr.end = e.arr.n, len(e.buf)
	}
}

func (e *encoder) uint(v uint64) {
	if v <= 0x7f { // msgpack's one-byte numbers, by far the most frequent
		e.buf = append(e.buf, byte(v))
	} else {
		_ = e.mp.EncodeUint(v)
	}
	e.field(v != 0)
}

func (e *encoder) int(v int64) {
	_ = e.mp.EncodeInt(v)
	e.field(v != 0)
}

func (e *encoder) bool(v bool) {
	_ = e.mp.EncodeBool(v)
	e.field(v)
}

func (e *encoder) str(v string) {
	_ = e.mp.EncodeString(v)
	e.field(v != "")
}

func (e *encoder) bytes(v []byte) {
	if len(v) > pieceSize {
		_ = e.mp.EncodeBytesLen(len(v))
		e.buf = AppendPieces(e.buf, v)
	} else {
		_ = e.mp.EncodeBytes(v)
	}
	e.field(v != nil)
}

// AppendPieces is append in pieces: a goroutine cannot be interrupted while it
// copies, and many megabytes at once would stop the whole program for longer
// than a call takes.
func AppendPieces(b, v []byte) []byte {
	for len(v) > pieceSize {
		b, v = append(b, v[:pieceSize]...), v[pieceSize:]
	}
	return append(b, v...)
}

func (e *encoder) node(id NodeID) {
	switch id {
	case e.self:
		_ = e.mp.EncodeNil()
		e.field(true)
	case NodeID{}:
		_ = e.mp.EncodeBytesLen(0)
		e.field(false)
	default:
		_ = e.mp.EncodeBytesLen(len(id))
		e.buf = append(e.buf, id[:]...)
		e.field(true)
	}
}

func (e *encoder) request(r *Request) {
	bits := uint64(r.Flags)
	if r.Repeat {
		bits |= bitRepeat
	}
	if r.Asked {
		bits |= bitAsked
	}
	e.begin(kindRequest)
	e.uint(r.ID)
	e.uint(uint64(r.Op))
	e.uint(uint64(r.Slot))
	e.int(r.Timeout)
	e.str(r.Key)
	e.uint(r.CallID.Number)
	e.node(r.CallID.Node)
	e.uint(r.Epoch)
	e.uint(r.Mark)
	e.bytes(r.Value)
	e.uint(bits)
	e.int(r.Expiry)
	e.uint(r.Version)
	e.bytes(r.Old)
	e.int(r.Delta)
	e.uint(uint64(r.Kind))
	e.str(r.Field)
	e.uint(uint64(r.Schema))
	e.uint(uint64(r.Hops))
	e.int(r.Sent)
	e.bytes(r.Trace)
	e.uint(r.Known)
	e.uint(r.After)
	e.end()
}

func (e *encoder) response(id uint64, r *Response) {
	text := r.Text
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	e.begin(kindResponse)
	e.uint(id)
	e.uint(uint64(r.Code))
	e.bool(r.Found)
	e.bytes(r.Value)
	e.uint(r.Version)
	e.uint(r.Mark)
	e.int(r.Expiry)
	e.int(r.Int)
	e.uint(uint64(r.Schema))
	e.bytes(r.Claim)
	e.node(r.Node)
	e.str(text)
	e.int(r.Lease)
	e.end()
}

func (e *encoder) append(a *Append) {
	e.begin(kindAppend)
	e.uint(uint64(a.Slot))
	e.uint(a.Epoch)
	e.uint(a.Prev)
	e.uint(a.Version)
	e.uint(a.Mark)
	e.records(a.Records)
	e.uint(a.Call.Number)
	e.node(a.Call.Node)
	e.uint(uint64(a.Cause))
	e.uint(a.Session)
	e.bool(a.Result.Found)
	e.bytes(a.Result.Value)
	e.uint(a.Result.Version)
	e.int(a.Result.Expiry)
	e.int(a.Result.Int)
	e.uint(uint64(a.Result.Schema))
	e.uint(a.Answers)
	e.end()
}

func (e *encoder) ack(a *AppendAck) {
	e.begin(kindAck)
	e.uint(uint64(a.Slot))
	e.uint(a.Epoch)
	e.uint(a.Version)
	e.uint(a.Durable)
	e.uint(a.Session)
	e.bool(a.Gap)
	e.bool(a.Refused)
	e.bool(a.Short)
	e.end()
}

func (e *encoder) chunk(c *Chunk) {
	e.begin(kindChunk)
	e.uint(uint64(c.Slot))
	e.uint(c.Session)
	e.uint(uint64(c.Kind))
	e.uint(c.Seq)
	e.bool(c.Last)
	e.uint(c.Epoch)
	e.uint(c.Lo)
	e.uint(c.Hi)
	e.uint(c.Sum)
	e.uint(c.Count)
	e.bytes(c.Body)
	e.records(c.Records)
	e.end()
}

func (e *encoder) piece(p *piece) {
	e.begin(kindPiece)
	e.uint(uint64(p.total))
	e.uint(uint64(p.off))
	e.bytes(p.body)
	e.end()
}

// body writes the kinds that carry one opaque value.
func (e *encoder) body(k kind, b []byte) {
	e.begin(k)
	e.bytes(b)
	e.end()
}

func (e *encoder) records(rs []Record) {
	_ = e.mp.EncodeArrayLen(len(rs))
	outer := e.arr
	for i := range rs {
		r := &rs[i]
		e.arr = e.open()
		e.str(r.Key)
		e.uint(r.Version)
		e.bytes(r.Value)
		e.uint(uint64(r.Kind))
		e.bool(r.Tombstone)
		e.str(r.Field)
		e.int(r.Expiry)
		e.uint(r.Origin)
		e.uint(uint64(r.Schema))
		e.uint(uint64(r.Label))
		e.shut()
	}
	e.arr = outer
	e.field(len(rs) != 0)
}

// Sizes are upper bounds of what an encoded message takes, close enough to
// choose its batch and to refuse what is too large.
const (
	sizeRequest  = 212
	sizeResponse = 128
	sizeAppend   = 192
	sizeAck      = 64
	sizeChunk    = 128
	sizeRecord   = 80
)

func recordsSize(rs []Record) int {
	n := 0
	for i := range rs {
		n += sizeRecord + len(rs[i].Key) + len(rs[i].Field) + len(rs[i].Value)
	}
	return n
}
