// Faults makes replicas crash and stall under load and counts what callers in
// the others notice: how long writes stand still, errors, acknowledged writes
// that are gone, and reads of values that were overwritten before.
//
// It prints one JSON object a line, or a table with -table. Where redis-server
// and redis-cli are on the PATH, a Redis Cluster suffers the same.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
)

func main() {
	if process.Name() != "" {
		mesh.Serve(func(cache func() *slotmesh.Cache) any { return &Load{cache: cache} })
		return
	}
	quick := flag.Bool("quick", false, "one round of the three main faults, in under 55 s")
	table := flag.Bool("table", false, "print a table instead of JSON lines")
	rounds := flag.Int("rounds", 3, "rounds of each fault; -quick makes one")
	only := flag.String("only", "", "comma-separated faults; default all")
	noRedis := flag.Bool("noredis", false, "leave Redis Cluster out")
	profile := flag.String("profile", "", "write the CPU profile of a survivor in the last round to this file")
	verbose := flag.Bool("v", false, "log what the replicas do, and each round's details, on standard error")
	flag.Parse()

	chosen := faults
	if *quick {
		*rounds = 1
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(f fault) bool { return !f.main })
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		chosen = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !slices.Contains(names, f.name) })
	}
	out := &output{table: *table, verbose: *verbose}
	failed := false
	for _, f := range chosen {
		systems := []string{"slotmesh"}
		if f.redis && !*noRedis && rediscluster.Available() {
			systems = append(systems, "redis")
		}
		for _, system := range systems {
			line := line{System: system, Fault: f.name}
			for range *rounds {
				var r result
				var err error
				if system == "redis" {
					r, err = runRedis(f)
				} else {
					r, err = runMesh(f, *verbose, *profile)
				}
				if err != nil {
					failed = true
					fmt.Fprintf(os.Stderr, "%s, %s: %v\n", system, f.name, err)
				}
				if r.acked > 0 { // else nothing was tried, and zeros would look like success
					line.add(r)
				}
			}
			if len(line.rounds) > 0 {
				out.print(line)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
