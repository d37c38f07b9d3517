// Slotmeshd is a node of a slotmesh cluster and nothing else: the smallest
// program that embeds the library, for a sidecar, for trying out, or for a
// cluster that programs join as guests. Flags set it up, or the environment:
// --data-dir is $SLOTMESH_DATA_DIR.
//
//	slotmeshd --name a --addr 127.0.0.1:7951
//	slotmeshd --name b --addr 127.0.0.1:7952 --join 127.0.0.1:7951
//
// It prints one line on standard output when it is ready, and logs to standard
// error. SIGTERM and SIGINT hand its slots over and end it; a second one ends
// it at once.
//
// Exit codes: 0 all slots were handed over; 1 it could not start, or failed;
// 2 wrong flags; 3 it was stopped and some slots were not handed over in time.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/slotmesh/slotmesh"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitHasty  = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, stop, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main until ctx ends, which is the first signal; stop lets the second
// one kill the process.
func run(ctx context.Context, stop func(), args []string, getenv func(string) string, out, errOut io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintln(errOut, "slotmeshd:", err)
		return code
	}
	c, err := parse(args, getenv, out)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		return fail(exitUsage, err)
	case c.version:
		fmt.Fprintln(out, "slotmeshd", version())
		return exitOK
	}
	log, err := c.logger()
	if err != nil {
		return fail(exitUsage, err)
	}
	opts, err := c.options(log)
	if err != nil {
		return fail(exitUsage, err)
	}
	// The ports first: one that is taken is told at once.
	p, err := listen(ctx, c)
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return fail(exitUsage, err) // it is no address
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	cache, err := slotmesh.Open(ctx, opts...)
	if err != nil {
		p.close()
		if errors.Is(err, slotmesh.ErrInvalid) {
			return fail(exitUsage, errors.New(flagged.Replace(err.Error())))
		}
		return fail(exitFailed, err)
	}
	p.serve(c, cache, log)
	defer p.close()
	if c.secretFile != "" {
		following, end := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { followSecrets(following, c.secretFile, secretsEvery, cache, log) }) // until end
		defer wg.Wait()
		defer end()
	}
	return serve(ctx, stop, c, cache, p, log, out, fail)
}

// serve runs until ctx ends or the node does.
func serve(ctx context.Context, stop func(), c *config, cache *slotmesh.Cache, p *ports, log *slog.Logger, out io.Writer, fail func(int, error) int) int {
	if err := cache.Ready(ctx); err != nil && ctx.Err() == nil {
		return fail(exitFailed, errors.Join(err, cache.Close()))
	}
	if ctx.Err() == nil {
		view := cache.Cluster()
		self := view.Self()
		members := slices.DeleteFunc(view.Nodes(), func(n slotmesh.Node) bool { return n.Visitor })
		fmt.Fprintf(out, "slotmeshd ready: node %s at %s in cluster %s of %d%s\n", self.Name, self.Addr, c.cluster, len(members), p.where())
		select {
		case <-ctx.Done():
		case <-cache.Done():
			return fail(exitFailed, cmp.Or(cache.Err(), slotmesh.ErrClosed))
		}
	}
	stop()
	drain, cancel := context.WithTimeout(context.Background(), c.shutdownTimeout)
	defer cancel()
	log.Info("handing slots over", "slots", cache.Stats().Primaries, "within", c.shutdownTimeout)
	end := cache.Shutdown
	if c.stop == stopRestart {
		end = cache.StepDown
	}
	if err := end(drain); err != nil {
		return fail(exitHasty, err)
	}
	return exitOK
}

// version is what the build knows of itself.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
