// Quickstart shows what slotmesh is for, in one run of under a minute:
//
//	go run ./examples/quickstart [directory]
//
// It starts three replicas of itself as processes of their own. Each embeds
// the cache and nothing else runs: no server, no coordinator. The replicas take
// a directory into the cache (by default the source of Go's standard library),
// read it back through each other, lose one of themselves to SIGKILL in the
// middle of writing, and take a fourth one in. Every step checks what it claims
// by checksum; a failed check ends the program with exit code 1.
//
// main.go tells the story, fleet.go runs the processes, replica.go is the part
// of the program that would be your service.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// replicaEnv tells a process that it is a replica, and its name.
const replicaEnv = "SLOTMESH_QUICKSTART_REPLICA"

// runLimit ends a run that hangs.
const runLimit = 3 * time.Minute

func main() {
	if name := os.Getenv(replicaEnv); name != "" {
		serveReplica(name)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, errors.New("not done within "+runLimit.String()))
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		fmt.Fprintln(os.Stderr, "\nquickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	dir, err := inputDir(args)
	if err != nil {
		return err
	}
	out := newReport(os.Stdout)
	began := time.Now()

	out.step("Three replicas of this program start as three processes")
	f := &fleet{}
	defer f.stop()
	if err := startThree(ctx, f, out); err != nil {
		return err
	}

	out.step("They take " + dir + " into the cache, each file through a random replica")
	files, err := scan(dir, out)
	if err != nil {
		return err
	}
	load := &loader{fleet: f, files: files, out: out}
	if err := load.writeAll(ctx); err != nil {
		return err
	}

	out.step("Everything is read back through another replica")
	if err := load.verifyAll(ctx, 1); err != nil {
		return err
	}
	if err := printCalls(ctx, f, out); err != nil {
		return err
	}
	before, err := f.awaitBalance(ctx)
	if err != nil {
		return err
	}
	out.line("slots per replica: %s", before.counts())

	out.step("A second pass writes and reads; half way one replica gets SIGKILL")
	if err := load.rewriteWithKill(ctx, before); err != nil {
		return err
	}
	if err := load.verifyAll(ctx, 2); err != nil {
		return fmt.Errorf("after the kill: %w", err)
	}
	out.line("no acknowledged write is missing")

	out.step("A fourth replica starts and takes its share")
	joined := time.Now()
	if _, err := f.start(ctx, "n4"); err != nil {
		return err
	}
	after, err := f.awaitBalance(ctx)
	if err != nil {
		return err
	}
	out.line("the slots are even again after %s", round(time.Since(joined)))
	if err := load.verifyAll(ctx, 2); err != nil {
		return fmt.Errorf("after the join: %w", err)
	}
	printTable(out, before, after)
	out.line("")
	out.line("All checks passed in %s.", round(time.Since(began)))
	return nil
}

func startThree(ctx context.Context, f *fleet, out *report) error {
	began := time.Now()
	for _, name := range []string{"n1", "n2", "n3"} {
		r, err := f.start(ctx, name)
		if err != nil {
			return err
		}
		out.line("%s  process %d  at %s", r.name, r.cmd.Process.Pid, r.addr)
	}
	if _, err := f.awaitBalance(ctx); err != nil {
		return err
	}
	out.line("one cache of three nodes after %s", round(time.Since(began)))
	return nil
}

func printCalls(ctx context.Context, f *fleet, out *report) error {
	var sum Calls
	for _, r := range f.alive() {
		c, err := r.calls(ctx)
		if err != nil {
			return err
		}
		sum.Local += c.Local
		sum.Forwarded += c.Forwarded
		sum.Redirected += c.Redirected
	}
	out.line("calls so far: %s answered where they were made, %s by a peer in one hop, %s of them redirected",
		count(sum.Local), count(sum.Forwarded), count(sum.Redirected))
	return nil
}

// printTable shows who held how many slots in the beginning and in the end.
func printTable(out *report, before, after *slotTable) {
	out.line("")
	out.line("%-6s %10s %10s %10s %10s", "", "before", "", "after", "")
	out.line("%-6s %10s %10s %10s %10s", "node", "primary", "backup", "primary", "backup")
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		note := ""
		if before.primaries[name] > 0 && after.primaries[name] == 0 {
			note = "   killed"
		}
		out.line("%-6s %10s %10s %10s %10s%s", name,
			count(before.primaries[name]), count(before.backups[name]),
			count(after.primaries[name]), count(after.backups[name]), note)
	}
}
