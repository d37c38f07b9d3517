package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// buffer may be written and read at a time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// daemon is run in this process.
type daemon struct {
	t    *testing.T
	stop context.CancelFunc
	out  buffer
	err  buffer
	code chan int
}

func begin(t *testing.T, args ...string) *daemon {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	d := &daemon{t: t, stop: stop, code: make(chan int, 1)}
	args = append([]string{"--addr", "127.0.0.1:0", "--memory", "64MiB", "--log-level", "off", "--shutdown-timeout", "5m"}, args...)
	go func() { // ends with stop
		d.code <- run(ctx, stop, args, func(string) string { return "" }, &d.out, &d.err)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-d.code:
		default:
		}
	})
	return d
}

// addr waits for the line that says ready, and returns the node's address in it.
func (d *daemon) addr() (addr string) {
	d.t.Helper()
	slotmeshtest.Await(d.t, "the node is ready", func() error {
		var name string
		if n, _ := fmt.Sscanf(d.out.String(), "slotmeshd ready: node %s at %s in cluster", &name, &addr); n != 2 {
			return fmt.Errorf("it printed %q, and %q", d.out.String(), d.err.String())
		}
		return nil
	})
	return addr
}

func (d *daemon) wantExit(want int, says string) {
	d.t.Helper()
	select {
	case got := <-d.code:
		d.code <- got
		if got != want || !strings.Contains(d.err.String(), says) {
			d.t.Errorf("exit %d, errors %q; want %d and a word on %q", got, d.err.String(), want, says)
		}
	case <-time.After(10 * time.Minute): // twice its --shutdown-timeout
		d.t.Fatal("it did not end")
	}
}

// TestExitCodes ends nodes in every way but by a signal that kills.
func TestExitCodes(t *testing.T) {
	first := begin(t, "--name", "a")
	addr := first.addr()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	begin(t, "--http", taken.Addr().String()).wantExit(exitFailed, "--http")
	begin(t, "--addr", addr).wantExit(exitFailed, "listen")
	begin(t, "--cluster", strings.Repeat("x", 65)).wantExit(exitUsage, "--cluster")
	begin(t, "--min-backups", "2").wantExit(exitUsage, "--min-backups(2): want 0 up to the 1 of --backups")
	begin(t, "--stop", "soon").wantExit(exitUsage, "--stop")
	begin(t, "--stop", "restart").wantExit(exitUsage, "--data-dir")
	begin(t, "--fsync", "always").wantExit(exitUsage, "--data-dir")
	begin(t, "--http", "8080").wantExit(exitUsage, "--http")
	begin(t, "--resp", ":99999").wantExit(exitUsage, "--resp")
	begin(t, "--resp", "127.0.0.1:0", "--resp-advertise", "here").wantExit(exitUsage, "--resp-advertise")
	begin(t, "--resp", "127.0.0.1:0", "--resp-advertise", "here:redis").wantExit(exitUsage, "--resp-advertise")
	begin(t, "--resp", "127.0.0.1:0", "--resp-advertise", "0.0.0.0:6379").wantExit(exitUsage, "--resp-advertise")
	begin(t, "--version").wantExit(exitOK, "")
	begin(t, "--help").wantExit(exitOK, "")

	// The second leaves before it has handed anything over.
	second := begin(t, "--name", "b", "--join", addr, "--shutdown-timeout", "1ns")
	second.addr()
	look, err := slotmesh.Open(t.Context(), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSeeds(addr), slotmesh.WithVisitor())
	if err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "the second node has slots", func() error {
		for s := range look.Cluster().Slots() {
			if s.Primary == "b" {
				return nil
			}
		}
		return errors.New("it has none")
	})
	if err := look.Close(); err != nil {
		t.Fatal(err)
	}
	second.stop()
	second.wantExit(exitHasty, "slots behind")
	first.stop()
	first.wantExit(exitOK, "")
}

// TestStopToRestart has a node with a disk stop for a moment: the other goes on with
// what it held, and gives it its slots again.
func TestStopToRestart(t *testing.T) {
	first := begin(t, "--name", "a")
	addr, dir := first.addr(), t.TempDir()
	start := func() *daemon {
		d := begin(t, "--name", "b", "--join", addr, "--data-dir", dir, "--stop", "restart")
		d.addr()
		return d
	}
	look, err := slotmesh.Open(t.Context(), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSeeds(addr), slotmesh.WithVisitor(),
		slotmesh.WithOpTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	copied := func() {
		t.Helper()
		slotmeshtest.Await(t, "each slot has a backup", func() error {
			for s := range look.Cluster().Slots() {
				if len(s.Backups) != 1 {
					return fmt.Errorf("slot %d has the backups %v", s.Number, s.Backups)
				}
			}
			return nil
		})
	}
	second := start()
	copied()
	for i := range 100 {
		if err := look.Set(t.Context(), fmt.Sprint("key", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for i := range 100 {
			if got, err := look.Get(t.Context(), fmt.Sprint("key", i)); err != nil || string(got) != "v" {
				t.Fatalf("%s: key%d = %q, %v", when, i, got, err)
			}
		}
	}
	second.stop()
	second.wantExit(exitOK, "")
	check("while b is away")
	start()
	copied()
	check("after b is back")
}

// TestSecretFileIsFollowed exchanges the keys in a file under a node, and breaks
// the file in between.
func TestSecretFileIsFollowed(t *testing.T) {
	oldKey, newKey := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	file := filepath.Join(t.TempDir(), "secret")
	write := func(lines ...string) {
		t.Helper()
		err := os.WriteFile(file+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600)
		if err := errors.Join(err, os.Rename(file+".new", file)); err != nil { // never half of it
			t.Fatal(err)
		}
	}
	line := base64.StdEncoding.EncodeToString
	write(line(oldKey))
	cache, err := slotmesh.Open(t.Context(), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSecret(oldKey))
	if err != nil {
		t.Fatal(err)
	}
	var log buffer
	ctx, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		followSecrets(ctx, file, 5*time.Millisecond, cache, slog.New(slog.NewTextHandler(&log, nil)))
	})
	t.Cleanup(func() {
		end()
		wg.Wait()
		_ = cache.Close()
	})
	joins := func(key []byte) (err error) {
		for patience := time.Second; patience < time.Minute; patience *= 2 { // the machine may be busy
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			var v *slotmesh.Cache
			v, err = slotmesh.Open(ctx, slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSecret(key), slotmesh.WithVisitor(), slotmesh.WithSeeds(cache.Cluster().Self().Addr))
			cancel()
			if err == nil {
				return v.Close()
			}
			if errors.Is(err, slotmesh.ErrUntrusted) {
				return err
			}
		}
		return err
	}
	told := func(what string, times int) {
		t.Helper()
		slotmeshtest.Await(t, what, func() error {
			if n := strings.Count(log.String(), what); n != times {
				return fmt.Errorf("%d times in\n%s", n, log.String())
			}
			return nil
		})
	}
	if err := joins(oldKey); err != nil {
		t.Errorf("with the old key: %v", err)
	}
	write("no base64!")
	told("cannot take new secrets", 1)
	write(line(newKey), line(oldKey))
	told("took new secrets", 1)
	for _, key := range [][]byte{newKey, oldKey} {
		if err := joins(key); err != nil {
			t.Errorf("with both keys in the file, a node with %q: %v", key, err)
		}
	}
	write("")
	told("cannot take new secrets", 2)
	write(line(newKey))
	told("took new secrets", 2)
	if err := joins(oldKey); !errors.Is(err, slotmesh.ErrUntrusted) {
		t.Errorf("with the old key taken out: %v, want ErrUntrusted", err)
	}
	if err := joins(newKey); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if text := log.String(); strings.Contains(text, line(newKey)) || strings.Contains(text, string(oldKey)) {
		t.Errorf("the log tells a key:\n%s", text)
	}
}
