package slotmesh

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

type chain struct {
	Next *chain
	Any  any
	Map  map[string]chain
}

// chained is a value of n levels, each within the other by wrap.
func chained(n int, wrap func(any) any) any {
	var v any = int8(1)
	for range n {
		v = wrap(v)
	}
	return v
}

func TestMsgpackRefusesDeepValues(t *testing.T) {
	const levels = 1 << 19
	for _, tt := range []struct {
		name string
		data []byte
		into any
	}{
		{"arrays", bytes.Repeat([]byte{0x91}, levels), new(any)},
		{"long arrays", bytes.Repeat([]byte{0xdd, 0, 0, 0, 1}, levels), new(any)},
		{"maps", bytes.Repeat([]byte("\x81\xa1k"), levels), new(any)},
		{"typed maps", bytes.Repeat([]byte("\x81\xa3Map\x81\xa1k"), levels), new(chain)},
		{"structs", bytes.Repeat([]byte("\x81\xa4Next"), levels), new(chain)},
		{"maps behind the headers of extensions", bytes.Repeat([]byte("\x81\xa3Map\xd4\x05\x81\xa1k"), levels), new(chain)},
		{"in an unknown field", append([]byte("\x81\xa1x"), bytes.Repeat([]byte{0x91}, levels)...), new(chain)},
		{"in a field", append([]byte("\x81\xa3Any"), bytes.Repeat([]byte{0x91}, levels)...), new(chain)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Msgpack().decode("k", tt.data, tt.into); !errors.Is(err, ErrCodec) || !errors.Is(err, errDeep) {
				t.Errorf("decode = %v, want ErrCodec for its depth", err)
			}
		})
	}
	self := &chain{}
	self.Next = self
	list := []any{nil}
	list[0] = list
	for _, v := range []any{self, list, map[string]any{"k": list}} {
		if _, err := Msgpack().encode("k", v); !errors.Is(err, ErrCodec) || !errors.Is(err, errDeep) {
			t.Errorf("encode of a %T that contains itself = %v, want ErrCodec for its depth", v, err)
		}
	}
}

// A length alone must not make anybody give memory: the first of these would
// take 64 GiB.
func TestMsgpackRefusesLengthsThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		into any
	}{
		{"array", []byte("\xdd\xff\xff\xff\xff"), new(any)},
		{"typed array", []byte("\xdd\xff\xff\xff\xff\x01"), new([]int)},
		{"map", []byte("\xdf\xff\xff\xff\xff"), new(any)},
		{"structs", []byte("\xdd\x7f\xff\xff\xff\x80"), new([]chain)},
		{"short array", []byte("\xdc\xff\xff\x01"), new(any)},
		{"short map", []byte("\xde\xff\xff"), new(map[string]int)},
		{"bytes", []byte("\xc6\xff\xff\xff\xff"), new(any)},
		{"typed bytes", []byte("\xc6\x7f\xff\xff\xff\x01"), new([]byte)},
		{"string", []byte("\xdb\xff\xff\xff\xff"), new(string)},
		{"bytes in a struct", []byte("\x81\xa3Any\xc6\xff\xff\xff\xff"), new(chain)},
		{"extension", []byte("\xc9\xff\xff\xff\xff\xff"), new(any)},
		{"arrays in arrays", bytes.Repeat([]byte("\xdd\x00\x00\x03\xff"), 1024), new(any)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Msgpack().decode("k", tt.data, tt.into); !errors.Is(err, ErrCodec) || !errors.Is(err, errLengths) {
				t.Errorf("decode = %v, want ErrCodec for its lengths", err)
			}
		})
	}
	// The bytes of these look like lengths, or are the most there can be.
	for _, v := range []any{
		make([]int8, 1<<16), make([]int8, 70_000), bytes.Repeat([]byte{0xdd}, 100), bytes.Repeat([]byte{0xc6}, 70_000), int64(-0x22222223), []uint32{0xdddddddd, 0xdfffffff, 0xc6c6c6c6, 0xdbffffff},
		map[string]string{string(bytes.Repeat([]byte{0xdf}, 40)): "\xdd\xff\xff\xff\xff", "k": strings.Repeat("\xdb", 70_000)}, [][]bool{make([]bool, 40_000), make([]bool, 300)},
	} {
		data, err := Msgpack().encode("k", v)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(v))
		if err := Msgpack().decode("k", data, got.Interface()); err != nil || !reflect.DeepEqual(got.Elem().Interface(), v) {
			t.Errorf("decode of a %T = %v, want what was encoded", v, err)
		}
	}
}

func FuzzMsgpack(f *testing.F) {
	for _, s := range []string{"\x81\xa4Next\x81\xa3Any\x92\x01\xc0", "\xdd\x00\x00\x00\x01\xc3", "\x81\xa3Map\xd4\x05\x81\xa1k\x80", "\xd6\xff\x00\x00\x00\x01", "\xc6\xff\xff\xff\xff", "\xdb\xff\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(any), new(chain), new([]chain)} {
			if err := Msgpack().decode("k", data, into); err != nil && !errors.Is(err, ErrCodec) {
				t.Errorf("decode = %v, want nil or ErrCodec", err)
			}
		}
	})
}

// What can be written can be read, and it is more than anybody needs.
func TestMsgpackReadsWhatItWrites(t *testing.T) {
	for name, wrap := range map[string]func(any) any{
		"arrays": func(v any) any { return []any{v} },
		"maps":   func(v any) any { return map[string]any{"k": v} },
		"fields": func(v any) any { return map[string]any{"Any": []any{v}} },
	} {
		written := 0
		for _, n := range []int{1, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 20_000} {
			v := chained(n, wrap)
			data, err := Msgpack().encode("k", v)
			if err != nil {
				break
			}
			written = n
			var got any
			if err := Msgpack().decode("k", data, &got); err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("%d levels of %s were written and read as something else (%v)", n, name, err)
			}
		}
		if written < 1000 || written == 20_000 {
			t.Errorf("%d levels of %s could be written, want a thousand and not twenty", written, name)
		}
	}
}

// A wide value is not a deep one, and costs no more allocations than before.
func TestMsgpackReadsWideValues(t *testing.T) {
	wide := make([]any, 200_000)
	for i := range wide {
		wide[i] = []any{int8(1)}
	}
	data, err := Msgpack().encode("k", wide)
	if err != nil {
		t.Fatal(err)
	}
	var got []any
	if err := Msgpack().decode("k", data, &got); err != nil || !reflect.DeepEqual(got, wide) {
		t.Errorf("decode of a wide value = %v, want what was encoded", err)
	}
}
