package meter_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
)

func TestHistogramCountsUpToEachBound(t *testing.T) {
	for _, tt := range []struct {
		d      time.Duration
		bucket int
	}{
		{0, 0}, {100, 0}, {101, 1}, {250, 1}, {251, 2}, {time.Microsecond, 3},
		{time.Second, 21}, {10 * time.Second, 24}, {time.Minute, 25}, {-1, 0},
	} {
		var h meter.Histogram
		h.Add(tt.d, 3)
		s := h.Snapshot()
		if s.Counts[tt.bucket] != 3 || s.Count != 3 {
			t.Errorf("Add(%v): counts %v, want 3 in bucket %d", tt.d, s.Counts, tt.bucket)
		}
		if want := 3 * max(tt.d, 0); s.Sum != want {
			t.Errorf("Add(%v): sum %v, want %v", tt.d, s.Sum, want)
		}
	}
}

func TestBoundsRise(t *testing.T) {
	if !slices.IsSorted(meter.Bounds[:]) {
		t.Error("bounds are not sorted")
	}
}

// Counts of a loop over any number of things must not meet the same thing
// again and again.
func TestSamplesFollowNoPattern(t *testing.T) {
	for _, period := range []uint64{2, 3, 8, 64, 100, 128} {
		seen, samples := map[uint64]int{}, 0
		for n := range uint64(period * 64 * 200) {
			if meter.Sampled(n, 64) {
				seen[n%period]++
				samples++
			}
		}
		for at := range period {
			if got := seen[at]; got < 120 || got > 290 {
				t.Errorf("period %d: place %d was sampled %d times, want about 200", period, at, got)
			}
		}
	}
}

func TestStripesDiffer(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint]bool{}
	var wg sync.WaitGroup
	hold := make(chan struct{})
	for range 200 {
		wg.Go(func() {
			mu.Lock()
			seen[meter.Stripe()] = true
			mu.Unlock()
			<-hold
		})
	}
	close(hold)
	wg.Wait()
	for s := range seen {
		if s >= meter.Stripes {
			t.Fatalf("Stripe() = %d, want below %d", s, meter.Stripes)
		}
	}
	if len(seen) < meter.Stripes/4 {
		t.Errorf("200 goroutines share %d stripes, want more", len(seen))
	}
}

func TestHotFindsKeysAmongNoise(t *testing.T) {
	h := meter.NewHot(16384)
	noise := 0
	for range 30 { // ticks
		for i := range 1000 {
			h.Touch(uint16(noise%16384), fmt.Sprint("cold", noise), 64)
			noise++
			switch {
			case i%10 == 0:
				h.Touch(7, "hottest", 64)
			case i%50 == 1:
				h.Touch(9, "warm", 64)
			}
		}
		h.Tick()
	}
	slots, keys := h.Top(20)
	if len(keys) != 20 || keys[0].Key != "hottest" || keys[1].Key != "warm" || keys[0].Slot != 7 {
		t.Fatalf("hottest keys are %v", keys)
	}
	if slots[0].Slot != 7 || slots[1].Slot != 9 || len(slots) != 20 {
		t.Fatalf("hottest slots are %v", slots)
	}
	for _, tt := range []struct {
		what      string
		got, want float64
	}{{"key", keys[0].Rate, 6400}, {"slot", slots[0].Rate, 6400}, {"second key", keys[1].Rate, 1280}} {
		if math.Abs(tt.got-tt.want) > tt.want/4 {
			t.Errorf("rate of the hottest %s is %.0f a tick, want about %.0f", tt.what, tt.got, tt.want)
		}
	}
	for range 200 {
		h.Tick()
	}
	if slots, keys := h.Top(20); len(slots)+len(keys) > 0 {
		t.Errorf("long after, still hot: %v %v", slots, keys)
	}
}

func TestHotRatesHoldFromTheFirstTick(t *testing.T) {
	h := meter.NewHot(16)
	for range 3 {
		for range 100 {
			h.Touch(1, "key", 1)
		}
		h.Tick()
	}
	if _, keys := h.Top(1); math.Abs(keys[0].Rate-100) > 15 {
		t.Errorf("rate after 3 ticks of 100 is %.1f", keys[0].Rate)
	}
}

func TestHotTouchAllocatesNothingOnceWarm(t *testing.T) {
	h := meter.NewHot(16384)
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprintf("a-key-of-some-length-%06d", i)
		h.Touch(1, keys[i], 1)
	}
	i := 0
	if n := testing.AllocsPerRun(5000, func() { i++; h.Touch(uint16(i), keys[i%len(keys)], 1) }); n != 0 {
		t.Errorf("Touch allocates %v times, want 0", n)
	}
}

func TestRingKeepsTheLast(t *testing.T) {
	r := meter.NewRing[int](3)
	for i := range 5 {
		r.Add(i)
	}
	if got := r.All(); !slices.Equal(got, []int{2, 3, 4}) || r.Added() != 5 {
		t.Errorf("All() = %v of %d, want [2 3 4] of 5", got, r.Added())
	}
}

func BenchmarkHotTouch(b *testing.B) {
	h := meter.NewHot(16384)
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprintf("a-key-of-some-length-%06d", i)
	}
	i := 0
	for b.Loop() {
		i++
		h.Touch(uint16(i%16384), keys[i%len(keys)], 64)
	}
}

func BenchmarkHistogramAdd(b *testing.B) {
	var h meter.Histogram
	d := time.Duration(0)
	for b.Loop() {
		d += 777
		h.Add(d%time.Second, 1)
	}
}
