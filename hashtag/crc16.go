package hashtag

const polynomial = 0x1021 // CRC16/XMODEM, highest power first

// tables[k][b] is the CRC of byte b followed by k zero bytes. A CRC is linear,
// so the CRC of eight bytes is the sum of one entry of each table: eight
// independent look-ups instead of a chain of eight, which is what makes
// slicing-by-8 fast (Kounavis and Berry, 2005). Never written after start.
var tables = makeTables()

func makeTables() (t [8][256]uint16) {
	for b := range 256 {
		crc := uint16(b) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*polynomial
		}
		t[0][b] = crc
	}
	for k := 1; k < len(t); k++ {
		for b := range 256 {
			crc := t[k-1][b]
			t[k][b] = crc<<8 ^ t[0][crc>>8]
		}
	}
	return t
}

// crc16 is on the hot path of every call: see TestSlotDoesNotAllocate.
func crc16(s string) uint16 {
	var crc uint16
	for len(s) >= 8 {
		crc = tables[7][s[0]^byte(crc>>8)] ^ tables[6][s[1]^byte(crc)] ^
			tables[5][s[2]] ^ tables[4][s[3]] ^
			tables[3][s[4]] ^ tables[2][s[5]] ^
			tables[1][s[6]] ^ tables[0][s[7]]
		s = s[8:]
	}
	for i := range len(s) {
		crc = crc<<8 ^ tables[0][s[i]^byte(crc>>8)]
	}
	return crc
}
