package slotmesh_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/internal/testca"
)

// childSeed tells this binary to be a node of the cluster at that address.
const childSeed = "SLOTMESH_TEST_SEED"

// childTLS names the directory of the child's certificate, if it is to have one.
const childTLS = "SLOTMESH_TEST_TLS"

const processCluster = "processes"

// runChild is a node until its standard input ends: with its parent, if nobody
// kills it before.
func runChild(seed string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	opts := []slotmesh.Option{
		slotmesh.WithName("child"),
		slotmesh.WithCluster(processCluster),
		slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithSeeds(seed),
	}
	if dir := os.Getenv(childTLS); dir != "" {
		opts = append(opts, slotmesh.WithTLS(pemFiles(dir)))
	}
	c, err := slotmesh.Open(ctx, opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	c.Close()
}

func pemFiles(dir string) func() (*tls.Config, error) {
	return slotmesh.TLSFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem"))
}

// startChild returns a function that kills the child with SIGKILL.
func startChild(t *testing.T, seed string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childSeed+"="+seed)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // stays open as long as this process
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says "killed"
	})
	t.Cleanup(kill)
	return kill
}

func awaitBalance(t *testing.T, c *slotmesh.Cache, nodes int) {
	t.Helper()
	await(t, fmt.Sprintf("%d nodes are at rest", nodes), func() error {
		view := c.Cluster()
		if n, h := len(view.Nodes()), view.Health(); n != nodes || !h.Balanced {
			return fmt.Errorf("%d nodes, %+v", n, h)
		}
		return nil
	})
}

// TestKilledProcessLosesNoAcknowledgedWrite kills one of two processes while
// the other writes, and lets it come back.
func TestKilledProcessLosesNoAcknowledgedWrite(t *testing.T) { killsAndWrites(t) }

// TestKilledProcessUnderTLS does the same over TLS: the end of a connection has
// to be the same proof.
func TestKilledProcessUnderTLS(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	ca.Write(dir, "child")
	t.Setenv(childTLS, dir)
	killsAndWrites(t, slotmesh.WithTLS(ca.Config("parent")))
}

func killsAndWrites(t *testing.T, opts ...slotmesh.Option) {
	const keys, laps = 200, 20
	c := open(t, append(opts, slotmesh.WithName("parent"), slotmesh.WithCluster(processCluster))...)
	addr := c.Cluster().Self().Addr
	kill := startChild(t, addr)
	awaitBalance(t, c, 2)

	var childs string // a key that the child serves
	acknowledged := make([]string, keys)
	key := func(i int) string { return fmt.Sprint("key", i) }
	for i := range keys {
		if owner, err := c.Cluster().Owner(key(i)); err == nil && owner.Name == "child" {
			childs = key(i)
		}
	}
	if childs == "" {
		t.Fatal("the child serves none of the keys")
	}
	for lap := range laps {
		if lap == laps/2 {
			kill()
			shortCallsEndInTime(t, c, "{"+childs+"}short")
		}
		for i := range keys {
			value := fmt.Sprintf("%d of lap %d", i, lap)
			err := c.Set(t.Context(), key(i), []byte(value))
			switch {
			case err == nil:
				acknowledged[i] = value
			case errors.Is(err, slotmesh.ErrUnknownOutcome): // may hold either value
				acknowledged[i] = ""
			default:
				t.Fatalf("Set in lap %d = %v, want nil", lap, err)
			}
		}
		checkAcknowledged(t, c, key, acknowledged)
	}

	startChild(t, addr)
	awaitBalance(t, c, 2)
	checkAcknowledged(t, c, key, acknowledged)
}

// shortCallsEndInTime makes calls to a slot in the middle of its failover, with
// less time than that takes.
func shortCallsEndInTime(t *testing.T, c *slotmesh.Cache, key string) {
	t.Helper()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		within(t, time.Second, "a call with a deadline of 10ms", func() {
			err := c.Set(ctx, key, []byte("short"))
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, slotmesh.ErrUnknownOutcome) {
				t.Errorf("Set = %v, want nil, DeadlineExceeded or ErrUnknownOutcome", err)
			}
		})
		cancel()
	}
}

func checkAcknowledged(t *testing.T, c *slotmesh.Cache, key func(int) string, want []string) {
	t.Helper()
	for i, value := range want {
		if value == "" {
			continue
		}
		if got, err := c.Get(t.Context(), key(i)); err != nil || string(got) != value {
			t.Fatalf("Get(%s) = %q, %v, want the acknowledged %q", key(i), got, err, value)
		}
	}
}
