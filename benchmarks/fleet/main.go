// Fleet measures a fleet of three slotmesh processes with one backup, the load
// in one of them, and beside it a Redis Cluster of three primaries and three
// replicas driven by rueidis and by go-redis, where redis-server and redis-cli
// are on the PATH.
//
// With -api it measures calls beyond get and set, each against its nearest peer.
// With -resp it measures the replicas' ports for Redis clients instead, by
// redis-benchmark, beside three Redis primaries.
//
// It prints one JSON object a line, or a table with -table: per cell the median
// of rounds in which all systems take turns, and at the end ratios.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

// system is what runs cells.
type system interface {
	pids() []int // of all its processes, clients included
	fill(valueBytes int) error
	run(load.Cell) (load.Sample, error)
}

// named is a system with the workloads that it knows.
type named struct {
	system
	name      string
	workloads []string
}

type settings struct {
	quick, table, noRedis bool
	api                   bool
	resp                  bool
	profile               string
	workloads             string
	rounds                int
	cell                  time.Duration
}

func main() {
	if process.Name() != "" {
		mesh.Serve(func(cache func() *slotmesh.Cache) any { return &Load{cache: cache} })
		return
	}
	var s settings
	flag.BoolVar(&s.quick, "quick", false, "100-byte values and no mix, in under 55 s")
	flag.BoolVar(&s.api, "api", false, "measure transactions, loads, locks, typed values and the near cache instead, with 100-byte values")
	flag.BoolVar(&s.table, "table", false, "print a table instead of JSON lines")
	flag.BoolVar(&s.noRedis, "noredis", false, "leave Redis Cluster out")
	flag.BoolVar(&s.resp, "resp", false, "measure the ports for Redis clients instead, by redis-benchmark, beside three Redis primaries")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds; -quick makes 3")
	flag.DurationVar(&s.cell, "cell", time.Second, "time of a cell in a round; -quick takes 250ms")
	flag.StringVar(&s.profile, "profile", "", "write the CPU profile of the replica with the load to this file")
	flag.StringVar(&s.workloads, "workloads", "", "comma-separated workloads; default all")
	flag.Parse()
	if s.quick {
		s.rounds, s.cell = 3, 250*time.Millisecond
	}
	measure := measure
	switch {
	case s.api:
		measure = measureAPI
	case s.resp:
		measure = measureResp
	}
	if err := measure(s); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func measure(s settings) error {
	f, err := mesh.Start(3, 1, false)
	if err != nil {
		return err
	}
	defer f.Stop()
	systems := []named{{meshSystem{f, 0}, "slotmesh", []string{"get", "get_remote", "set", "mix", "get_many", "set_many"}}}
	if !s.noRedis && rediscluster.Available() {
		cluster, err := rediscluster.Start()
		if err != nil {
			return err
		}
		defer cluster.Stop()
		for _, with := range []struct {
			name  string
			start func(*rediscluster.Cluster) (redisSystem, func(), error)
		}{{"rueidis", withRueidis}, {"go-redis", withGoRedis}} {
			r, end, err := with.start(cluster)
			if err != nil {
				return err
			}
			defer end()
			systems = append(systems, named{r, with.name, []string{"get", "set", "set_wait", "mix", "get_many", "set_many"}})
		}
	}
	if s.profile != "" {
		end, err := f.Profile(0, s.profile)
		if err != nil {
			return err
		}
		defer func() { _ = end() }() // the profile is by the way
	}
	sizes := []int{100, 1024}
	if s.quick {
		sizes = sizes[:1]
	}
	var lines []*line
	for _, size := range sizes {
		more, err := measureSize(s, systems, size)
		if err != nil {
			return err
		}
		lines = append(lines, more...)
	}
	print(lines, s.table)
	return nil
}

// measureSize runs all cells of one value size, round by round.
func measureSize(s settings, systems []named, size int) ([]*line, error) {
	var lines []*line
	for _, workload := range []string{"get", "get_remote", "set", "set_wait", "get_many", "set_many", "mix"} {
		if s.quick && workload == "mix" && s.workloads == "" || s.workloads != "" && !slices.Contains(strings.Split(s.workloads, ","), workload) {
			continue
		}
		for _, callers := range callersOf(workload) {
			for _, sys := range systems {
				if slices.Contains(sys.workloads, workload) {
					lines = append(lines, &line{System: sys.name, Workload: workload, Callers: callers, ValueBytes: size})
				}
			}
		}
	}
	for _, sys := range systems {
		if err := sys.fill(size); err != nil { // a finding, and no reason to measure nothing
			fmt.Fprintf(os.Stderr, "%s: some writes had to be repeated, such as one with: %v\n", sys.name, err)
		}
	}
	// What nobody has called yet has connections to open and buffers to grow.
	for _, sys := range systems {
		if _, err := sys.run(load.Cell{Workload: "get", Callers: 16, ValueBytes: size, For: s.cell / 2}); err != nil {
			return nil, fmt.Errorf("%s: %w", sys.name, err)
		}
	}
	for range s.rounds {
		for _, l := range lines {
			i := slices.IndexFunc(systems, func(n named) bool { return n.name == l.System })
			if err := measureCell(systems[i], l, s.cell); err != nil {
				return nil, fmt.Errorf("%s %s: %w", l.System, l.Workload, err)
			}
		}
	}
	return lines, nil
}

// callersOf a workload. Hundreds of callers with a hundred keys each would
// measure nothing but queues.
func callersOf(workload string) []int {
	if strings.HasSuffix(workload, "_many") {
		return []int{1, 16}
	}
	return []int{1, 16, 256}
}

func measureCell(sys named, l *line, took time.Duration) error {
	before, err := process.CPU(sys.pids()...)
	if err != nil {
		return err
	}
	c := load.Cell{Workload: l.Workload, Callers: l.Callers, ValueBytes: l.ValueBytes, For: took}
	if strings.HasSuffix(l.Workload, "_many") {
		c.Batch = pipeline
	}
	sample, err := sys.run(c)
	if err != nil {
		return err
	}
	after, err := process.CPU(sys.pids()...)
	if err != nil {
		return err
	}
	if sample.Errors > 0 {
		fmt.Fprintf(os.Stderr, "%s %s, %d callers: %d errors, such as %s\n",
			l.System, l.Workload, l.Callers, sample.Errors, sample.Error)
	}
	l.add(sample, float64((after - before).Microseconds()))
	return nil
}
