package difftest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// redisCLI runs redis-cli against a node until it ends.
func redisCLI(t *testing.T, p *process, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("redis-cli %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func cluster(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"--cluster"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("redis-cli --cluster %q: %v\n%s", args, err, out)
	}
	return colours.ReplaceAllString(string(out), "")
}

// What operators look at a cluster with.
func TestToolsOfRedisWork(t *testing.T) {
	need(t, "redis-benchmark")
	nodes := startFleet(t, 3)
	const count = 300
	for i := range count {
		value := "v"
		if i == 7 {
			value = strings.Repeat("x", 1000)
		}
		if got := redisCLI(t, nodes[i%3], "-c", "set", fmt.Sprint("key:", i), value); got != "OK\n" {
			t.Fatalf("set = %q", got)
		}
	}
	t.Run("scan", func(t *testing.T) {
		var keys []string
		for _, p := range nodes {
			keys = append(keys, strings.Fields(redisCLI(t, p, "--scan", "--pattern", "key:*"))...)
		}
		slices.Sort(keys)
		if n := len(slices.Compact(slices.Clone(keys))); len(keys) != count || n != count {
			t.Errorf("%d keys, %d different ones, want %d", len(keys), n, count)
		}
	})
	t.Run("bigkeys", func(t *testing.T) {
		sampled, biggest := 0, 0
		for _, p := range nodes {
			out := redisCLI(t, p, "--bigkeys")
			var n int
			m := regexp.MustCompile(`Sampled (\d+) keys in the keyspace`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("--bigkeys:\n%s", out)
			}
			if _, err := fmt.Sscan(m[1], &n); err != nil {
				t.Fatal(err)
			}
			sampled += n
			biggest += strings.Count(out, `Biggest string found "key:7" has 1000 bytes`) + strings.Count(out, `Biggest string found '"key:7"' has 1000 bytes`)
		}
		if sampled != count || biggest != 1 {
			t.Errorf("%d keys sampled, the biggest found %d times, want %d and once", sampled, biggest, count)
		}
	})
	t.Run("memkeys", func(t *testing.T) {
		if out := redisCLI(t, nodes[0], "--memkeys"); !strings.Contains(out, "Biggest string found") {
			t.Errorf("--memkeys:\n%s", out)
		}
	})
	t.Run("latency", func(t *testing.T) {
		// It goes on for a second where its output is no terminal.
		out := redisCLI(t, nodes[0], "--latency", "-i", "1", "--raw")
		var low, high, samples int
		var mean float64
		if _, err := fmt.Sscan(out, &low, &high, &mean, &samples); err != nil || samples < 1 || low > high {
			t.Errorf("--latency = %q, %v", out, err)
		}
	})
	t.Run("help", func(t *testing.T) {
		for command, want := range map[string]string{
			"getex":      "GETEX key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
			"config set": "CONFIG SET parameter value [parameter value ...]",
		} {
			if out := colours.ReplaceAllString(redisCLI(t, nodes[0], append([]string{"help"}, strings.Fields(command)...)...), ""); !strings.Contains(out, "\n  "+want) {
				t.Errorf("help %s:\n%s", command, out)
			}
		}
	})
	t.Run("cluster", func(t *testing.T) {
		for _, p := range nodes {
			await(t, "the nodes agree", func() error {
				out := cluster(t, "check", p.addr)
				for _, want := range []string{fmt.Sprintf("[OK] %d keys in 3 masters.", count), "[OK] All nodes agree about slots configuration.", "[OK] All 16384 slots covered."} {
					if !strings.Contains(out, want) {
						return fmt.Errorf("check has no %q:\n%.3000s", want, out)
					}
				}
				return nil
			})
			if out := cluster(t, "info", p.addr); strings.Count(out, " slots | ") != 3 || !strings.Contains(out, fmt.Sprintf("[OK] %d keys in 3 masters.", count)) {
				t.Errorf("info:\n%s", out)
			}
		}
		if out := cluster(t, "call", nodes[0].addr, "dbsize"); strings.Count(out, nodes[1].addr) == 0 {
			t.Errorf("call:\n%s", out)
		}
	})
	t.Run("benchmark", func(t *testing.T) {
		host, port, _ := net.SplitHostPort(nodes[0].addr)
		out, err := exec.CommandContext(t.Context(), "redis-benchmark", "-h", host, "-p", port, "--cluster", "--csv",
			"-t", "get,set,incr,mset", "-P", "16", "-c", "50", "-n", "5000", "-r", "1000").CombinedOutput()
		text := string(out)
		for _, want := range []string{"Cluster has 3 master nodes", `"SET","`, `"GET","`, `"INCR","`, `"MSET (10 keys)","`} {
			if err != nil || !strings.Contains(text, want) {
				t.Fatalf("redis-benchmark has no %s: %v\n%.2000s", want, err, text)
			}
		}
	})
}
