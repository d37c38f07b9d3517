package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

// line is one cell of one system, the medians of its rounds.
type line struct {
	System     string  `json:"system"`
	Workload   string  `json:"workload"`
	Callers    int     `json:"callers"`
	ValueBytes int     `json:"value_bytes"`
	Ops        float64 `json:"ops_per_s"`
	CPU        float64 `json:"cpu_us_per_op"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us,omitempty"`
	Errors     uint64  `json:"errors,omitempty"`
	Network    float64 `json:"network_percent,omitempty"` // of all calls, where it is counted
	Pipeline   int     `json:"pipeline,omitempty"`        // commands sent at once
	Copies     string  `json:"copies,omitempty"`          // what has a write before its answer

	ops, cpu, p50, p99, p999, network []float64 // by round
}

func (l *line) add(s load.Sample, cpuMicros float64) {
	ops := float64(max(s.Ops-s.Errors, 1))
	put := func(median *float64, all *[]float64, v float64) {
		*all = append(*all, v)
		slices.Sort(*all)
		*median = float64(int(100*(*all)[len(*all)/2])) / 100
	}
	put(&l.Ops, &l.ops, ops/s.Took.Seconds())
	put(&l.CPU, &l.cpu, cpuMicros/ops)
	put(&l.P50, &l.p50, s.P50)
	put(&l.P99, &l.p99, s.P99)
	put(&l.P999, &l.p999, s.P999)
	l.Errors += s.Errors
	if s.Network > 0 {
		put(&l.Network, &l.network, 100*float64(s.Network)/ops)
	}
}

// ratio compares two lines: ops is ours divided by theirs, and so is cpu.
type ratio struct {
	Ratio      string  `json:"ratio"`
	Callers    int     `json:"callers"`
	ValueBytes int     `json:"value_bytes"`
	Ops        float64 `json:"ops"`
	CPU        float64 `json:"cpu"`
}

// pairs are the ratios: workload of slotmesh, workload of the other system.
var pairs = []struct{ name, ours, their, theirs string }{
	{"set_acked_vs_rueidis_wait", "set", "rueidis", "set_wait"},
	{"set_vs_rueidis", "set", "rueidis", "set"},
	{"get_vs_rueidis", "get", "rueidis", "get"},
	{"get_remote_vs_rueidis", "get_remote", "rueidis", "get"},
	{"get_many_vs_rueidis", "get_many", "rueidis", "get_many"},
	{"set_many_vs_rueidis", "set_many", "rueidis", "set_many"},
	{"resp_get_vs_redis", "resp_get", "redis", "resp_get"},
	{"resp_set_vs_redis", "resp_set", "redis", "resp_set"},
}

func ratios(lines []*line) []ratio {
	var all []ratio
	for _, pair := range pairs {
		for _, our := range lines {
			if our.System != "slotmesh" || our.Workload != pair.ours {
				continue
			}
			for _, their := range lines {
				if their.System == pair.their && their.Workload == pair.theirs &&
					their.Callers == our.Callers && their.ValueBytes == our.ValueBytes {
					all = append(all, ratio{pair.name, our.Callers, our.ValueBytes, our.Ops / their.Ops, our.CPU / their.CPU})
				}
			}
		}
	}
	return all
}

func print(lines []*line, table bool) {
	if !table {
		out := json.NewEncoder(os.Stdout) // a closed output ends the program
		for _, l := range lines {
			_ = out.Encode(l)
		}
		for _, r := range ratios(lines) {
			_ = out.Encode(r)
		}
		return
	}
	fmt.Printf("%-9s %-11s %7s %6s %10s %9s %9s %9s %9s %7s\n",
		"system", "workload", "callers", "bytes", "ops/s", "cpu us", "p50 us", "p99 us", "p999 us", "errors")
	for _, l := range lines {
		fmt.Printf("%-9s %-11s %7d %6d %10.0f %9.2f %9.1f %9.1f %9.1f %7d\n",
			l.System, l.Workload, l.Callers, l.ValueBytes, l.Ops, l.CPU, l.P50, l.P99, l.P999, l.Errors)
	}
	for _, r := range ratios(lines) {
		fmt.Printf("%-26s %7d %6d   ops %5.2f   cpu %5.2f\n", r.Ratio, r.Callers, r.ValueBytes, r.Ops, r.CPU)
	}
}
