package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
)

// line is one result. NS and CPU are per operation: time by the clock over the
// operations of all goroutines, and processor time over the same.
type line struct {
	Workload   string  `json:"workload"`
	ValueBytes int     `json:"value_bytes"`
	System     string  `json:"system"`
	NS         float64 `json:"ns_per_op,omitempty"`
	CPU        float64 `json:"cpu_ns_per_op,omitempty"`
	Misses     int64   `json:"misses,omitempty"`
	Allocs     float64 `json:"allocs_per_op,omitempty"`
	AllocBytes float64 `json:"alloc_bytes_per_op,omitempty"`
	P50        float64 `json:"p50_us,omitempty"`
	P99        float64 `json:"p99_us,omitempty"`
	P999       float64 `json:"p999_us,omitempty"`
	Sets       float64 `json:"sets_per_s,omitempty"`
	Entries    int     `json:"entries,omitempty"`
	Overhead   float64 `json:"overhead_bytes,omitempty"`
	GC         float64 `json:"gc_ms,omitempty"`
	BestGC     float64 `json:"gc_least_ms,omitempty"`
	Hits       float64 `json:"hit_percent,omitempty"`
}

// printer prints lines as they come, or gathers them for tables.
type printer struct {
	table bool
	lines []line
}

func (p *printer) add(l line) {
	if !p.table {
		_ = json.NewEncoder(os.Stdout).Encode(l)
		return
	}
	p.lines = append(p.lines, l)
}

// flush prints the table of what was added, with the columns that are in use.
func (p *printer) flush() {
	if len(p.lines) == 0 {
		return
	}
	t := reflect.TypeFor[line]()
	var columns []int
	for i := range t.NumField() {
		if slices.ContainsFunc(p.lines, func(l line) bool { return !reflect.ValueOf(l).Field(i).IsZero() }) {
			columns = append(columns, i)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, i := range columns {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fmt.Fprint(w, name, "\t")
	}
	fmt.Fprintln(w)
	for _, l := range p.lines {
		for _, i := range columns {
			switch v := reflect.ValueOf(l).Field(i); {
			case v.Kind() == reflect.Float64:
				fmt.Fprintf(w, "%.4g\t", v.Float())
			default:
				fmt.Fprint(w, v.Interface(), "\t")
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	fmt.Println()
	p.lines = nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	if n == 0 {
		return 0
	}
	return (list[(n-1)/2] + list[n/2]) / 2
}
