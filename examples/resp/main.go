// Resp is a node that Redis clients can talk to: a cache server of nothing but
// the library. Start some, and point redis-cli -c at any of them:
//
//	go run ./examples/resp -addr 127.0.0.1:7946 -resp 127.0.0.1:6379
//	go run ./examples/resp -addr 127.0.0.1:7947 -resp 127.0.0.1:6380 -join 127.0.0.1:7946
//	redis-cli -c -p 6380 set greeting hello
//
// It ends on an interrupt, after its slots have gone to the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/resp"
)

// leaveTime bounds the hand-over of slots at the end.
const leaveTime = 30 * time.Second

func main() {
	addr := flag.String("addr", "127.0.0.1:7946", "host:port for the other nodes")
	redis := flag.String("resp", "127.0.0.1:6379", "host:port for Redis clients")
	join := flag.String("join", "", "host:port of nodes to join, separated by commas; none: found a cluster")
	data := flag.String("data", "", "directory to keep the data in; none: in memory alone")
	name := flag.String("name", "", "name of this node; default: host name and port")
	backups := flag.Int("backups", 1, "backups of each slot")
	forward := flag.Bool("forward", false, "answer for every slot, for clients that know no clusters")
	silence := flag.Duration("failure-timeout", 1500*time.Millisecond, "how long a node may be silent, or late with a copy, before others go on without it")
	password := flag.String("password", "", "password of the default user; none: anybody may connect")
	flag.Parse()
	if err := run(*addr, *redis, *join, *data, *name, *backups, *forward, *password, *silence); err != nil {
		fmt.Fprintln(os.Stderr, "resp:", err)
		os.Exit(1)
	}
}

func run(addr, redis, join, data, name string, backups int, forward bool, password string, silence time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := []slotmesh.Option{
		slotmesh.WithAddr(addr), slotmesh.WithBackups(backups), slotmesh.WithFailureTimeout(silence), slotmesh.WithReplicationTimeout(silence / 3),
	}
	if join != "" {
		opts = append(opts, slotmesh.WithSeeds(strings.Split(join, ",")...))
	}
	if data != "" {
		opts = append(opts, slotmesh.WithDataDir(data))
	}
	if name != "" {
		opts = append(opts, slotmesh.WithName(name))
	}
	cache, err := slotmesh.Open(ctx, opts...)
	if err != nil {
		return err
	}
	defer cache.Close()
	listener, err := net.Listen("tcp", redis)
	if err != nil {
		return err
	}
	respOpts := []resp.Option{resp.WithShutdown(stop)}
	if forward {
		respOpts = append(respOpts, resp.WithForwarding())
	}
	if password != "" {
		respOpts = append(respOpts, resp.WithUser("default", password))
	}
	if err := cache.Ready(ctx); err != nil {
		listener.Close()
		return err
	}
	fmt.Printf("%s serves redis clients at %s\n", cache.Cluster().Self().Name, listener.Addr())

	// Clients are served until the slots have gone, and sent on meanwhile.
	serving, end := context.WithCancel(context.Background())
	defer end()
	served := make(chan error, 1)
	go func() { served <- resp.Serve(serving, cache, listener, respOpts...) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	leaving, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	err = cache.Shutdown(leaving)
	if serr := <-served; !errors.Is(serr, slotmesh.ErrClosed) {
		err = errors.Join(err, serr)
	}
	return err
}
