package difftest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/slotmesh/slotmesh/resp" // so that go test knows what the daemon is made of
)

// process is one server of a cluster: one of ours, or a Redis.
type process struct {
	addr string // for clients
	mesh string // ours: for other nodes
	name string
	cmd  *exec.Cmd
	out  bytes.Buffer
	once sync.Once
	done chan struct{}
}

// start runs a program until the test ends.
func start(t *testing.T, p *process, program string, args ...string) *process {
	t.Helper()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	p.done = make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && p.out.Len() > 0 {
			t.Logf("%s said: %.2000s", p.name, p.out.String())
		}
	})
	return p
}

// kill ends the process at once, without a word to anybody.
func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
	<-p.done
}

// freePort is one that nothing listens on, for TCP and UDP.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// need fails the test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: .ci/run installs it", err)
		}
	}
}

var daemon struct {
	once sync.Once
	path string
	err  error
}

// TestMain removes the daemon that tests have built.
func TestMain(m *testing.M) {
	code := m.Run()
	if daemon.path != "" {
		_ = os.RemoveAll(filepath.Dir(daemon.path))
	}
	os.Exit(code)
}

// startOurs starts a node of examples/resp that joins the given one.
func startOurs(t *testing.T, name string, join *process, flags ...string) *process {
	t.Helper()
	daemon.once.Do(func() {
		dir, err := os.MkdirTemp("", "slotmesh-resp-")
		if err != nil {
			daemon.err = err
			return
		}
		daemon.path = filepath.Join(dir, "resp")
		build := exec.Command("go", "build", "-o", daemon.path, "./examples/resp")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			daemon.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if daemon.err != nil {
		t.Fatal(daemon.err)
	}
	p := &process{name: name, addr: "127.0.0.1:" + freePort(t), mesh: "127.0.0.1:" + freePort(t)}
	// On a busy machine nodes are silent for a while; one that is killed is known to be.
	args := append([]string{"-name", name, "-addr", p.mesh, "-resp", p.addr, "-failure-timeout", "30s"}, flags...)
	if join != nil {
		args = append(args, "-join", join.mesh)
	}
	start(t, p, daemon.path, args...)
	await(t, name+" answers", func() error { return ping(p.addr) })
	return p
}

func ping(addr string) error {
	out, err := exec.Command("redis-cli", "-h", "127.0.0.1", "-p", addr[strings.LastIndexByte(addr, ':')+1:], "ping").CombinedOutput()
	if err == nil && !strings.HasPrefix(string(out), "PONG") {
		err = fmt.Errorf("ping: %s", out)
	}
	return err
}

// startFleet starts n of our nodes and waits until all slots are where they are
// to stay.
func startFleet(t *testing.T, n int) []*process {
	t.Helper()
	need(t, "redis-cli", "go")
	var nodes []*process
	for i := range n {
		var join *process
		if i > 0 {
			join = nodes[0]
		}
		nodes = append(nodes, startOurs(t, fmt.Sprintf("n%d", i+1), join))
	}
	awaitShares(t, nodes)
	return nodes
}

// awaitShares waits until each of the nodes tells of equal shares of the slots.
func awaitShares(t *testing.T, nodes []*process) {
	t.Helper()
	await(t, "the slots are spread", func() error {
		for _, p := range nodes {
			out, err := exec.Command("redis-cli", "--cluster", "info", p.addr).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			low, high := 16384/len(nodes), 16384/len(nodes)+1
			if n := strings.Count(string(out), fmt.Sprintf("| %d slots", low)) + strings.Count(string(out), fmt.Sprintf("| %d slots", high)); n < len(nodes) {
				return fmt.Errorf("%s", out)
			}
		}
		return nil
	})
}

// startRedis starts a Redis Cluster of three primaries.
func startRedis(t *testing.T) []*process {
	t.Helper()
	need(t, "redis-server", "redis-cli")
	var nodes []*process
	args := []string{"--cluster", "create"}
	for range 3 {
		port := freePort(t) // another for its peers: of itself it takes one 10,000 above, which may be none
		p := start(t, &process{name: "redis " + port, addr: "127.0.0.1:" + port}, "redis-server", "--port", port, "--bind", "127.0.0.1",
			"--cluster-port", freePort(t), "--dir", t.TempDir(), "--cluster-enabled", "yes", "--save", "", "--appendonly", "no", "--loglevel", "warning")
		nodes = append(nodes, p)
		args = append(args, p.addr)
		await(t, "redis answers", func() error { return ping(p.addr) })
	}
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("create the cluster: %v: %s", err, out)
	}
	for _, p := range nodes {
		await(t, "the cluster is complete", func() error {
			out, err := exec.Command("redis-cli", "-p", p.addr[strings.LastIndexByte(p.addr, ':')+1:], "cluster", "info").CombinedOutput()
			if err == nil && !strings.Contains(string(out), "cluster_state:ok") {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
	}
	return nodes
}

func addrs(nodes []*process) []string {
	var list []string
	for _, p := range nodes {
		list = append(list, p.addr)
	}
	return list
}

// await polls until holds returns nil, for three minutes at most.
func await(t *testing.T, what string, holds func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited until %s: %v", what, err)
		}
	}
}
