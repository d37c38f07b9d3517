package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// fleet is the replicas that the driver has started.
type fleet struct {
	mu       sync.Mutex // guards replicas
	replicas []*replica
}

// replica is one process and the connection to it.
type replica struct {
	name string
	addr string
	cmd  *exec.Cmd
	rpc  *rpc.Client
	gone bool // guarded by fleet.mu
}

var errReplicaGone = errors.New("the replica's process is gone")

// start runs this program again as a replica that joins those there are.
func (f *fleet) start(ctx context.Context, name string) (*replica, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), replicaEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start replica %s: %w", name, err)
	}
	r := &replica{name: name, cmd: cmd, rpc: rpc.NewClient(pipe{out, in})}
	seeds := f.addrs()
	f.mu.Lock()
	f.replicas = append(f.replicas, r)
	f.mu.Unlock()
	if err := r.call(ctx, "Open", seeds, &r.addr); err != nil {
		return nil, fmt.Errorf("open replica %s: %w", name, err)
	}
	return r, nil
}

// call runs one method of a replica.
func (r *replica) call(ctx context.Context, method string, args, reply any) error {
	pending := r.rpc.Go("Replica."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pending.Done:
	}
	// What the replica itself answered is a ServerError; the rest are failures of
	// the connection.
	if pending.Error != nil && !errors.As(pending.Error, new(rpc.ServerError)) {
		return fmt.Errorf("%s: %w", r.name, errReplicaGone)
	}
	return pending.Error
}

func (r *replica) calls(ctx context.Context) (c Calls, err error) {
	err = r.call(ctx, "Count", struct{}{}, &c)
	return c, err
}

// kill ends a replica as a crash would.
func (f *fleet) kill(r *replica) error {
	f.mu.Lock()
	r.gone = true
	f.mu.Unlock()
	if err := r.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", r.name, err)
	}
	return nil
}

// stop ends every replica: they leave when the driver hangs up, and those that
// do not are killed.
func (f *fleet) stop() {
	for _, r := range f.replicas {
		r.rpc.Close()
		late := time.AfterFunc(3*time.Second, func() { _ = r.cmd.Process.Kill() })
		_ = r.cmd.Wait() // a killed replica has no exit code worth telling
		late.Stop()
	}
}

func (f *fleet) alive() []*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.replicas), func(r *replica) bool { return r.gone })
}

func (f *fleet) addrs() []string {
	var addrs []string
	for _, r := range f.alive() {
		addrs = append(addrs, r.addr)
	}
	return addrs
}

// slotTable is who holds what.
type slotTable struct {
	primary            []string // by slot
	primaries, backups map[string]int
}

func (t *slotTable) counts() string {
	var parts []string
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		if n := t.primaries[name]; n > 0 {
			parts = append(parts, name+" "+count(n))
		}
	}
	return strings.Join(parts, ", ")
}

// awaitBalance returns once every living replica sees all the others and every
// slot where it should be.
func (f *fleet) awaitBalance(ctx context.Context) (*slotTable, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		table, missing, err := f.lookAll(ctx)
		if err != nil || table != nil {
			return table, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("the slots are not even: %s", missing)
		}
	}
}

func (f *fleet) lookAll(ctx context.Context) (table *slotTable, missing string, err error) {
	alive := f.alive()
	var v View
	for _, r := range alive {
		v = View{}
		if err := r.call(ctx, "Look", struct{}{}, &v); err != nil {
			return nil, "", err
		}
		if v.Nodes != len(alive) || !v.Balanced {
			return nil, fmt.Sprintf("%s sees %d nodes of %d %v", r.name, v.Nodes, len(alive), v.Reasons), nil
		}
	}
	table = &slotTable{v.Primaries, map[string]int{}, map[string]int{}}
	for slot, primary := range v.Primaries {
		table.primaries[primary]++
		for _, b := range v.Backups[slot] {
			table.backups[b]++
		}
	}
	return table, "", nil
}
