package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// decoder reads messages of one stream. What it fills in aliases the frame
// and is valid until the next one, where not said otherwise. The first error
// sticks; every length is checked before anything is allocated for it.
type decoder struct {
	peer NodeID // what a nil node ID means
	max  int    // bound of a value
	body int    // bound of claims and control bodies

	src  source
	mp   *msgpack.Decoder
	left int // fields of the array being read
	err  error

	req Request
	rsp Response
	app Append
	ack AppendAck
	chk Chunk
	rec []Record // reused by app and chk
}

// source is the msgpack decoder's reader: it hands out the frame's bytes
// without buffering.
type source struct {
	b   []byte
	off int
}

func (s *source) ReadByte() (byte, error) {
	if s.off >= len(s.b) {
		return 0, io.ErrUnexpectedEOF
	}
	s.off++
	return s.b[s.off-1], nil
}

func (s *source) UnreadByte() error { s.off--; return nil }

func (s *source) Read(p []byte) (int, error) {
	if s.off >= len(s.b) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.b[s.off:])
	s.off += n
	return n, nil
}

// uint reads an unsigned number in one of msgpack's own forms for it, which
// is what nearly every field is. The library's way through Read and its
// buffer took a ninth of a call.
func (s *source) uint() (v uint64, ok bool) {
	b := s.b[s.off:]
	if len(b) == 0 {
		return 0, false
	}
	switch c := b[0]; {
	case c <= msgpcode.PosFixedNumHigh:
		s.off++
		return uint64(c), true
	case c == msgpcode.Uint8 && len(b) >= 2:
		s.off += 2
		return uint64(b[1]), true
	case c == msgpcode.Uint16 && len(b) >= 3:
		s.off += 3
		return uint64(binary.BigEndian.Uint16(b[1:])), true
	case c == msgpcode.Uint32 && len(b) >= 5:
		s.off += 5
		return uint64(binary.BigEndian.Uint32(b[1:])), true
	case c == msgpcode.Uint64 && len(b) >= 9:
		s.off += 9
		return binary.BigEndian.Uint64(b[1:]), true
	}
	return 0, false
}

func newDecoder(peer NodeID, max, body int) *decoder {
	d := &decoder{peer: peer, max: max, body: body}
	d.mp = msgpack.NewDecoder(&d.src)
	return d
}

// next cuts the first message off batch.
func next(batch []byte) (k kind, msg, rest []byte, err error) {
	if len(batch) < prefixSize {
		return 0, nil, nil, fmt.Errorf("%w: %d stray bytes", ErrBadFrame, len(batch))
	}
	n := int(binary.BigEndian.Uint32(batch))
	if n < 1 || n > len(batch)-4 {
		return 0, nil, nil, fmt.Errorf("%w: length %d of %d", ErrBadFrame, n, len(batch)-4)
	}
	return kind(batch[4]), batch[prefixSize : 4+n], batch[4+n:], nil
}

// open starts a message.
func (d *decoder) open(msg []byte) {
	d.src = source{b: msg}
	d.err = nil
	d.left = d.arrayLen()
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrBadFrame}, args...)...)
	}
}

func (d *decoder) arrayLen() int {
	if b := d.src.b[d.src.off:]; len(b) >= 3 && b[0] == msgpcode.Array16 { // as our encoder writes it
		d.src.off += 3
		return int(binary.BigEndian.Uint16(b[1:]))
	}
	n, err := d.mp.DecodeArrayLen()
	if err != nil {
		d.fail("array: %v", err)
		return 0
	}
	return max(n, 0)
}

// more says whether another field is there, and counts it.
func (d *decoder) more() bool {
	if d.left == 0 || d.err != nil {
		return false
	}
	d.left--
	return true
}

func (d *decoder) uint(limit uint64) uint64 {
	if !d.more() {
		return 0
	}
	v, ok := d.src.uint()
	if !ok {
		var err error
		if v, err = d.mp.DecodeUint64(); err != nil {
			d.fail("number: %v", err)
			return 0
		}
	}
	if v > limit {
		d.fail("number %d above %d", v, limit)
		return 0
	}
	return v
}

func (d *decoder) u64() uint64 { return d.uint(math.MaxUint64) }
func (d *decoder) u32() uint32 { return uint32(d.uint(math.MaxUint32)) }
func (d *decoder) u16() uint16 { return uint16(d.uint(math.MaxUint16)) }
func (d *decoder) u8() uint8   { return uint8(d.uint(math.MaxUint8)) }

func (d *decoder) int() int64 {
	if !d.more() {
		return 0
	}
	if v, ok := d.src.uint(); ok {
		return int64(v)
	}
	v, err := d.mp.DecodeInt64()
	if err != nil {
		d.fail("number: %v", err)
		return 0
	}
	return v
}

func (d *decoder) bool() bool {
	if !d.more() {
		return false
	}
	v, err := d.mp.DecodeBool()
	if err != nil {
		d.fail("bool: %v", err)
		return false
	}
	return v
}

// bytes returns the next byte string, aliasing the frame; nil stays nil.
func (d *decoder) bytes(limit int) []byte {
	if !d.more() {
		return nil
	}
	n, err := d.mp.DecodeBytesLen()
	switch {
	case err != nil:
		d.fail("bytes: %v", err)
		return nil
	case n < 0:
		return nil
	case n > limit:
		d.fail("%d bytes above %d", n, limit)
		return nil
	case n > len(d.src.b)-d.src.off:
		d.fail("%d bytes of %d", n, len(d.src.b)-d.src.off)
		return nil
	}
	b := d.src.b[d.src.off : d.src.off+n : d.src.off+n]
	d.src.off += n
	return b
}

// str is bytes as a string that aliases the frame.
func (d *decoder) str(limit int) string {
	b := d.bytes(limit)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (d *decoder) node() (id NodeID) {
	if d.left == 0 || d.err != nil {
		return id
	}
	switch b := d.bytes(len(id)); {
	case b == nil && d.err == nil:
		return d.peer
	case len(b) == len(id):
		copy(id[:], b)
	case len(b) != 0:
		d.fail("node ID of %d bytes", len(b))
	}
	return id
}

func (d *decoder) request() *Request {
	r := &d.req
	r.ID = d.u64()
	r.Op = Op(d.u8())
	r.Slot = d.u16()
	r.Timeout = d.int()
	r.Key = d.str(MaxKey)
	r.CallID.Number = d.u64()
	r.CallID.Node = d.node()
	r.Epoch = d.u64()
	r.Mark = d.u64()
	r.Value = d.bytes(d.max)
	bits := d.u64()
	r.Flags, r.Repeat, r.Asked = uint16(bits), bits&bitRepeat != 0, bits&bitAsked != 0
	r.Expiry = d.int()
	r.Version = d.u64()
	r.Old = d.bytes(d.max)
	r.Delta = d.int()
	r.Kind = d.u8()
	r.Field = d.str(MaxKey)
	r.Schema = d.u32()
	r.Hops = d.u8()
	r.Sent = d.int()
	r.Trace = d.bytes(MaxTrace)
	r.Known = d.u64()
	r.After = d.u64()
	return r
}

// responseID reads the first field of a response, so that an answer nobody
// waits for costs no more.
func (d *decoder) responseID() uint64 { return d.u64() }

// response reads the rest.
func (d *decoder) response(id uint64) *Response {
	r := &d.rsp
	r.ID = id
	r.Code = Code(d.u8())
	r.Found = d.bool()
	r.Value = d.bytes(d.max)
	r.Version = d.u64()
	r.Mark = d.u64()
	r.Expiry = d.int()
	r.Int = d.int()
	r.Schema = d.u32()
	r.Claim = d.bytes(maxClaim)
	r.Node = d.node()
	r.Text = d.str(MaxText)
	r.Lease = d.int()
	return r
}

func (d *decoder) append() *Append {
	a := &d.app
	a.Slot = d.u16()
	a.Epoch = d.u64()
	a.Prev = d.u64()
	a.Version = d.u64()
	a.Mark = d.u64()
	a.Records = d.records()
	a.Call.Number = d.u64()
	a.Call.Node = d.node()
	a.Cause = d.u8()
	a.Session = d.u64()
	a.Result.Found = d.bool()
	a.Result.Value = d.bytes(d.max)
	a.Result.Version = d.u64()
	a.Result.Expiry = d.int()
	a.Result.Int = d.int()
	a.Result.Schema = d.u32()
	a.Answers = d.u64()
	return a
}

func (d *decoder) appendAck() *AppendAck {
	a := &d.ack
	a.Slot = d.u16()
	a.Epoch = d.u64()
	a.Version = d.u64()
	a.Durable = d.u64()
	a.Session = d.u64()
	a.Gap = d.bool()
	a.Refused = d.bool()
	a.Short = d.bool()
	return a
}

func (d *decoder) chunk() *Chunk {
	c := &d.chk
	c.Slot = d.u16()
	c.Session = d.u64()
	c.Kind = d.u8()
	c.Seq = d.u64()
	c.Last = d.bool()
	c.Epoch = d.u64()
	c.Lo = d.u64()
	c.Hi = d.u64()
	c.Sum = d.u64()
	c.Count = d.u64()
	c.Body = d.bytes(d.max)
	c.Records = d.records()
	return c
}

func (d *decoder) piece() (p piece) {
	p.total = int(d.uint(math.MaxInt32))
	p.off = int(d.uint(math.MaxInt32))
	p.body = d.bytes(pieceSize)
	return p
}

// keepRecords is how many records' room a stream keeps after it had more.
const keepRecords = 1024

// records reads a nested array of records into d.rec.
func (d *decoder) records() []Record {
	if !d.more() {
		return nil
	}
	n := d.arrayLen()
	if n > MaxRecords || n > len(d.src.b)-d.src.off {
		d.fail("%d records", n)
		return nil
	}
	if n == 0 || d.err != nil {
		return nil
	}
	if cap(d.rec) < n || cap(d.rec) > keepRecords && n <= keepRecords {
		d.rec = make([]Record, max(n, 16))
	}
	rs := d.rec[:n]
	outer := d.left
	for i := range rs {
		r := &rs[i]
		d.left = d.arrayLen()
		r.Key = d.str(MaxKey)
		r.Version = d.u64()
		r.Value = d.bytes(d.max)
		r.Kind = d.u8()
		r.Tombstone = d.bool()
		r.Field = d.str(MaxKey)
		r.Expiry = d.int()
		r.Origin = d.u64()
		r.Schema = d.u32()
		r.Label = d.u8()
		d.skip(d.left)
		if d.err != nil {
			return nil
		}
	}
	d.left = outer
	return rs
}
