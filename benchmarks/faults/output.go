package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// line is one line of output: all rounds of one fault.
type line struct {
	System string  `json:"system"`
	Fault  string  `json:"fault"`
	Gap    float64 `json:"write_gap_ms"`
	GapMax float64 `json:"write_gap_max_ms"`
	Errors int     `json:"errors"`
	Acked  uint64  `json:"acked"`
	Lost   uint64  `json:"lost_acked"`
	Stale  int     `json:"stale_reads"`
	Moved  uint64  `json:"slots_moved"` // without need

	gaps   []float64 // by round
	rounds []result
}

// add counts one more round in. The gap is the median of the rounds.
func (l *line) add(r result) {
	l.rounds = append(l.rounds, r)
	l.gaps = append(l.gaps, float64(r.gap.Microseconds()/100)/10)
	slices.Sort(l.gaps)
	l.Gap, l.GapMax = l.gaps[len(l.gaps)/2], l.gaps[len(l.gaps)-1]
	for _, n := range r.errors {
		l.Errors += n
	}
	l.Acked += r.acked
	l.Lost += r.lost
	l.Stale += r.stale
	l.Moved += r.moved
}

// output prints lines.
type output struct {
	table, verbose bool
	printed        int
}

func (o *output) print(l line) {
	if o.table {
		if o.printed == 0 {
			fmt.Printf("%-10s %-17s %10s %10s %7s %9s %7s %6s\n",
				"system", "fault", "gap ms", "max ms", "errors", "acked", "lost", "stale")
		}
		fmt.Printf("%-10s %-17s %10.1f %10.1f %7d %9d %7d %6d\n",
			l.System, l.Fault, l.Gap, l.GapMax, l.Errors, l.Acked, l.Lost, l.Stale)
	} else {
		_ = json.NewEncoder(os.Stdout).Encode(l) // a closed output ends the program
	}
	o.printed++
	for i, r := range l.rounds {
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%s %s round %d: gap %s at %s until %s, %d reads, %d lost, %d stale\n",
				l.System, l.Fault, i+1, r.gap, r.gapKey, r.gapEnd.UTC().Format("15:04:05.000"), r.reads, r.lost, r.stale)
		}
		for text, n := range r.errors {
			fmt.Fprintf(os.Stderr, "%s %s round %d: %d times %s\n", l.System, l.Fault, i+1, n, text)
		}
		for text, n := range r.resumed {
			fmt.Fprintf(os.Stderr, "%s %s round %d: in the paused process %d times %s\n", l.System, l.Fault, i+1, n, text)
		}
	}
}
