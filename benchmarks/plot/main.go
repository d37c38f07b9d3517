// Plot draws what fleet and micro print as JSON lines: one SVG file each for
// rate, CPU and latency, with a panel for each workload and size of values.
//
//	go run ./fleet > fleet.jsonl && go run ./plot -out plots fleet.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// line is what the lines of all programs have in common; ratios have no
// workload.
type line struct {
	System     string  `json:"system"`
	Workload   string  `json:"workload"`
	Callers    int     `json:"callers"`
	ValueBytes int     `json:"value_bytes"`
	Ops        float64 `json:"ops_per_s"`
	CPU        float64 `json:"cpu_us_per_op"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
}

// measures are the files drawn.
var measures = []struct {
	file, title string
	of          func(line) float64
}{
	{"rate", "operations a second", func(l line) float64 { return l.Ops }},
	{"cpu", "CPU microseconds an operation, all processes", func(l line) float64 { return l.CPU }},
	{"p50", "median latency, microseconds", func(l line) float64 { return l.P50 }},
	{"p99", "99th percentile of latency, microseconds", func(l line) float64 { return l.P99 }},
}

func main() {
	out := flag.String("out", ".", "directory for the SVG files")
	flag.Parse()
	if err := draw(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func draw(out string, files []string) error {
	var lines []line
	if len(files) == 0 {
		var err error
		if lines, err = read(os.Stdin, nil); err != nil {
			return err
		}
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		lines, err = read(f, lines)
		_ = f.Close() // it was only read
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(lines) == 0 {
		return fmt.Errorf("no lines to draw")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, m := range measures {
		panels := panelsOf(lines, m.of)
		if err := os.WriteFile(filepath.Join(out, m.file+".svg"), svg(m.title, panels), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read appends the lines of r that are a measurement.
func read(r io.Reader, lines []line) ([]line, error) {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %q: %w", scan.Text(), err)
		}
		if l.Workload != "" && l.Callers > 0 {
			lines = append(lines, l)
		}
	}
	return lines, scan.Err()
}

// panel is a chart: groups of bars, one group for each number of callers.
type panel struct {
	title  string
	groups []group
}

type group struct {
	label string
	bars  []bar
}

type bar struct {
	system string
	value  float64
}

// panelsOf keeps the order in which workloads, callers and systems come.
func panelsOf(lines []line, of func(line) float64) []panel {
	var panels []panel
	for _, l := range lines {
		title, system := l.Workload, l.System
		if system == "" { // micro: what is compared is the workload
			title, system = "between two processes", l.Workload
		}
		if l.ValueBytes > 0 {
			title = fmt.Sprintf("%s, %d bytes", title, l.ValueBytes)
		}
		p := &panels[find(&panels, func(p panel) bool { return p.title == title }, panel{title: title})]
		label := fmt.Sprintf("%d callers", l.Callers)
		if l.Callers == 1 {
			label = "1 caller"
		}
		g := &p.groups[find(&p.groups, func(g group) bool { return g.label == label }, group{label: label})]
		g.bars = append(g.bars, bar{system, of(l)})
	}
	return panels
}

// find returns the index of the element that is; it adds one if there is none.
func find[T any](list *[]T, is func(T) bool, otherwise T) int {
	if i := slices.IndexFunc(*list, is); i >= 0 {
		return i
	}
	*list = append(*list, otherwise)
	return len(*list) - 1
}
