package slotmesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Codec turns values into bytes and back. Both functions may be called from
// several goroutines at once.
type Codec struct {
	// ID is kept with every value, so that one written by another codec is
	// noticed rather than misread: 1 to 63 are slotmesh's, 64 to 127 are for
	// codecs of your own.
	ID uint8
	// Marshal returns the bytes of v, which is a T.
	Marshal func(v any) ([]byte, error)
	// Unmarshal fills v, which is a *T, and keeps nothing of data.
	Unmarshal func(data []byte, v any) error
}

const (
	codecMsgpack  = node.CodecMsgpack
	codecJSON     = 2
	codecProtobuf = node.CodecProtobuf
	firstOwnCodec = 64
	maxCodec      = 127
)

// JSON is encoding/json: larger and slower, and readable by anything.
func JSON() Codec { return Codec{codecJSON, json.Marshal, json.Unmarshal} }

// Protobuf makes a codec of the two functions of a protobuf library, without
// making slotmesh depend on one:
//
//	slotmesh.For[*pb.User](c, "user:", slotmesh.WithCodec(slotmesh.Protobuf(proto.Marshal, proto.Unmarshal)))
//
// M is the library's type of messages. T of the view is a pointer to a
// generated type.
func Protobuf[M any](marshal func(M) ([]byte, error), unmarshal func([]byte, M) error) Codec {
	if marshal == nil || unmarshal == nil {
		return Codec{ID: codecProtobuf} // refused by For
	}
	return Codec{
		ID: codecProtobuf,
		Marshal: func(v any) ([]byte, error) {
			m, ok := v.(M)
			if !ok {
				return nil, fmt.Errorf("%T is no message", v)
			}
			return marshal(m)
		},
		Unmarshal: func(data []byte, v any) error {
			p := reflect.ValueOf(v)
			if p.Kind() != reflect.Pointer || p.Elem().Kind() != reflect.Pointer {
				return fmt.Errorf("%T is no pointer to a message", v)
			}
			p.Elem().Set(reflect.New(p.Elem().Type().Elem()))
			m, ok := p.Elem().Interface().(M)
			if !ok {
				return fmt.Errorf("%s is no message", p.Elem().Type())
			}
			return unmarshal(data, m)
		},
	}
}

func (c Codec) validate() error {
	switch {
	case c.Marshal == nil || c.Unmarshal == nil:
		return fmt.Errorf("%w: codec %d lacks Marshal or Unmarshal", ErrInvalid, c.ID)
	case c.ID == 0 || c.ID > maxCodec || c.ID > codecProtobuf && c.ID < firstOwnCodec:
		return fmt.Errorf("%w: codec ID %d, want %d to %d", ErrInvalid, c.ID, firstOwnCodec, maxCodec)
	}
	return nil
}

var errCodecPanic = errors.New("codec panicked")

// encode and decode turn a codec's error, or its panic, into an ErrCodec.
func (c Codec) encode(key string, v any) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, codecError("encode", key, fmt.Errorf("%w: %v", errCodecPanic, p))
		}
	}()
	if data, err = c.Marshal(v); err != nil {
		return nil, codecError("encode", key, err)
	}
	return data, nil
}

func (c Codec) decode(key string, data []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = codecError("decode", key, fmt.Errorf("%w: %v", errCodecPanic, p))
		}
	}()
	if err = c.Unmarshal(data, v); err != nil {
		return codecError("decode", key, err)
	}
	return nil
}

func codecError(verb, key string, err error) error {
	return fmt.Errorf("%w: %s %s: %w", ErrCodec, verb, quoted(key), err)
}

// quoted is a key as errors name it.
func quoted(key string) string {
	if len(key) > 80 {
		return fmt.Sprintf("%q...", key[:80])
	}
	return fmt.Sprintf("%q", key)
}
