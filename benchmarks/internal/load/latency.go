package load

import (
	"math/bits"
	"time"
)

const (
	mantissa = 5 // bits: a bucket is at most 1/32 wide
	buckets  = 40 << mantissa
)

// Latencies counts durations in buckets. The zero value is empty.
type Latencies [buckets]uint32

// Add counts d.
func (l *Latencies) Add(d time.Duration) { l[bucket(uint64(d))]++ }

func bucket(ns uint64) int {
	if ns < 1<<mantissa {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - mantissa
	return min(shift<<mantissa+int(ns>>shift), buckets-1)
}

// Merge adds the counts of m.
func (l *Latencies) Merge(m *Latencies) {
	for i, n := range m {
		l[i] += n
	}
}

// Quantile returns the lower end of the bucket that holds the q-quantile, in
// microseconds.
func (l *Latencies) Quantile(q float64) float64 {
	total := 0.0
	for _, n := range l {
		total += float64(n)
	}
	rank := q * total
	for i, n := range l {
		if rank -= float64(n); rank < 0 {
			return bucketStart(i) / 1000
		}
	}
	return 0
}

func bucketStart(i int) float64 {
	if i < 2<<mantissa {
		return float64(i)
	}
	shift := i>>mantissa - 1
	return float64(uint64(i-shift<<mantissa) << shift)
}
