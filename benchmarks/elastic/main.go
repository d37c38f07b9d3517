// Elastic lets fleets grow, shrink and be deployed anew under load, and counts
// what callers notice of it and how many bytes move.
//
// It prints one JSON object a line. The callers are in one process that holds no
// data and stays; they write and read at half of the rate that the fleet takes
// before anything changes. Where redis-server and redis-cli are on the PATH, a
// Redis Cluster grows by a node as well.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

// line is what one scenario gave.
type line struct {
	System   string  `json:"system"`
	Scenario string  `json:"scenario"`
	Seconds  float64 `json:"seconds"`
	Moved    uint64  `json:"bytes_moved"`
	Minimum  uint64  `json:"bytes_minimum"`
	Errors   int     `json:"errors"`
	Lost     int     `json:"lost_acked"`
	Quiet    float64 `json:"p99_quiet_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	// Gap is the longest that any call took.
	Gap     float64 `json:"slot_gap_max_ms"`
	HitRate float64 `json:"hit_rate"`
}

func main() {
	if process.Name() != "" {
		mesh.Serve(func(cache func() *slotmesh.Cache) any { return &Load{cache: cache} })
		return
	}
	quick := flag.Bool("quick", false, "100,000 keys and the first three scenarios only")
	keys := flag.Int("keys", 2_000_000, "keys; -quick has 100,000")
	only := flag.String("only", "", "comma-separated scenarios; default all")
	noRedis := flag.Bool("noredis", false, "leave Redis Cluster out")
	verbose := flag.Bool("v", false, "log what the replicas do on standard error")
	flag.Parse()

	t := times{probe: 2 * time.Second, quiet: 4 * time.Second}
	chosen, others := slices.Clone(scenarios), slices.Clone(timings)
	if *quick {
		*keys, t = 100_000, times{probe: time.Second / 2, quiet: time.Second}
		chosen, others = chosen[:3], nil
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		chosen = slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(names, s.name) })
		others = slices.DeleteFunc(slices.Clone(timings), func(s timing) bool { return !slices.Contains(names, s.name) })
	}
	failed := false
	report := func(l line, err error) {
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s, %s: %v\n", l.System, l.Scenario, err)
		}
		if l.P99 > 0 { // else nothing was tried, and zeros would look like success
			_ = json.NewEncoder(os.Stdout).Encode(l) // a closed output ends the program
		}
	}
	var st stage
	var redis *peer
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.name == scenarios[0].name }) && !*noRedis && rediscluster.Available() {
		redis = startRedis()
		err := st.set(scenarios[0], *keys, *verbose) // side by side, before anything is measured
		switch ready := redis.ready(); {
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			st.stop()
			redis.stop()
			os.Exit(1)
		case ready != nil:
			report(line{System: "redis", Scenario: scenarios[0].name}, ready)
			redis = nil
		}
	}
	for _, s := range chosen {
		report(st.run(s, *keys, t, *verbose))
	}
	st.stop()
	if redis != nil {
		report(redis.run(scenarios[0], *keys, t))
		redis.stop()
	}
	for _, s := range others {
		l, err := s.run(*keys, *verbose)
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
			continue
		}
		l.System, l.Scenario = "slotmesh", s.name
		_ = json.NewEncoder(os.Stdout).Encode(l)
	}
	if failed {
		os.Exit(1)
	}
}
