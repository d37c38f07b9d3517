package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

const (
	apiCallers = 64 // of -api
	apiBytes   = 100
	apiTags    = 1000 // of transactions and locks
	nearBytes  = 64 << 20
)

// What -api measures, in the order of a round.
var (
	apiMesh  = []string{"txn", "lock", "get_local", "load_local", "groupcache_hit", "get", "load", "typed_raw", "typed_get", "codec"}
	apiNear  = []string{"near_warm", "near_zipf"}
	apiRedis = []string{"txn_watch", "txn_lua", "lock_nx", "near_warm", "near_zipf"}
)

// goals of -api: a figure of ours divided by one of theirs.
var apiGoals = []struct {
	name                string
	ourSystem, ours     string
	theirSystem, theirs string
	cpu                 bool    // CPU of a call is compared, not the rate
	less                string  // workload of ourSystem whose CPU is taken off ours
	atLeast, atMost     float64 // 0: no goal
}{
	{name: "txn_vs_watch_multi_exec", ourSystem: "slotmesh", ours: "txn", theirSystem: "rueidis", theirs: "txn_watch", atLeast: 2},
	{name: "txn_vs_lua", ourSystem: "slotmesh", ours: "txn", theirSystem: "rueidis", theirs: "txn_lua"},
	{name: "lock_vs_set_nx", ourSystem: "slotmesh", ours: "lock", theirSystem: "rueidis", theirs: "lock_nx"},
	{name: "load_hit_vs_groupcache", ourSystem: "slotmesh", ours: "load_local", theirSystem: "slotmesh", theirs: "groupcache_hit", cpu: true},
	{name: "load_hit_vs_get_local", ourSystem: "slotmesh", ours: "load_local", theirSystem: "slotmesh", theirs: "get_local", cpu: true, atMost: 1.1},
	{name: "load_hit_vs_get", ourSystem: "slotmesh", ours: "load", theirSystem: "slotmesh", theirs: "get", cpu: true, atMost: 1.1},
	{name: "typed_get_less_codec_vs_get", ourSystem: "slotmesh", ours: "typed_get", less: "codec", theirSystem: "slotmesh", theirs: "typed_raw", cpu: true, atMost: 1.3},
	{name: "near_warm_vs_rueidis", ourSystem: "near", ours: "near_warm", theirSystem: "rueidis", theirs: "near_warm", atLeast: 0.8},
	{name: "near_zipf_vs_rueidis", ourSystem: "near", ours: "near_zipf", theirSystem: "rueidis", theirs: "near_zipf"},
}

// apiRatio is a closing line of -api.
type apiRatio struct {
	Ratio string  `json:"ratio"`
	Of    string  `json:"of"` // "ops_per_s" or "cpu_us_per_op"
	Value float64 `json:"value"`
	Goal  string  `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

func measureAPI(s settings) error {
	f, err := mesh.Start(3, 1, false)
	if err != nil {
		return err
	}
	defer f.Stop()
	guest, err := f.JoinNear(nearBytes)
	if err != nil {
		return err
	}
	if err := f.AwaitBalance(time.Minute); err != nil {
		return err
	}
	systems := []named{{apiSystem{meshSystem{f, 0}}, "slotmesh", apiMesh}, {apiSystem{meshSystem{f, guest}}, "near", apiNear}}
	if !s.noRedis && rediscluster.Available() {
		cluster, err := rediscluster.Start()
		if err != nil {
			return err
		}
		defer cluster.Stop()
		r, end, err := apiWithRueidis(cluster)
		if err != nil {
			return err
		}
		defer end()
		systems = append(systems, named{r, "rueidis", apiRedis})
	}
	if s.profile != "" {
		end, err := f.Profile(0, s.profile)
		if err != nil {
			return err
		}
		defer func() { _ = end() }()
	}
	lines, err := measureAPICells(s, systems)
	if err != nil {
		return err
	}
	printAPI(lines, s.table)
	return nil
}

func measureAPICells(s settings, systems []named) ([]*line, error) {
	var order []string
	for _, sys := range systems {
		for _, w := range sys.workloads {
			if !slices.Contains(order, w) && (s.workloads == "" || slices.Contains(strings.Split(s.workloads, ","), w)) {
				order = append(order, w)
			}
		}
	}
	by := map[string]named{}
	for _, sys := range systems {
		by[sys.name] = sys
		if sys.name == "near" {
			continue // its keys are the fleet's
		}
		if err := sys.fill(apiBytes); err != nil {
			fmt.Fprintf(os.Stderr, "%s: some writes had to be repeated, such as one with: %v\n", sys.name, err)
		}
	}
	var lines []*line
	for _, w := range order {
		for _, sys := range systems {
			if slices.Contains(sys.workloads, w) {
				lines = append(lines, &line{System: sys.name, Workload: w, Callers: apiCallers, ValueBytes: apiBytes})
			}
		}
	}
	for _, l := range lines { // connections open, buffers grow, near caches fill
		if err := warmUp(by[l.System], l, s.cell/4); err != nil {
			return nil, err
		}
	}
	for range s.rounds {
		for _, l := range lines {
			if strings.HasPrefix(l.Workload, "near") {
				// Its steady state is meant: read leases may have run out while
				// others had the processors.
				if err := warmUp(by[l.System], l, nearWarmUp); err != nil {
					return nil, err
				}
			}
			if err := measureCell(by[l.System], l, s.cell); err != nil {
				return nil, fmt.Errorf("%s %s: %w", l.System, l.Workload, err)
			}
		}
	}
	return lines, nil
}

const nearWarmUp = 2 * time.Second

// warmUp runs a cell and forgets what it gave.
func warmUp(sys named, l *line, took time.Duration) error {
	_, err := sys.run(load.Cell{Workload: l.Workload, Callers: l.Callers, ValueBytes: l.ValueBytes, For: took})
	if err != nil {
		return fmt.Errorf("%s %s: %w", l.System, l.Workload, err)
	}
	return nil
}

func apiRatios(lines []*line) []apiRatio {
	find := func(system, workload string) *line {
		for _, l := range lines {
			if l.System == system && l.Workload == workload {
				return l
			}
		}
		return nil
	}
	var all []apiRatio
	for _, g := range apiGoals {
		our, their := find(g.ourSystem, g.ours), find(g.theirSystem, g.theirs)
		less := find(g.ourSystem, g.less)
		if our == nil || their == nil || less == nil && g.less != "" {
			continue
		}
		r := apiRatio{Ratio: g.name, Of: "ops_per_s", Value: our.Ops / their.Ops}
		if g.cpu {
			cpu := our.CPU
			if less != nil {
				cpu -= less.CPU
			}
			r.Of, r.Value = "cpu_us_per_op", cpu/their.CPU
		}
		all = append(all, r.judge(g.atLeast, g.atMost))
	}
	if near := find("near", "near_zipf"); near != nil {
		r := apiRatio{Ratio: "near_zipf_network", Of: "percent of calls", Value: near.Network}
		all = append(all, r.judge(0, 5))
	}
	if peer := find("rueidis", "near_zipf"); peer != nil {
		all = append(all, apiRatio{Ratio: "near_zipf_network_rueidis", Of: "percent of calls", Value: peer.Network})
	}
	return all
}

func (r apiRatio) judge(atLeast, atMost float64) apiRatio {
	met := r.Value >= atLeast
	switch {
	case atLeast > 0:
		r.Goal = fmt.Sprintf("at least %v", atLeast)
	case atMost > 0:
		r.Goal, met = fmt.Sprintf("at most %v", atMost), r.Value <= atMost
	default:
		return r
	}
	r.Met = &met
	return r
}

func printAPI(lines []*line, table bool) {
	ratios := apiRatios(lines)
	if !table {
		out := json.NewEncoder(os.Stdout)
		for _, l := range lines {
			_ = out.Encode(l)
		}
		for _, r := range ratios {
			_ = out.Encode(r)
		}
		return
	}
	fmt.Printf("%-9s %-15s %10s %9s %9s %9s %8s %7s\n", "system", "workload", "ops/s", "cpu us", "p50 us", "p99 us", "network", "errors")
	for _, l := range lines {
		fmt.Printf("%-9s %-15s %10.0f %9.2f %9.1f %9.1f %7.2f%% %7d\n", l.System, l.Workload, l.Ops, l.CPU, l.P50, l.P99, l.Network, l.Errors)
	}
	for _, r := range ratios {
		met := ""
		if r.Met != nil {
			met = fmt.Sprintf("goal %s: %v", r.Goal, map[bool]string{true: "met", false: "missed"}[*r.Met])
		}
		fmt.Printf("%-28s %7.2f  %-17s %s\n", r.Ratio, r.Value, r.Of, met)
	}
}

// apiNames are the keys of a workload of -api.
func apiNames(workload string) []string {
	switch {
	case strings.HasPrefix(workload, "txn"):
		return numbered("{acct:%06d}", apiTags)
	case strings.HasPrefix(workload, "lock"):
		return numbered("lock:%06d", apiTags)
	case strings.HasPrefix(workload, "typed"):
		return numbered("typed:%06d", keys/10)
	case workload == "near_warm":
		return numbered("near:%06d", 1000)
	case workload == "near_zipf":
		return zipf(numbered("near:%06d", keys))
	}
	return allNames()
}

func numbered(format string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// zipf draws a long list of names, the i-th with a chance of 1 in i.
func zipf(names []string) []string {
	sums, sum := make([]float64, len(names)), 0.0
	for i := range names {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2)) // the same list for all systems
	drawn := make([]string, 1<<18)
	for i := range drawn {
		drawn[i] = names[sort.SearchFloat64s(sums, r.Float64()*sum)]
	}
	return drawn
}
