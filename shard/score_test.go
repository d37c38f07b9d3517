package shard

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestNegativeLog2(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hashes := []uint64{0, 1, 2, 3, 1<<63 - 1, 1 << 63, 1<<63 + 1, 1<<64 - 1}
	for range 1000 {
		hashes = append(hashes, rng.Uint64()>>rng.IntN(64))
	}
	for _, h := range hashes {
		got := float64(negativeLog2(h)) / (1 << logBits)
		if want := 64 - math.Log2(float64(h|1)); math.Abs(got-want) > 1e-5 {
			t.Errorf("negativeLog2(%#x) = %.7f, want %.7f", h, got, want)
		}
		if h > 2 && negativeLog2(h) > negativeLog2(h-1) {
			t.Errorf("negativeLog2(%#x) is above that of the number before it", h)
		}
	}
}

// The plan of other releases rests on these: they never change.
func TestHashValues(t *testing.T) {
	for _, tt := range []struct {
		what      string
		got, want uint64
	}{
		{"mix(1)", mix(1), 0x5692161d100b05e5},
		{`hashString("")`, hashString(""), 0xf52a15e9a9b5e89b},
		{`hashString("node-1")`, hashString("node-1"), 0x13950d4ef307e655},
		{"negativeLog2(3<<61)", negativeLog2(3 << 61), 0x2d47fcb8c0852f1},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %#x, want %#x", tt.what, tt.got, tt.want)
		}
	}
}

// A seat has every hash number once, and two seats agree on a number no more
// often than chance has it.
func TestShuffleIsOne(t *testing.T) {
	var before [Slots]uint64
	for _, name := range []string{"", "a", "b", "node-1", "node-2"} {
		s := seat{keys: dealer(hashString(name))}
		var seen [Slots]bool
		same := 0
		for slot := range uint16(Slots) {
			x := s.shuffle(slot)
			if seen[x] {
				t.Fatalf("shuffle of %q gives %d twice", name, x)
			}
			seen[x] = true
			if x == before[slot] {
				same++
			}
			before[slot] = x
		}
		if same > 8 { // 1 is to be expected
			t.Errorf("shuffle of %q has %d places in common with the one before", name, same)
		}
	}
}
