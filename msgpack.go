package slotmesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Msgpack is the codec of typed views that are told no other: compact, and it
// takes any struct as it is, fields by name. See
// https://msgpack.uptrace.dev for the tags it heeds.
//
// Values nested deeper than about two thousand levels, and those that contain
// themselves, give ErrCodec, in both directions.
func Msgpack() Codec { return Codec{codecMsgpack, marshalMsgpack, unmarshalMsgpack} }

// The library calls itself for each level of a value, so that a small value of
// many levels, or one that contains itself, would overflow the stack, which no
// recover stops. How deep bytes nest depends on the type that they are decoded
// into: before a map, for instance, an extension's header is skipped. So nothing
// here judges bytes. Instead the reader and the writer, which each level passes,
// look from time to time how deep the stack of their callers is.
const (
	depthEvery = 1024 // calls between two looks, each of which may be a level
	// Frames on the stack, of which a level takes about four; all calls of the
	// program above them count. Reading may go deeper, so that what was written
	// can be read.
	maxWriteFrames = 10_000
	maxReadFrames  = 2 * (maxWriteFrames + 4*depthEvery)
)

var errDeep = errors.New("value is nested too deep")

// depth counts calls, and every so often compares the stack with a limit.
type depth struct {
	calls uint32
	pc    [1]uintptr
}

// check costs what it takes to count, and each depthEvery calls some ten
// nanoseconds per frame of the stack.
func (d *depth) check(maxFrames int) error {
	if d.calls++; d.calls%depthEvery == 0 && runtime.Callers(maxFrames, d.pc[:]) > 0 {
		return errDeep
	}
	return nil
}

var errLengths = errors.New("lengths are of more than there is")

// boundedReader is a bytes.Reader that fails where the stack is too deep, where all
// lengths of arrays and maps together are more than there are bytes, and where that
// of a string, of bytes or of an extension is more than is left: an element has one
// byte at least, but the library makes room for all beforehand.
type boundedReader struct {
	bytes.Reader
	depth
	last byte  // what ReadByte returned, if that was the last call, otherwise 0
	room int64 // bytes, less the lengths so far
}

func (r *boundedReader) ReadByte() (b byte, err error) {
	if err := r.check(maxReadFrames); err != nil {
		return 0, err
	}
	b, err = r.Reader.ReadByte()
	r.last = b
	return b, err
}

func (r *boundedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	switch last := r.last; {
	case n == 2 && (last == msgpcode.Array16 || last == msgpcode.Map16):
		r.room -= int64(binary.BigEndian.Uint16(b))
	case n == 4 && (last == msgpcode.Array32 || last == msgpcode.Map32):
		r.room -= int64(binary.BigEndian.Uint32(b))
	case n == 4 && (last == msgpcode.Bin32 || last == msgpcode.Str32 || last == msgpcode.Ext32):
		if int64(binary.BigEndian.Uint32(b)) > int64(r.Len()) {
			return 0, errLengths
		}
	}
	if r.last = 0; r.room < 0 {
		return 0, errLengths
	}
	return n, err
}

// shallowWriter is a bytes.Buffer that fails where the stack is too deep.
type shallowWriter struct {
	bytes.Buffer
	depth
}

func (w *shallowWriter) WriteByte(b byte) error {
	if err := w.check(maxWriteFrames); err != nil {
		return err
	}
	return w.Buffer.WriteByte(b)
}

func (w *shallowWriter) Write(b []byte) (int, error) {
	if err := w.check(maxWriteFrames); err != nil {
		return 0, err
	}
	return w.Buffer.Write(b)
}

func marshalMsgpack(v any) ([]byte, error) {
	enc := msgpack.GetEncoder()
	defer msgpack.PutEncoder(enc)
	var w shallowWriter
	enc.Reset(&w)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

func unmarshalMsgpack(data []byte, v any) error {
	dec := msgpack.GetDecoder()
	defer msgpack.PutDecoder(dec)
	r := boundedReader{room: int64(len(data))}
	r.Reset(data)
	dec.Reset(&r)
	return dec.Decode(v)
}
