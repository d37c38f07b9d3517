package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/signal"
	"time"

	"github.com/slotmesh/slotmesh"
)

const (
	// replicaEnv tells a process that it is a replica, and its name.
	replicaEnv = "SLOTMESH_ROLLING_REPLICA"

	callTime  = 15 * time.Second // of one call; nothing here should take a tenth
	leaveTime = 20 * time.Second
)

// Replica is what the driver calls. Its methods have the form that net/rpc asks
// for; the connection is the process's standard input and output, so that a
// replica ends with its driver.
type Replica struct {
	name  string
	cache *slotmesh.Cache
}

func serveReplica(name string) {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches the whole group; the driver decides
	r := &Replica{name: name}
	server := rpc.NewServer()
	if err := server.Register(r); err != nil {
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
	server.ServeConn(pipe{os.Stdin, os.Stdout})
	if r.cache != nil {
		_ = r.cache.Close() // after Leave there is nothing left to close
	}
}

// pipe makes one connection of two streams.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// OpenArgs are what a replica starts with.
type OpenArgs struct {
	Seat  string
	Seeds []string
}

// Open starts the node and returns its address when it is ready for calls, as a
// readiness probe would wait for.
func (r *Replica) Open(a OpenArgs, addr *string) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	c, err := slotmesh.Open(ctx,
		slotmesh.WithName(r.name),
		slotmesh.WithSeat(a.Seat),
		slotmesh.WithCluster("rolling"),
		slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithSeeds(a.Seeds...),
		slotmesh.WithMaxMemory(256<<20),
		slotmesh.WithRepairDelay(2*time.Second), // short, as this is to take a minute at most
		slotmesh.WithEviction(slotmesh.EvictNone),
	)
	if err != nil {
		return err
	}
	r.cache, *addr = c, c.Cluster().Self().Addr
	return c.Ready(ctx)
}

// Leave is what the service would do on SIGTERM. It returns the bytes that the
// replica has copied to others in its life.
func (r *Replica) Leave(_ struct{}, copied *uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	err := r.cache.Shutdown(ctx)
	*copied = r.cache.Stats().BytesCopied
	return err
}

// Record is a key and its value.
type Record struct {
	Key   string
	Value []byte
}

// Set returns nil when the primary and a backup have the record.
func (r *Replica) Set(a Record, _ *struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	return r.cache.Set(ctx, a.Key, a.Value)
}

// Get returns an empty value for a key that is not there.
func (r *Replica) Get(key string, value *[]byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	v, err := r.cache.Get(ctx, key)
	if errors.Is(err, slotmesh.ErrNotFound) {
		return nil
	}
	*value = v
	return err
}

// View is the cluster as a replica sees it.
type View struct {
	Nodes     int
	Balanced  bool
	Reasons   []string
	Primaries map[string]int // slots by node
	Copied    uint64         // bytes that the replica sent to others
}

// Look returns what the replica sees.
func (r *Replica) Look(_ struct{}, v *View) error {
	cluster := r.cache.Cluster()
	h := cluster.Health()
	*v = View{len(cluster.Nodes()), h.Balanced, h.Reasons, map[string]int{}, r.cache.Stats().BytesCopied}
	for slot := range cluster.Slots() {
		v.Primaries[slot.Primary]++
	}
	return nil
}
