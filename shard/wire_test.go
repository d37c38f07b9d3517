package shard_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

func wireClaims() []*shard.Claim {
	return []*shard.Claim{
		{Primary: shard.NewNodeID(1, 0)},
		{
			Slot: 16383, Epoch: shard.MaxEpoch, Rev: 1<<32 - 1,
			Primary: shard.NewNodeID(1, 2), Backups: ids(2, 3), Witnesses: ids(4, 5), Base: ids(1, 2, 9),
			Lineage: []uint64{1, 1 << 40, 1<<64 - 1},
		},
		{Slot: 300, Epoch: 7, Primary: shard.NewNodeID(3, 4), Witnesses: ids(1), Lineage: []uint64{5}},
	}
}

func TestClaimsSurviveTheWire(t *testing.T) {
	want := wireClaims()
	batch := shard.AppendClaims([]byte("before"), want)[len("before"):]
	got, err := shard.DecodeClaims(batch, len(want))
	if err != nil {
		t.Fatalf("DecodeClaims = %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeClaims = %v, want %v", got, want)
	}

	first, rest, err := shard.DecodeClaim(batch)
	if err != nil || !reflect.DeepEqual(first, want[0]) {
		t.Errorf("DecodeClaim = %v, %v, want %v", first, err, want[0])
	}
	if want := shard.AppendClaims(nil, want[1:]); !bytes.Equal(rest, want) {
		t.Errorf("DecodeClaim leaves %x, want %x", rest, want)
	}
}

// Claims are read by other releases and from disk: these bytes never change.
func TestWireBytes(t *testing.T) {
	c := &shard.Claim{
		Slot: 300, Epoch: 7, Rev: 2, Primary: shard.NewNodeID(1, 2),
		Backups: ids(3), Witnesses: ids(4), Base: ids(5), Lineage: []uint64{6},
	}
	want := "51" + "01" + "ac02" + "07" + "02" + "01010101" +
		"00000000000000010000000000000002" + "00000000000000030000000000000000" +
		"00000000000000040000000000000000" + "00000000000000050000000000000000" + "0600000000000000"
	if got := hex.EncodeToString(c.Append(nil)); got != want {
		t.Errorf("Append = %s\nwant     %s", got, want)
	}
}

func TestDecodeSkipsLaterFields(t *testing.T) {
	want := wireClaims()
	var batch []byte
	for _, c := range want {
		_, n := binary.Uvarint(c.Append(nil))
		body := append(c.Append(nil)[n:], "a later release's field"...)
		batch = append(binary.AppendUvarint(batch, uint64(len(body))), body...)
	}
	if got, err := shard.DecodeClaims(batch, len(want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeClaims = %v, %v, want %v", got, err, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	sized := func(body ...byte) []byte { return append([]byte{byte(len(body))}, body...) }
	whole := wireClaims()[1].Append(nil)
	twice := (&shard.Claim{Primary: shard.NewNodeID(1, 0), Backups: ids(1)}).Append(nil)
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty body", sized(), "decode claim 1: truncated"},
		{"another version", sized(9), "decode claim 1: version 9, not 1"},
		{"cut short", whole[:len(whole)-1], "decode claim 1: truncated"},
		{"length beyond 64 bits", bytes.Repeat([]byte{0xff}, 11), "decode claim 1: truncated"},
		{"fields missing", sized(1, 0, 0), "decode claim 1: truncated"},
		{"slot", sized(1, 0x80, 0x80, 1), "decode claim 1: number out of range"},
		{"epoch", sized(1, 0, 0x80, 0x80, 0x80, 8), "decode claim 1: number out of range"},
		{"rev", sized(1, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10), "decode claim 1: number out of range"},
		{"count", sized(1, 0, 0, 0, 65, 0, 0, 0), "decode claim 1: number out of range"},
		{"fewer members than counted", sized(1, 0, 0, 0, 64, 0, 0, 0), "decode claim 1: truncated"},
		{"named twice", twice, "decode claim 1: group: member 1 named twice"},
		{"more than asked for", shard.AppendClaims(nil, wireClaims()), "decode claim 3: more than 3 claims"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := shard.DecodeClaims(append(wireClaims()[0].Append(nil), tt.b...), 3)
			var decode *shard.DecodeError
			if !errors.As(err, &decode) || err.Error() != tt.want {
				t.Errorf("DecodeClaims = %v, want %s", err, tt.want)
			}
		})
	}
	if _, _, err := shard.DecodeClaim(nil); err == nil {
		t.Error("DecodeClaim(nil) gives no error")
	}
}

// A list that a caller appends to must not write into its neighbour: all lists
// of a decoded claim share one array.
func TestDecodedListsAreApart(t *testing.T) {
	c, _, err := shard.DecodeClaim(wireClaims()[1].Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(c.Backups, shard.NewNodeID(99, 0))
	if got, want := c.Witnesses[0], shard.NewNodeID(4, 0); got != want {
		t.Errorf("first witness = %v after append to backups, want %v", got, want)
	}
}

func FuzzDecodeClaims(f *testing.F) {
	f.Add(shard.AppendClaims(nil, wireClaims()))
	for _, c := range wireClaims() {
		f.Add(c.Append(nil))
	}
	f.Add([]byte{8, 1, 0, 0, 0, 64, 64, 64, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		claims, err := shard.DecodeClaims(b, 100)
		if err != nil {
			if claims != nil || !errors.As(err, new(*shard.DecodeError)) {
				t.Fatalf("DecodeClaims = %v, %v", claims, err)
			}
			return
		}
		for _, c := range claims {
			if err := c.Validate(); err != nil {
				t.Fatalf("decoded %v: %v", c, err)
			}
		}
		again, err := shard.DecodeClaims(shard.AppendClaims(nil, claims), 100)
		if err != nil || !reflect.DeepEqual(again, claims) {
			t.Fatalf("%v came back as %v, %v", claims, again, err)
		}
	})
}

func BenchmarkDecodeClaims(b *testing.B) {
	var claims []*shard.Claim
	for slot := range shard.Slots {
		claims = append(claims, &shard.Claim{
			Slot: uint16(slot), Epoch: 3, Primary: shard.NewNodeID(1, 2),
			Backups: ids(2), Witnesses: ids(3), Lineage: []uint64{4},
		})
	}
	table := shard.AppendClaims(nil, claims)
	b.SetBytes(int64(len(table)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := shard.DecodeClaims(table, shard.Slots); err != nil {
			b.Fatal(err)
		}
	}
}
