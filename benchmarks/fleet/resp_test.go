package main

import (
	"testing"
	"time"
)

func TestParseBenchmark(t *testing.T) {
	const out = "Cluster has 3 master nodes:\n\n\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n" +
		"\"SET\",\"1.00\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\"\n\"GET\",\"50000.00\",\"3.012\",\"0.408\",\"2.791\",\"5.447\",\"7.535\",\"14.703\"\n"
	s, err := parseBenchmark(out, "GET", 100000)
	if err != nil || s.Ops != 100000 || s.Took != 2*time.Second || s.P50 != 2791 || s.P99 != 7535 {
		t.Errorf("parseBenchmark = %+v, %v", s, err)
	}
	for _, bad := range []string{"", "\"GET\",\"x\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\"\n", "\"GET\",\"0\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\"\n"} {
		if s, err := parseBenchmark(bad, "GET", 1); err == nil {
			t.Errorf("parseBenchmark(%q) = %+v", bad, s)
		}
	}
}
