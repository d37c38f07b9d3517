package transport

import (
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// skip ends where the library's own ends, and fails where that fails.
func FuzzSkip(f *testing.F) {
	for _, v := range []any{
		nil, true, 1, -1, 200, 1 << 20, int64(1) << 40, -(1 << 20), float32(1), 2.5, "short", string(make([]byte, 300)),
		[]byte("bytes"), make([]byte, 300), []int{1, 2, 3}, make([]int, 20), map[string]any{"a": []any{1, map[string]string{"b": "c"}}},
	} {
		b, err := msgpack.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, ext := range [][]byte{
		{0xd4, 1, 2}, {0xd5, 1, 2, 3}, {0xd6, 1, 2, 3, 4, 5}, append([]byte{0xd7}, make([]byte, 9)...), append([]byte{0xd8}, make([]byte, 17)...),
		{0xc7, 1, 2, 3}, {0xc8, 0, 1, 2, 3}, {0xc9, 0, 0, 0, 1, 2, 3}, {0xde, 0, 1, 1, 2}, {0xdf, 0, 0, 0, 1, 1, 2}, {0xc1},
		{0xdb, 0, 0, 0, 1, 'a'}, {0xc6, 0, 0, 0, 1, 'a'}, {0xdd, 0, 0, 0, 1, 1},
	} {
		f.Add(ext)
		f.Add(ext[:len(ext)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		ours := newDecoder(NodeID{}, testMax, testMax)
		ours.src = source{b: b}
		ours.skip(1)
		theirs := source{b: b}
		err := msgpack.NewDecoder(&theirs).Skip()
		if (ours.err == nil) != (err == nil) {
			t.Fatalf("ours %v, theirs %v", ours.err, err)
		}
		if err == nil && ours.src.off != theirs.off {
			t.Fatalf("ours ends at %d, theirs at %d", ours.src.off, theirs.off)
		}
	})
}
