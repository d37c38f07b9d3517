// Micro measures how far calls between two slotmesh processes are from what
// they are made of: bytes sent to and fro on TCP connections, one for each
// caller, and a gRPC stream that all callers share and that carries batches
// without any meaning.
//
// It prints one JSON object a line, or a table with -table: medians of rounds
// in which all take turns, CPU and allocations of both processes together.
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
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

// line is one cell, the medians of its rounds.
type line struct {
	Workload string  `json:"workload"`
	Callers  int     `json:"callers"`
	Ops      float64 `json:"ops_per_s"`
	CPU      float64 `json:"cpu_us_per_op"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Allocs   float64 `json:"allocs_per_op"`
	Errors   uint64  `json:"errors,omitempty"`

	rounds [5][]float64
}

func (l *line) add(s load.Sample, cpuMicros, allocs float64) {
	ops := float64(max(s.Ops-s.Errors, 1))
	for i, v := range []float64{ops / s.Took.Seconds(), cpuMicros / ops, s.P50, s.P99, allocs / ops} {
		l.rounds[i] = append(l.rounds[i], v)
		slices.Sort(l.rounds[i])
		*[]*float64{&l.Ops, &l.CPU, &l.P50, &l.P99, &l.Allocs}[i] = float64(int(100*l.rounds[i][len(l.rounds[i])/2])) / 100
	}
	l.Errors += s.Errors
}

func main() {
	if process.Name() != "" {
		mesh.Serve(func(cache func() *slotmesh.Cache) any { return &Load{cache: cache} })
		return
	}
	rounds := flag.Int("rounds", 3, "rounds")
	cell := flag.Duration("cell", 300*time.Millisecond, "time of a cell in a round")
	table := flag.Bool("table", false, "print a table instead of JSON lines")
	workloads := flag.String("workloads", "tcp,stream,get_local,get_remote,set_local,set_remote", "comma-separated workloads")
	callers := flag.String("callers", "1,16,256", "comma-separated numbers of callers")
	profile := flag.String("profile", "", "write CPU profiles of the two processes to this file, and to it with .2 behind")
	flag.Parse()
	lines, err := measure(*rounds, *cell, *workloads, *callers, *profile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "micro:", err)
		os.Exit(1)
	}
	print(lines, *table)
}

func measure(rounds int, cell time.Duration, workloads, callers, profile string) ([]*line, error) {
	f, err := mesh.Start(2, 1, false)
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	addrs := map[string]string{}
	if err := f.Replicas[1].Call(callTimeout, "Load.Serve", struct{}{}, &addrs); err != nil {
		return nil, err
	}
	if err := f.Replicas[0].Call(time.Minute, "Load.Fill", 100, &struct{}{}); err != nil {
		return nil, err
	}
	for i := range 2 {
		if profile == "" {
			break
		}
		end, err := f.Profile(i, profile+[]string{"", ".2"}[i])
		if err != nil {
			return nil, err
		}
		defer func() { _ = end() }() // the profile is by the way
	}
	var lines []*line
	for _, workload := range strings.Split(workloads, ",") {
		for _, n := range strings.Split(callers, ",") {
			l := &line{Workload: workload}
			if _, err := fmt.Sscan(n, &l.Callers); err != nil {
				return nil, fmt.Errorf("number of callers %q: %w", n, err)
			}
			lines = append(lines, l)
		}
	}
	for range rounds {
		for _, l := range lines {
			if err := measureCell(f, l, cell, addrs); err != nil {
				return nil, fmt.Errorf("%s: %w", l.Workload, err)
			}
		}
	}
	return lines, nil
}

func measureCell(f *mesh.Fleet, l *line, cell time.Duration, addrs map[string]string) error {
	cpu, allocs, err := used(f)
	if err != nil {
		return err
	}
	var s load.Sample
	args := RunArgs{load.Cell{Workload: l.Workload, Callers: l.Callers, ValueBytes: 100, For: cell}, addrs}
	if err := f.Replicas[0].Call(cell+callTimeout, "Load.Run", args, &s); err != nil {
		return err
	}
	cpuAfter, allocsAfter, err := used(f)
	if err != nil {
		return err
	}
	if s.Errors > 0 {
		fmt.Fprintf(os.Stderr, "%s, %d callers: %d errors, such as %s\n", l.Workload, l.Callers, s.Errors, s.Error)
	}
	l.add(s, float64((cpuAfter - cpu).Microseconds()), float64(allocsAfter-allocs))
	return nil
}

// used returns what both processes have used since they started.
func used(f *mesh.Fleet) (cpu time.Duration, allocs uint64, err error) {
	for _, r := range f.Replicas {
		var n uint64
		if err := r.Call(callTimeout, "Load.Allocs", struct{}{}, &n); err != nil {
			return 0, 0, err
		}
		allocs += n
	}
	cpu, err = process.CPU(f.Replicas[0].PID(), f.Replicas[1].PID())
	return cpu, allocs, err
}

func print(lines []*line, table bool) {
	if !table {
		out := json.NewEncoder(os.Stdout) // a closed output ends the program
		for _, l := range lines {
			_ = out.Encode(l)
		}
		return
	}
	fmt.Printf("%-11s %7s %10s %9s %9s %9s %9s %7s\n", "workload", "callers", "ops/s", "cpu us", "p50 us", "p99 us", "allocs", "errors")
	for _, l := range lines {
		fmt.Printf("%-11s %7d %10.0f %9.2f %9.1f %9.1f %9.1f %7d\n", l.Workload, l.Callers, l.Ops, l.CPU, l.P50, l.P99, l.Allocs, l.Errors)
	}
}
