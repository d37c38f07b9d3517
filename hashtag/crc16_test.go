package hashtag

import (
	"fmt"
	"strings"
	"testing"
)

// crc16Bytewise is the usual table-driven loop, for comparison.
func crc16Bytewise(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc = crc<<8 ^ tables[0][s[i]^byte(crc>>8)]
	}
	return crc
}

var sink uint16

func BenchmarkCRC16(b *testing.B) {
	for _, size := range []int{3, 7, 8, 12, 16, 24, 64, 256, 4096} {
		key := strings.Repeat("slotmesh", size/8+1)[:size]
		for _, impl := range []struct {
			name string
			crc  func(string) uint16
		}{{"sliced", crc16}, {"bytewise", crc16Bytewise}} {
			b.Run(fmt.Sprintf("impl=%s/size=%d", impl.name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					sink = impl.crc(key)
				}
			})
		}
	}
}

func BenchmarkSlot(b *testing.B) {
	for _, key := range []string{"mykey", "{user1000}.following", "session:5f2b1c9e-6d1e-4c9e-9a51-8d7f3f0a2b11"} {
		b.Run(fmt.Sprintf("size=%d", len(key)), func(b *testing.B) {
			for b.Loop() {
				sink = Slot(key)
			}
		})
	}
}
