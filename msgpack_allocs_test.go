// The race detector's pools forget at random.

//go:build !race

package slotmesh

import (
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

func TestMsgpackAllocatesNoMoreThanTheLibrary(t *testing.T) {
	short := chain{Next: &chain{}}
	data, err := msgpack.Marshal(short)
	if err != nil {
		t.Fatal(err)
	}
	var into chain
	plain := testing.AllocsPerRun(100, func() { _, _ = msgpack.Marshal(short); _ = msgpack.Unmarshal(data, &into) })
	ours := testing.AllocsPerRun(100, func() { _, _ = marshalMsgpack(short); _ = unmarshalMsgpack(data, &into) })
	if ours > plain {
		t.Errorf("there and back allocates %v times, the library by itself %v times", ours, plain)
	}
}
