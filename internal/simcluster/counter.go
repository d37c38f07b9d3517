package simcluster

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/anishathalye/porcupine"

	"github.com/slotmesh/slotmesh/transport"
)

// A key that is only counted up by ones and read has a linearizability check
// of its own. The general one tries the calls of unknown outcome in every
// order, which takes for ever where there are many; here only their number
// matters.

// isCounter reports whether ops are increments by one and reads.
func isCounter(ops []porcupine.Operation) bool {
	return !slices.ContainsFunc(ops, func(o porcupine.Operation) bool {
		in := o.Input.(op)
		return in.kind != transport.OpGet && (in.kind != transport.OpIncr || in.delta != 1)
	})
}

// counterFault says what is wrong with a counter's history. Who increments to k
// is the k-th, and who reads k comes after it and before the next: what ends
// before another begins is before it. A number that nobody was told was given to
// a call of unknown outcome, which began before anybody saw that number or a
// later one.
func counterFault(ops []porcupine.Operation) string {
	type seen struct {
		at         int64 // 2k for the increment to k, 2k+1 for a read of it
		begin, end int64
	}
	var told []seen
	var open []int64 // beginnings of calls of unknown outcome
	given := map[int64]bool{}
	for _, o := range ops {
		in, out := o.Input.(op), o.Output.(outcome)
		switch {
		case in.kind == transport.OpGet:
			k, err := strconv.ParseInt(out.value, 10, 64)
			if out.found != (err == nil && k > 0) {
				return fmt.Sprintf("a read gave %+v", out)
			}
			told = append(told, seen{2*k + 1, o.Call, o.Return})
		case out.open:
			open = append(open, o.Call)
		case out.num < 1, given[out.num]:
			return fmt.Sprintf("a call counted to %d, like another or from below 0", out.num)
		default:
			given[out.num] = true
			told = append(told, seen{2 * out.num, o.Call, o.Return})
		}
	}
	slices.Sort(open)
	slices.SortFunc(told, func(a, b seen) int { return int(a.begin - b.begin) })
	ended := slices.Clone(told)
	slices.SortFunc(ended, func(a, b seen) int { return int(a.end - b.end) })
	before := seen{at: math.MinInt64} // the highest of those that ended
	i := 0
	top := int64(0)
	for _, b := range told {
		top = max(top, b.at/2)
		for ; ended[i].end < b.begin; i++ {
			if ended[i].at > before.at {
				before = ended[i]
			}
		}
		if b.at < before.at {
			return fmt.Sprintf("%d was seen by a call that began at %d, though another had seen %d by %d", b.at/2, b.begin, before.at/2, before.end)
		}
	}
	// From the top down: by when each number had been given.
	slices.SortFunc(told, func(a, b seen) int { return int(b.at - a.at) })
	var deadlines []int64
	first, j := int64(math.MaxInt64), 0
	for k := top; k > 0; k-- {
		for ; j < len(told) && told[j].at >= 2*k; j++ {
			first = min(first, told[j].end)
		}
		if !given[k] {
			deadlines = append(deadlines, first)
		}
	}
	slices.Reverse(deadlines)
	for k, deadline := range deadlines {
		if k >= len(open) || open[k] > deadline {
			return fmt.Sprintf("a number seen by %d was counted to by no call", deadline)
		}
	}
	return ""
}
