// Slotmesh looks at a cluster and operates it. It joins as a visitor, which
// holds no data and has no vote, does what it was asked to and leaves.
//
//	slotmesh --join 10.0.0.5:7946 info
//	slotmesh completion bash > /etc/bash_completion.d/slotmesh
//
// Exit codes: see the constants below, and docs/cli.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/slotmesh/slotmesh"
)

// Exit codes, for scripts.
const (
	exitOK       = 0
	exitFailed   = 1   // the command failed
	exitUsage    = 2   // it was not understood
	exitNotFound = 3   // no such key, or a condition that did not hold
	exitUnwell   = 4   // info --check and doctor: the cluster is not well
	exitNoJoin   = 5   // no node could be joined
	exitDeclined = 6   // a change that hurts was not confirmed
	exitStopped  = 130 // interrupted; watch and top end so with 0
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// Errors that decide the exit code.
var (
	errUnwell   = errors.New("the cluster is not well")
	errDeclined = errors.New("nothing was changed")
	errNoJoin   = errors.New("cannot join")
)

// usageError is a command line that was not understood.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is main without the process.
func run(ctx context.Context, args []string, getenv func(string) string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut, getenv: getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	refuseUnknown(root)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	switch code {
	case exitOK, exitUnwell:
	case exitNotFound:
		fmt.Fprintln(errOut, strings.TrimPrefix(err.Error(), "slotmesh: "))
	case exitStopped:
	default:
		fmt.Fprintln(errOut, "slotmesh:", strings.TrimPrefix(err.Error(), "slotmesh: "))
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		return exitStopped
	case usage, errors.Is(err, slotmesh.ErrInvalid), errors.Is(err, slotmesh.ErrUnknownNode):
		return exitUsage
	case errors.Is(err, slotmesh.ErrNotFound), errors.Is(err, slotmesh.ErrConditionFailed):
		return exitNotFound
	case errors.Is(err, errUnwell):
		return exitUnwell
	case errors.Is(err, errNoJoin):
		return exitNoJoin
	case errors.Is(err, errDeclined):
		return exitDeclined
	}
	return exitFailed
}
