package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/signal"
	"time"

	"github.com/slotmesh/slotmesh"
)

// callTimeout is what a replica gives one call; a failover takes far less.
const callTimeout = 15 * time.Second

// Replica is what a replica does for the driver. Its methods have the form that
// net/rpc asks for; the connection is the process's standard input and output,
// so that a replica ends with its driver.
type Replica struct {
	name  string
	cache *slotmesh.Cache
}

// serveReplica runs until the driver closes the connection or dies.
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
		r.cache.Close()
	}
}

// pipe makes one connection of two streams.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// Open starts the replica's node and returns its address.
func (r *Replica) Open(seeds []string, addr *string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	c, err := slotmesh.Open(ctx,
		slotmesh.WithName(r.name),
		slotmesh.WithCluster("quickstart"),
		slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithSeeds(seeds...),
		slotmesh.WithMaxMemory(1<<30), // the input is bounded, see scan
		slotmesh.WithEviction(slotmesh.EvictNone),
	)
	if err != nil {
		return err
	}
	r.cache, *addr = c, c.Cluster().Self().Addr
	return c.Ready(ctx)
}

// PutArgs asks to store what pass p makes of a file.
type PutArgs struct {
	Key, Path string
	Pass      int
}

// Put reads a file and stores it. That it returns nil means that the write was
// acknowledged: a primary and a backup hold it.
func (r *Replica) Put(a PutArgs, _ *struct{}) error {
	content, err := os.ReadFile(a.Path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return r.cache.Set(ctx, a.Key, inPass(content, a.Pass))
}

// inPass tells the values of later passes from those of the first.
func inPass(content []byte, pass int) []byte {
	if pass == 1 {
		return content
	}
	return append(fmt.Appendf(nil, "// pass %d\n", pass), content...)
}

// Sum is the checksum of a value.
type Sum [sha256.Size]byte

// Get reads a key and returns the checksum of its value.
func (r *Replica) Get(key string, sum *Sum) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	value, err := r.cache.Get(ctx, key)
	*sum = sha256.Sum256(value)
	return err
}

// Calls counts the calls made at a replica.
type Calls struct{ Local, Forwarded, Redirected int }

// Count returns the replica's counters.
func (r *Replica) Count(_ struct{}, c *Calls) error {
	s := r.cache.Stats()
	*c = Calls{int(s.Local), int(s.Forwarded), int(s.Redirected)}
	return nil
}

// View is the cluster as a replica sees it.
type View struct {
	Nodes     int
	Balanced  bool
	Reasons   []string
	Primaries []string   // by slot
	Backups   [][]string // by slot
}

// Look returns what the replica sees; the slots only if it sees them balanced.
func (r *Replica) Look(_ struct{}, v *View) error {
	cluster := r.cache.Cluster()
	health := cluster.Health()
	*v = View{Nodes: len(cluster.Nodes()), Balanced: health.Balanced, Reasons: health.Reasons}
	if !v.Balanced {
		return nil
	}
	for slot := range cluster.Slots() {
		v.Primaries = append(v.Primaries, slot.Primary)
		v.Backups = append(v.Backups, slot.Backups)
	}
	return nil
}
