package slotmesh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// callsOf sums up what caches counted of an operation from a source.
func callsOf(caches []*slotmesh.Cache, op, source string) (sum slotmesh.CallStats) {
	for _, c := range caches {
		for _, s := range c.Stats().Calls {
			if s.Op == op && s.Source == source {
				sum.Count += s.Count
				sum.Failed += s.Failed
				sum.Latency.Count += s.Latency.Count
			}
		}
	}
	return sum
}

func TestStatsCountCallsByOperationAndSource(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	const keys = 600
	for i := range keys {
		key := fmt.Sprint("key", i)
		set(t, caches[0], key, "value")
		if _, err := caches[0].Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if _, err := caches[0].Incr(t.Context(), key, 1); err == nil {
			t.Fatal("Incr of a text succeeded")
		}
	}
	for _, op := range []string{"get", "set", "incr"} {
		local, remote := callsOf(caches, op, "local"), callsOf(caches, op, "remote")
		if local.Count+remote.Count != keys || local.Count == 0 || remote.Count == 0 {
			t.Errorf("%s: %d local and %d remote calls, want %d together", op, local.Count, remote.Count, keys)
		}
		if served := callsOf(caches, op, "served"); served.Count != remote.Count {
			t.Errorf("%s: %d served, want the %d remote ones", op, served.Count, remote.Count)
		}
		if remote.Latency.Count != remote.Count {
			t.Errorf("%s: %d durations of %d remote calls", op, remote.Latency.Count, remote.Count)
		}
		if failed := local.Failed + remote.Failed; failed != 0 {
			t.Errorf("%s: %d failed, want 0: an answer is no failure", op, failed)
		}
	}
	s := caches[0].Stats()
	if s.Hits == 0 || s.Misses != 0 || s.Local+s.Forwarded != 3*keys {
		t.Errorf("%d hits, %d misses, %d local and %d forwarded, want hits and %d calls", s.Hits, s.Misses, s.Local, s.Forwarded, 3*keys)
	}
	if len(s.Peers) != 2 || s.Gossip.Alive != 3 {
		t.Fatalf("%d peers and %d members alive, want 2 and 3", len(s.Peers), s.Gossip.Alive)
	}
	for _, p := range s.Peers {
		if !p.Connected || p.RoundTrip <= 0 || p.Latency.Count == 0 || p.Latency.Quantile(0.5) <= 0 {
			t.Errorf("peer %+v: want it connected, with a round trip and latencies", p)
		}
	}
}

func TestStatsNameHotSlotsAndKeys(t *testing.T) {
	c := open(t)
	set(t, c, "hot", "value")
	slot := c.Cluster().KeySlot("hot")
	for i := range 20_000 {
		key := "hot"
		if i%4 > 0 {
			key = fmt.Sprint("cold", i)
		}
		_, _ = c.Get(t.Context(), key)
	}
	s := c.Stats()
	if len(s.HotKeys) == 0 || s.HotKeys[0].Key != "hot" || s.HotKeys[0].Slot != slot || s.HotKeys[0].Rate <= 0 {
		t.Errorf("hot keys are %v, want hot first", s.HotKeys)
	}
	if len(s.HotSlots) == 0 || s.HotSlots[0].Slot != slot || len(s.HotSlots) > 20 || len(s.HotKeys) > 20 {
		t.Errorf("hot slots are %v, want %d first and 20 at most", s.HotSlots, slot)
	}
}

func TestStatsCountsThatNobodyAnswered(t *testing.T) {
	guest := open(t, slotmesh.WithWeight(0), slotmesh.WithOpTimeout(20*time.Millisecond))
	if _, err := guest.Get(t.Context(), "key"); err == nil {
		t.Fatal("Get without a node that holds data succeeded")
	}
	if none := callsOf([]*slotmesh.Cache{guest}, "get", "none"); none.Count != 1 || none.Failed != 1 {
		t.Errorf("%d calls and %d failures without an answer, want 1 and 1", none.Count, none.Failed)
	}
}

func TestStatsAfterClose(t *testing.T) {
	for _, opts := range [][]slotmesh.Option{nil, {slotmesh.WithDataDir(t.TempDir())}} {
		c := open(t, opts...)
		set(t, c, "key", "value")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for _, call := range c.Stats().Calls {
			if call.Op == "set" && call.Count != 1 {
				t.Errorf("%d sets after Close, want 1", call.Count)
			}
		}
		if c.Stats().Local == 0 {
			t.Error("the counters are gone after Close")
		}
	}
}

func TestQuantile(t *testing.T) {
	bounds := slotmesh.LatencyBounds()
	h := slotmesh.Histogram{Buckets: make([]uint64, len(bounds)+1), Count: 100}
	h.Buckets[3], h.Buckets[6] = 90, 10 // up to 1us, and 5us to 10us
	for _, tt := range []struct {
		q         float64
		low, high time.Duration
	}{
		{0.5, 500, 1000}, {0.9, 500, 1000}, {0.99, 5000, 10_000}, {1, 10_000, 10_000}, {-1, 0, 500},
	} {
		if got := h.Quantile(tt.q); got < tt.low || got > tt.high {
			t.Errorf("Quantile(%v) = %v, want %v to %v", tt.q, got, tt.low, tt.high)
		}
	}
	if got := (slotmesh.Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v, want 0", got)
	}
}
