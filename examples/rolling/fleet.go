package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/rpc"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// fleet is the processes, and the load balancer in front of them.
type fleet struct {
	mu      sync.Mutex // guards what follows
	alive   []*replica // in the order of their start
	serving []*replica // those that get calls
	gone    uint64     // bytes copied by replicas that have left
}

// replica is one process and the connection to it.
type replica struct {
	name    string
	seat    int
	addr    string
	cmd     *exec.Cmd
	rpc     *rpc.Client
	state   string         // for the screen; guarded by fleet.mu
	running sync.WaitGroup // calls; joined under fleet.mu while it serves
}

func seatName(seat int) string { return fmt.Sprintf("web-%d", seat+1) }

// start runs this program again as a replica, and returns when it is ready.
func (f *fleet) start(ctx context.Context, seat, version int) (*replica, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &replica{name: fmt.Sprintf("%s-v%d", seatName(seat), version), seat: seat, state: "starting", cmd: exec.Command(self)}
	r.cmd.Env = append(os.Environ(), replicaEnv+"="+r.name)
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.name, err)
	}
	r.rpc = rpc.NewClient(pipe{out, in})
	args := OpenArgs{Seat: seatName(seat)}
	f.mu.Lock()
	for _, other := range f.alive {
		args.Seeds = append(args.Seeds, other.addr)
	}
	f.alive = append(f.alive, r)
	f.mu.Unlock()
	var addr string
	if err := r.call(ctx, "Open", args, &addr); err != nil {
		return nil, fmt.Errorf("open %s: %w", r.name, err)
	}
	f.mu.Lock()
	r.addr, r.state = addr, "ready"
	f.mu.Unlock()
	return r, nil
}

// call runs one method of a replica.
func (r *replica) call(ctx context.Context, method string, args, reply any) error {
	pending := r.rpc.Go("Replica."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pending.Done:
		return pending.Error
	}
}

// serve lets the load balancer send calls to a replica.
func (f *fleet) serve(r *replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.state = "serving"
	f.serving = append(f.serving, r)
}

// pick returns a replica for one call, and what to run after it.
func (f *fleet) pick() (r *replica, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r = f.serving[rand.IntN(len(f.serving))]
	r.running.Add(1)
	return r, r.running.Done
}

// leave takes a replica out of the load balancer, waits for its last call, has
// it hand over, and waits for the end of the process.
func (f *fleet) leave(ctx context.Context, r *replica) error {
	f.mu.Lock()
	r.state = "leaving"
	f.serving = slices.DeleteFunc(f.serving, func(other *replica) bool { return other == r })
	f.mu.Unlock()
	r.running.Wait()
	var copied uint64
	if err := r.call(ctx, "Leave", struct{}{}, &copied); err != nil {
		return fmt.Errorf("%s leaves: %w", r.name, err)
	}
	f.mu.Lock()
	f.gone += copied
	f.alive = slices.DeleteFunc(f.alive, func(other *replica) bool { return other == r })
	f.mu.Unlock()
	r.rpc.Close()
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("%s ends: %w", r.name, err)
	}
	return nil
}

// stop ends every process: they leave when the driver hangs up, and those that
// do not are killed.
func (f *fleet) stop() {
	for _, r := range f.replicas() {
		r.rpc.Close()
		late := time.AfterFunc(3*time.Second, func() { _ = r.cmd.Process.Kill() })
		_ = r.cmd.Wait() // a killed replica has no exit code worth telling
		late.Stop()
	}
}

func (f *fleet) replicas() []*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.alive)
}

// holder returns the replica that has been in a seat for longest.
func (f *fleet) holder(seat int) *replica {
	list := f.replicas()
	return list[slices.IndexFunc(list, func(r *replica) bool { return r.seat == seat })]
}

// copied returns the bytes that all replicas, also those that have left, sent
// to others to fill copies.
func (f *fleet) copied(ctx context.Context) (uint64, error) {
	f.mu.Lock()
	sum := f.gone
	f.mu.Unlock()
	for _, r := range f.replicas() {
		var v View
		if err := r.call(ctx, "Look", struct{}{}, &v); err != nil {
			return 0, err
		}
		sum += v.Copied
	}
	return sum, nil
}

// awaitRest returns when all replicas see each other and every slot where it
// should be, as a deployment waits between two pods.
func (f *fleet) awaitRest(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	list := f.replicas()
	for i := 0; i < len(list); {
		var v View
		if err := list[i].call(ctx, "Look", struct{}{}, &v); err != nil {
			return err
		}
		if v.Nodes == len(list) && v.Balanced {
			i++
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s sees %d nodes of %d: %v", list[i].name, v.Nodes, len(list), v.Reasons)
		}
	}
	return nil
}

// table is the fleet and its load in lines.
func (f *fleet) table(ctx context.Context, l *load) []string {
	type row struct {
		name, state string
		pid         int
	}
	var rows []row
	f.mu.Lock()
	for _, r := range f.alive {
		rows = append(rows, row{r.name, r.state, r.cmd.Process.Pid})
	}
	f.mu.Unlock()
	var v View
	r, done := f.pick()
	err := r.call(ctx, "Look", struct{}{}, &v)
	done()
	if err != nil {
		return nil // at the end
	}
	const width = 24
	lines := []string{""}
	for _, r := range rows {
		n := v.Primaries[r.name]
		bar := strings.Repeat("#", width*n*seats/2/16384)
		lines = append(lines, fmt.Sprintf("  %-9s process %-7d %-9s %6s slots  %s", r.name, r.pid, r.state, thousands(n), bar))
	}
	for len(lines) < seats+2 {
		lines = append(lines, "")
	}
	rest := "every slot is where it should be"
	if !v.Balanced {
		rest = "slots are on their way"
	}
	calls, rates, _ := strings.Cut(l.tally().String(), ", hit") // a terminal may be narrow
	return append(lines, "  "+rest, "  "+calls, "  hit"+rates)
}
