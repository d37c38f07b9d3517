// Package meter counts what happens on hot paths: histograms of durations, a
// sketch of what is asked for most, and rings of what happened last. All are
// bounded in memory. Nothing here does IO, reads a clock or starts a goroutine.
package meter

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper ends of a histogram's buckets: 1, 2.5 and 5 of each
// decade from 100 ns to 10 s. What takes longer is in one more bucket.
var Bounds = [...]time.Duration{
	100, 250, 500,
	1e3, 2500, 5e3, 10e3, 25e3, 50e3, 100e3, 250e3, 500e3,
	1e6, 2500e3, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6,
	1e9, 2500e6, 5e9, 10e9,
}

// Buckets is how many counts a histogram has.
const Buckets = len(Bounds) + 1

// Histogram counts durations. The zero value is empty. Any number of
// goroutines may add to it and read it.
type Histogram struct {
	counts [Buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Add counts a duration that stands for weight of its kind. It takes about ten
// nanoseconds.
func (h *Histogram) Add(d time.Duration, weight uint64) {
	low, high := 0, len(Bounds) // the first bound that is not below d
	for low < high {
		if mid := (low + high) / 2; Bounds[mid] < d {
			low = mid + 1
		} else {
			high = mid
		}
	}
	h.counts[low].Add(weight)
	h.sum.Add(int64(max(d, 0)) * int64(weight))
}

// Snapshot is what a histogram held at one time, about.
type Snapshot struct {
	Counts [Buckets]uint64 // of durations up to the bound of the same index, and beyond the last
	Count  uint64
	Sum    time.Duration
}

// Snapshot reads the histogram.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
		s.Count += s.Counts[i]
	}
	return s
}
