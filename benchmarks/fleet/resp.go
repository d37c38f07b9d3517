package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
	"github.com/slotmesh/slotmesh/benchmarks/internal/rediscluster"
	"github.com/slotmesh/slotmesh/resp"
)

const (
	respClients  = 50
	respPipeline = 16
	respBytes    = 100
)

// ServeResp opens a port for Redis clients, which ends with the process.
func (l *Load) ServeResp(_ struct{}, addr *string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	*addr = listener.Addr().String()
	go func() { // ends with the process
		err := resp.Serve(context.Background(), l.cache(), listener)
		fmt.Fprintln(os.Stderr, "resp:", err)
	}()
	return nil
}

// server is a cluster that redis-benchmark calls.
type server struct {
	name, copies string
	addr         string // of one node
	pids         []int
}

// measureResp has redis-benchmark call a fleet with a backup, which
// acknowledges every write, and Redis primaries without replicas in turn.
func measureResp(s settings) error {
	if _, err := exec.LookPath("redis-benchmark"); err != nil {
		return err
	}
	f, err := mesh.Start(3, 1, false)
	if err != nil {
		return err
	}
	defer f.Stop()
	ours := server{name: "slotmesh", copies: "primary and backup", pids: meshSystem{f, 0}.pids()}
	for _, r := range f.Replicas {
		if err := r.Call(opTimeout, "Load.ServeResp", struct{}{}, &ours.addr); err != nil {
			return err
		}
	}
	if err := awaitAddresses(ours.addr); err != nil {
		return err
	}
	servers := []server{ours}
	if !s.noRedis && rediscluster.Available() {
		cluster, err := rediscluster.StartPrimaries()
		if err != nil {
			return err
		}
		defer cluster.Stop()
		servers = append(servers, server{"redis", "primary", cluster.Addrs[0], cluster.PIDs()})
	}
	if s.profile != "" {
		end, err := f.Profile(0, s.profile)
		if err != nil {
			return err
		}
		defer func() { _ = end() }() // the profile is by the way
	}
	requests := 500000
	if s.quick {
		requests = 150000
	}
	var lines []*line
	for _, workload := range []string{"resp_set", "resp_get"} {
		if s.workloads != "" && !slices.Contains(strings.Split(s.workloads, ","), workload) {
			continue
		}
		for _, srv := range servers {
			l := &line{System: srv.name, Workload: workload, Callers: respClients, ValueBytes: respBytes, Pipeline: respPipeline, Copies: srv.copies}
			lines = append(lines, l)
			if _, err := srv.run(workload, requests/5); err != nil { // fills, and opens what has to be open
				return err
			}
		}
	}
	for range s.rounds {
		for i, l := range lines {
			srv := servers[i%len(servers)]
			before, err := process.CPU(srv.pids...)
			if err != nil {
				return err
			}
			sample, err := srv.run(l.Workload, requests)
			if err != nil {
				return err
			}
			after, err := process.CPU(srv.pids...)
			if err != nil {
				return err
			}
			l.add(sample, float64((after - before).Microseconds()))
		}
	}
	print(lines, s.table)
	return nil
}

// awaitAddresses returns once a node knows the ports of all others.
func awaitAddresses(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * opTimeout); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("redis-cli", "-h", host, "-p", port, "cluster", "nodes").CombinedOutput()
		if err == nil && strings.Count(string(out), "connected") == 3 && !strings.Contains(string(out), "noaddr") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the ports are not known: %w: %s", err, out)
		}
	}
}

// run runs redis-benchmark once.
func (s server) run(workload string, requests int) (load.Sample, error) {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return load.Sample{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	test := strings.TrimPrefix(workload, "resp_")
	out, err := exec.CommandContext(ctx, "redis-benchmark", "-h", host, "-p", port, "--cluster", "--csv", "-t", test,
		"-P", fmt.Sprint(respPipeline), "-c", fmt.Sprint(respClients), "-d", fmt.Sprint(respBytes), "-r", fmt.Sprint(keys), "-n", fmt.Sprint(requests)).CombinedOutput()
	if err != nil {
		return load.Sample{}, fmt.Errorf("redis-benchmark of %s: %w: %.500s", s.name, err, out)
	}
	sample, err := parseBenchmark(string(out), strings.ToUpper(test), requests)
	if err != nil {
		return sample, fmt.Errorf("redis-benchmark of %s: %w: %.500s", s.name, err, out)
	}
	return sample, nil
}

// parseBenchmark finds a test's line in what redis-benchmark --csv prints:
// test, rate, and in milliseconds the mean, minimum, p50, p95, p99 and maximum.
func parseBenchmark(out, test string, requests int) (load.Sample, error) {
	for text := range strings.Lines(out) {
		fields, err := csv.NewReader(strings.NewReader(text)).Read()
		if err != nil || len(fields) != 8 || fields[0] != test {
			continue
		}
		var n [8]float64
		for i := 1; i < len(n); i++ {
			if n[i], err = strconv.ParseFloat(fields[i], 64); err != nil {
				return load.Sample{}, err
			}
		}
		if n[1] <= 0 {
			break
		}
		return load.Sample{
			Ops: uint64(requests), Took: time.Duration(float64(requests) / n[1] * float64(time.Second)),
			P50: 1000 * n[4], P99: 1000 * n[6],
		}, nil
	}
	return load.Sample{}, errors.New("no result")
}
