// Session is a small web service that keeps its sessions and carts in an
// embedded slotmesh cache. Start as many replicas as you like, in front of them
// any load balancer: every replica knows every session, and none is lost when a
// replica is stopped or dies.
//
//	go run ./examples/session -http :8081 -addr 127.0.0.1:7951
//	go run ./examples/session -http :8082 -addr 127.0.0.1:7952 -join 127.0.0.1:7951
//
// main.go is what any service needs to embed the cache; session.go is the use
// of it and http.go the web.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/slotmesh/slotmesh"
)

// drainTime is for requests under way and then for the slots; Kubernetes gives
// a pod 30 seconds.
const drainTime = 25 * time.Second

func main() {
	addr := flag.String("addr", "127.0.0.1:7946", "host:port for the other replicas, TCP and UDP")
	web := flag.String("http", "127.0.0.1:8080", "host:port of the web service")
	join := flag.String("join", "", "other replicas, host:port separated by commas; none founds a cluster")
	flag.Parse()
	if err := run(*addr, *web, *join); err != nil {
		fmt.Fprintln(os.Stderr, "session:", err)
		os.Exit(1)
	}
}

func run(addr, web, join string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))

	listener, err := net.Listen("tcp", web)
	if err != nil {
		return err
	}
	opts := []slotmesh.Option{
		slotmesh.WithCluster("session-example"),
		slotmesh.WithAddr(addr),
		slotmesh.WithLogger(log),
	}
	if join != "" {
		opts = append(opts, slotmesh.WithSeeds(strings.Split(join, ",")...))
	}
	cache, err := slotmesh.Open(ctx, opts...)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler:           newHandler(newSessions(cache), cache),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with server.Shutdown
	log.Info("serving", "http", listener.Addr(), "node", cache.Cluster().Self().Name)

	select {
	case err = <-served: // never without Shutdown, unless the listener breaks
	case <-ctx.Done():
	}
	stop() // a second signal ends the process at once
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	log.Info("draining", "slots", cache.Stats().Primaries)
	return errors.Join(err, server.Shutdown(drain), cache.Shutdown(drain))
}
