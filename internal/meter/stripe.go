package meter

import "unsafe"

// Stripes is over how many places a counter that all processors add to is
// spread.
const Stripes = 16

// Stripe returns a number below Stripes that goroutines running at the same
// time mostly do not share: it comes from where the caller's stack is. It takes
// a nanosecond.
func Stripe() uint {
	var here byte
	return uint(uint64(uintptr(unsafe.Pointer(&here))>>12) * 0x9e3779b97f4a7c15 >> 60)
}

// Sampled reports whether the nth event of a counter is among the one in rate,
// that are looked at closely. They are spread, by multiples of the golden
// ratio, so that no short pattern in the events escapes them.
func Sampled(n, rate uint64) bool { return n*0x9e3779b97f4a7c15 < 1<<63/rate<<1 }
