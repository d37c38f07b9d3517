// Package rediscluster runs a Redis Cluster of three primaries and three
// replicas on this machine.
package rediscluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

const (
	nodes        = 6
	startTimeout = 15 * time.Second
)

// Cluster is the servers. It is for one goroutine.
type Cluster struct {
	Servers []*process.Child
	Addrs   []string // in the order of Servers
	dir     string
}

// Available reports whether there are the programs that it takes.
func Available() bool {
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}

// Start starts the servers, without persistence and with a node timeout of a
// second, and returns when all slots are served and all replicas in sync.
func Start() (*Cluster, error) { return startOf(nodes/2, 1) }

// StartPrimaries is Start without replicas.
func StartPrimaries() (*Cluster, error) { return startOf(nodes/2, 0) }

func startOf(primaries, replicas int) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "slotmesh-redis-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.start(primaries, replicas); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(primaries, replicas int) error {
	for range primaries * (1 + replicas) {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		if err := c.serve(addr); err != nil {
			return err
		}
	}
	err := await("the servers to answer", func() bool {
		for _, addr := range c.Addrs {
			if out, _ := c.cli(addr, "ping"); !strings.Contains(out, "PONG") {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	args := append([]string{"--cluster", "create"}, c.Addrs...)
	args = append(args, "--cluster-replicas", fmt.Sprint(replicas), "--cluster-yes")
	if out, err := exec.Command("redis-cli", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("create the cluster: %w: %s", err, out)
	}
	return await("the cluster to be complete", func() bool {
		for _, addr := range c.Addrs {
			info, _ := c.cli(addr, "cluster", "info")
			role, _ := c.cli(addr, "info", "replication")
			nodes, _ := c.cli(addr, "cluster", "nodes")
			if !strings.Contains(info, "cluster_state:ok") || strings.Contains(role, "master_link_status:down") ||
				replicas > 0 && !strings.Contains(role, "role:slave") && !strings.Contains(role, "state=online") ||
				strings.Count(nodes, "slave") != primaries*replicas {
				return false
			}
		}
		return true
	})
}

// serve starts one more server.
func (c *Cluster) serve(addr string) error {
	_, port, _ := net.SplitHostPort(addr)
	own := filepath.Join(c.dir, port)
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	s, err := process.Command(fmt.Sprint("redis", len(c.Servers)+1), "redis-server",
		"--port", port, "--bind", "127.0.0.1", "--dir", own,
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
	if err != nil {
		return err
	}
	c.Servers, c.Addrs = append(c.Servers, s), append(c.Addrs, addr)
	return nil
}

// cli runs one command on one server.
func (c *Cluster) cli(addr string, args ...string) (string, error) {
	host, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	return string(out), err
}

// Primary reports whether a server says that it is a primary.
func (c *Cluster) Primary(i int) bool {
	out, err := c.cli(c.Addrs[i], "role")
	return err == nil && strings.HasPrefix(out, "master")
}

// AwaitTakeover returns once one of the three replicas is a primary.
func (c *Cluster) AwaitTakeover() error {
	return await("a replica to take over", func() bool {
		for i := nodes / 2; i < nodes; i++ {
			if c.Primary(i) {
				return true
			}
		}
		return false
	})
}

// Grow adds a primary without slots and has redis-cli rebalance, within the
// time given.
func (c *Cluster) Grow(within time.Duration) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	if err := c.serve(addr); err != nil {
		return err
	}
	err = await("the new server to answer", func() bool {
		out, _ := c.cli(addr, "ping")
		return strings.Contains(out, "PONG")
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "redis-cli", "--cluster", "add-node", addr, c.Addrs[0]).CombinedOutput(); err != nil {
		return fmt.Errorf("add a node: %w: %s", err, out)
	}
	err = await("the servers to know the new one", func() bool {
		for _, a := range c.Addrs {
			info, _ := c.cli(a, "cluster", "info")
			if nodes, _ := c.cli(a, "cluster", "nodes"); !strings.Contains(info, "cluster_state:ok") || strings.Count(nodes, " connected") != len(c.Servers) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "redis-cli", "--cluster", "rebalance", c.Addrs[0], "--cluster-use-empty-masters").CombinedOutput(); err != nil {
		return fmt.Errorf("rebalance: %w: %s", err, out)
	}
	return nil
}

// PIDs returns the servers' process numbers.
func (c *Cluster) PIDs() []int {
	var pids []int
	for _, s := range c.Servers {
		pids = append(pids, s.PID())
	}
	return pids
}

// Stop ends the servers and removes their files.
func (c *Cluster) Stop() {
	for _, s := range c.Servers {
		s.Kill()
	}
	_ = os.RemoveAll(c.dir) // what is left is in the system's temporary directory
}

func await(what string, done func() bool) error {
	for deadline := time.Now().Add(startTimeout); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("waited in vain for " + what)
		}
	}
	return nil
}

// freeAddr finds a port that is free, as is the one 10000 above it, which the
// cluster bus takes.
func freeAddr() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port > 55000 {
			port -= 20000
		}
		if free(port) && free(port+10000) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
		}
	}
	return "", errors.New("no free port")
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
