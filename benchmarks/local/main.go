// Local measures slotmesh's engine and, in the same run, what else a Go
// process can keep its cache in: otter, ristretto, freecache, bigcache,
// fastcache and a sharded map.
//
// Every system lives in a process of its own, so that none pays for another's
// garbage; they take turns within a round, and lines are medians of rounds. It
// prints one JSON object a line, or tables with -table.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

type settings struct {
	quick, table bool
	only         string
	systems      string
	profile      string
	rounds       int
	cell         time.Duration
}

func main() {
	if process.Name() != "" {
		if err := process.Serve(map[string]any{"Child": new(Child), "API": new(API)}); err != nil {
			fmt.Fprintln(os.Stderr, "local:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	flag.BoolVar(&s.quick, "quick", false, "fewer keys, rounds and systems, in under 50 s")
	flag.BoolVar(&s.table, "table", false, "print tables instead of JSON lines")
	flag.StringVar(&s.only, "only", "", "comma-separated parts out of speed, tail, weight, hits, api; default all")
	flag.StringVar(&s.systems, "systems", "", "comma-separated systems beside slotmesh; default all")
	flag.StringVar(&s.profile, "profile", "", "write a CPU profile of slotmesh's cells to this file")
	flag.IntVar(&s.rounds, "rounds", 9, "rounds; -quick makes 3")
	flag.DurationVar(&s.cell, "cell", 300*time.Millisecond, "time of a cell in a round; -quick takes 100ms")
	flag.Parse()
	if s.quick {
		s.rounds, s.cell = 3, 100*time.Millisecond
	}
	if err := measure(&s); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func measure(s *settings) error {
	out := printer{table: s.table}
	for _, part := range []struct {
		name string
		run  func(*settings, *printer) error
	}{{"speed", speed}, {"tail", tail}, {"weight", weight}, {"hits", hitRatios}, {"api", api}} {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), part.name) {
			continue
		}
		if err := part.run(s, &out); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		out.flush()
	}
	return nil
}

// peers returns slotmesh and those of some systems that are asked for.
func (s *settings) peers(full, quick []string) []string {
	if s.quick {
		full = quick
	}
	list := []string{"slotmesh"}
	for _, name := range full {
		if s.systems == "" || slices.Contains(strings.Split(s.systems, ","), name) {
			list = append(list, name)
		}
	}
	return list
}

var (
	allPeers   = []string{"fastcache", "freecache", "bigcache", "ristretto", "otter", "map"}
	quickPeers = []string{"fastcache", "freecache", "otter", "map"}
)

const patience = 5 * time.Minute

// speed measures gets, sets and a mix of three gets to a set.
func speed(s *settings, out *printer) error {
	sizes := []Setup{{Entries: 1_000_000, ValueBytes: 100}, {Entries: 250_000, ValueBytes: 1024}}
	if s.quick {
		sizes = []Setup{{Entries: 400_000, ValueBytes: 100}, {Entries: 60_000, ValueBytes: 1024}}
	}
	for _, size := range sizes {
		if err := speedOf(s, size, out); err != nil {
			return err
		}
	}
	return nil
}

func speedOf(s *settings, size Setup, out *printer) error {
	names := s.peers(allPeers, quickPeers)
	children, err := filled(names, size)
	defer killAll(children)
	if err != nil {
		return err
	}
	if s.profile != "" {
		if err := children[0].Call(patience, "Child.Profile", fmt.Sprint(s.profile, ".", size.ValueBytes), new(struct{})); err != nil {
			return err
		}
		defer func() { _ = children[0].Call(patience, "Child.Profile", "", new(struct{})) }()
	}
	for _, workload := range []string{"get", "set", "mix"} {
		wall, cpu := map[string][]float64{}, map[string][]float64{}
		misses := map[string]int64{}
		for range s.rounds {
			for i, c := range children {
				var got Sample
				if err := c.Call(patience, "Child.Run", Cell{workload, s.cell}, &got); err != nil {
					return err
				}
				name := names[i]
				wall[name], cpu[name] = append(wall[name], got.Wall), append(cpu[name], got.CPU)
				misses[name] += got.Misses
			}
		}
		for _, name := range names {
			out.add(line{Workload: workload, ValueBytes: size.ValueBytes, System: name,
				NS: median(wall[name]), CPU: median(cpu[name]), Misses: misses[name]})
		}
	}
	return nil
}

// filled starts a filled child for each system.
func filled(names []string, size Setup) (children []*process.Child, err error) {
	for _, name := range names {
		c, err := process.Again(name)
		if err != nil {
			return children, err
		}
		children = append(children, c)
		size.System = name
		if err := c.Call(patience, "Child.Fill", size, new(struct{})); err != nil {
			return children, err
		}
	}
	return children, nil
}

func killAll(children []*process.Child) {
	for _, c := range children {
		c.Kill()
	}
}

// tail measures the slow gets beside sets and collections.
func tail(s *settings, out *printer) error {
	size := Setup{Entries: 1_000_000, ValueBytes: 100}
	rounds, cell := s.rounds, 2*time.Second
	if s.quick {
		size.Entries, cell = 200_000, 400*time.Millisecond
	}
	names := s.peers(allPeers, []string{"freecache"})
	children, err := filled(names, size)
	defer killAll(children)
	if err != nil {
		return err
	}
	p50, p99, p999 := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	var sets, took = map[string]float64{}, map[string]float64{}
	for range rounds {
		for i, c := range children {
			var got Tail
			if err := c.Call(patience, "Child.Tail", cell, &got); err != nil {
				return err
			}
			n := names[i]
			p50[n], p99[n], p999[n] = append(p50[n], got.P50), append(p99[n], got.P99), append(p999[n], got.P999)
			sets[n] += float64(got.Sets)
			took[n] += got.Took.Seconds()
		}
	}
	for _, n := range names {
		out.add(line{Workload: "tail", ValueBytes: size.ValueBytes, System: n,
			P50: median(p50[n]), P99: median(p99[n]), P999: median(p999[n]), Sets: sets[n] / took[n]})
	}
	return nil
}

// weight measures memory and collections, each in a new process.
func weight(s *settings, out *printer) error {
	for _, n := range []int{2_000_000, 5_000_000} {
		names := append(s.peers(allPeers, []string{"fastcache", "freecache"}), "none")
		if s.quick {
			n /= 5
		}
		for _, name := range names {
			c, err := process.Again(name)
			if err != nil {
				return err
			}
			var got Weight
			err = c.Call(patience, "Child.Weigh", Setup{name, n, 100}, &got)
			c.Kill()
			if err != nil {
				return err
			}
			l := line{Workload: "weight", ValueBytes: 100, System: name, Entries: n, GC: float64(got.GC.Microseconds()) / 1000, BestGC: float64(got.Best.Microseconds()) / 1000}
			if name != "none" {
				l.Overhead = got.Overhead
			}
			out.add(l)
		}
	}
	return nil
}

// hitRatios runs traces against systems that hold a tenth of the keys.
func hitRatios(s *settings, out *printer) error {
	keys := 1_000_000
	names := s.peers([]string{"otter", "ristretto", "freecache", "fastcache", "bigcache"}, []string{"otter"})
	if s.quick {
		keys = 200_000
	}
	for _, trace := range []string{"zipf", "zipf_scan", "loop"} {
		for _, name := range append(names, "slotmesh by bytes") {
			system, byBytes := strings.CutSuffix(name, " by bytes")
			c, err := process.Again(system)
			if err != nil {
				return err
			}
			var ratio float64
			err = c.Call(patience, "Child.Hits", Hits{System: system, Trace: trace, Keys: keys, Bytes: byBytes}, &ratio)
			c.Kill()
			if err != nil {
				return err
			}
			out.add(line{Workload: "hits_" + trace, ValueBytes: hitValueBytes, System: name, Entries: keys / 10, Hits: ratio})
		}
	}
	return nil
}

// api measures what the public interface costs above the engine.
func api(s *settings, out *printer) error {
	c, err := process.Again("api")
	if err != nil {
		return err
	}
	defer c.Kill()
	size := Setup{Entries: 500_000, ValueBytes: 100}
	if s.quick {
		size.Entries = 50_000
	}
	if err := c.Call(patience, "API.Open", size, new(struct{})); err != nil {
		return err
	}
	for _, goroutines := range []int{1, workers} {
		wall, cpu := map[string][]float64{}, map[string][]float64{}
		last := map[string]Cost{}
		for range s.rounds {
			for _, way := range ways {
				var got Cost
				if err := c.Call(patience, "API.Read", Reads{way, goroutines, s.cell}, &got); err != nil {
					return err
				}
				wall[way], cpu[way], last[way] = append(wall[way], got.Wall), append(cpu[way], got.CPU), got
			}
		}
		for _, way := range ways {
			out.add(line{Workload: fmt.Sprintf("api_%d", goroutines), ValueBytes: size.ValueBytes, System: way,
				NS: median(wall[way]), CPU: median(cpu[way]), Allocs: last[way].Allocs, AllocBytes: last[way].AllocB})
		}
	}
	return c.Call(patience, "API.Close", struct{}{}, new(struct{}))
}
