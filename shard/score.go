package shard

import "math/bits"

// A seat is a member as the matching sees it.
type seat struct {
	*Member
	hash   uint64
	weight uint64 // from 1 to MaxWeight
	price  uint64 // by which a logarithm is multiplied: onePrice/weight
	zone   int    // seats of one zone have one number, counted from 0
	// keys are what shuffle deals by; those of odd places are odd.
	keys [2 * shuffles]uint64
}

// onePrice is the price of weight 1.
const onePrice = 1 << 50

// cost says how badly slot suits s at a price; the seat of least cost would have
// it, were there no bounds.
//
// It is weighted rendezvous hashing: -log(h)/weight for a hash h of slot and
// seat is least for a seat with a probability in proportion to its weight, and
// a seat that comes or goes changes nothing between the others. The numbers are
// integers because floating point differs between processors in its last bits,
// and nodes must not differ.
func cost(log, price uint64) uint64 {
	high, _ := bits.Mul64(log, price)
	return high
}

// log returns what cost wants to know of slot: the negative logarithm of a hash
// of slot and seat.
//
// The first bits of the hash are a shuffle of the slots, so that a seat has
// each number once. Of numbers drawn one by one a seat may have many low ones:
// loads differ more before the bounds even them, and a join moves 1 % more.
func (s *seat) log(slot uint16) uint64 {
	fine := mix(s.hash^mix(uint64(slot)+1)) >> slotBits
	return negativeLog2(s.shuffle(slot)<<(64-slotBits) | fine)
}

const (
	slotBits = 14 // 1<<slotBits is Slots
	shuffles = 3
)

// dealer returns the keys of a seat with such a hash.
func dealer(hash uint64) (keys [2 * shuffles]uint64) {
	for i := range keys {
		keys[i] = mix(hash + uint64(i+1)*0x9e3779b97f4a7c15)
		if i%2 == 1 {
			keys[i] |= 1
		}
	}
	return keys
}

// shuffle returns the place of slot in the seat's order of slots. Each step can
// be undone, so no two slots have a place in common.
func (s *seat) shuffle(slot uint16) uint64 {
	x := uint64(slot)
	for i := 0; i < len(s.keys); i += 2 {
		x = (x + s.keys[i]) * s.keys[i+1] % Slots
		x ^= x >> (slotBits / 2)
	}
	return x
}

// logBits is the number of bits after the point of a logarithm.
const logBits = 57

// logTable[i] is the binary logarithm of 1+i/256. Never written after start.
var logTable = makeLogTable()

// makeLogTable finds one bit after another: squaring a number doubles its
// logarithm.
func makeLogTable() (table [257]uint64) {
	for i := range 256 {
		x := uint64(1)<<63 | uint64(i)<<55 // in [1, 2), 63 bits after the point
		for range logBits {
			high, low := bits.Mul64(x, x)
			table[i] <<= 1
			if high>>63 == 1 { // the square is 2 or more
				table[i]++
				x = high
			} else {
				x = high<<1 | low>>63
			}
		}
	}
	table[256] = 1 << logBits
	return table
}

// negativeLog2 returns -log2(h/2^64), with logBits bits after the point. It
// interpolates between the entries of logTable, which is exact to 17 bits and
// keeps the order of hashes.
func negativeLog2(h uint64) uint64 {
	h |= 1 // 0 has no logarithm
	zeros := bits.LeadingZeros64(h)
	h <<= zeros
	i := h >> 55 & 0xff
	high, low := bits.Mul64(logTable[i+1]-logTable[i], h&(1<<55-1))
	return uint64(zeros+1)<<logBits - logTable[i] - (high<<9 | low>>55)
}
