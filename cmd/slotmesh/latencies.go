package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// latencies counts times in buckets, 16 for each doubling, so that a quantile
// is at most a sixteenth too high. Any goroutine may add; the zero value is
// empty.
type latencies struct {
	buckets [64 * 16]atomic.Int64
	max     atomic.Int64
}

func (l *latencies) add(d time.Duration) {
	l.buckets[bucketOf(uint64(max(d, 0)))].Add(1)
	for {
		m := l.max.Load()
		if int64(d) <= m || l.max.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// bucketOf is the value itself below 16, then its highest five bits.
func bucketOf(v uint64) int {
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 5
	return 16*shift + int(v>>shift)
}

// ceiling is the highest value of a bucket.
func ceiling(bucket int) uint64 {
	if bucket < 16 {
		return uint64(bucket)
	}
	shift := bucket/16 - 1
	return (uint64(bucket%16+16)+1)<<shift - 1
}

func (l *latencies) figures(took time.Duration, errors int64) figures {
	f := figures{Errors: errors, Max: float64(l.max.Load()) / 1000}
	for i := range l.buckets {
		f.Calls += l.buckets[i].Load()
	}
	f.Rate = float64(f.Calls) / took.Seconds()
	quantile := func(q float64) float64 {
		rank, seen := int64(q*float64(f.Calls)), int64(0)
		for i := range l.buckets {
			if seen += l.buckets[i].Load(); seen > rank {
				return min(float64(ceiling(i))/1000, f.Max)
			}
		}
		return f.Max
	}
	if f.Calls > 0 {
		f.P50, f.P99, f.P999 = quantile(0.5), quantile(0.99), quantile(0.999)
	}
	return f
}
