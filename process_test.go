package slotmesh_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
)

// childSeed tells this binary to be a node of the cluster at that address.
const childSeed = "SLOTMESH_TEST_SEED"

// childTLS names the directory of the child's certificate, if it is to have one.
const childTLS = "SLOTMESH_TEST_TLS"

const processCluster = "processes"

// runChild is a node until its standard input ends: with its parent, if nobody
// kills it before.
func runChild(seed string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	opts := append(slices.Clone(unhurried),
		slotmesh.WithName("child"),
		slotmesh.WithCluster(processCluster),
		slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithSeeds(seed),
	)
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
