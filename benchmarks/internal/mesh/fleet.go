// Package mesh runs fleets of slotmesh replicas, each in a process of its own.
package mesh

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

// callTimeout bounds calls to a replica that only look something up.
const callTimeout = 10 * time.Second

// Fleet is the replicas that the driver has started, in the order of their
// names. It is for one goroutine.
type Fleet struct {
	Replicas []*process.Child
	addrs    []string
	backups  int
	verbose  bool
	guest    bool   // the next replica holds no data
	near     int64  // bytes of the next replica's near cache
	dir      string // of the data directories; empty: nothing is kept on disk
	relaxed  bool   // disks are synced once a second
	seat     string // of the next replica; empty: its name
	budget   int64  // of the replicas' copies, bytes a second; 0: adaptive
	left     uint64 // bytes copied by replicas that have left
}

// Start starts n replicas, n1 and so on, and returns when every slot and its
// backups are in place.
func Start(n, backups int, verbose bool) (*Fleet, error) {
	return start(n, &Fleet{backups: backups, verbose: verbose})
}

// StartOnDisk is Start of replicas that sync every write to a data directory
// of their own below dir.
func StartOnDisk(n, backups int, verbose bool, dir string) (*Fleet, error) {
	return start(n, &Fleet{backups: backups, verbose: verbose, dir: dir})
}

// StartKept is StartOnDisk of replicas that sync once a second.
func StartKept(n, backups int, verbose bool, dir string) (*Fleet, error) {
	return start(n, &Fleet{backups: backups, verbose: verbose, dir: dir, relaxed: true})
}

// StartBudget is Start of replicas whose copies have a budget, bytes a second.
func StartBudget(n, backups int, verbose bool, budget int64) (*Fleet, error) {
	return start(n, &Fleet{backups: backups, verbose: verbose, budget: budget})
}

func start(n int, f *Fleet) (*Fleet, error) {
	for i := range n {
		if err := f.open(i, n); err != nil {
			f.Stop()
			return nil, err
		}
	}
	if err := f.AwaitBalance(4 * startTimeout); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *Fleet) open(i, expect int) error {
	r, err := process.Again(fmt.Sprint("n", i+1))
	if err != nil {
		return err
	}
	args := OpenArgs{Addr: "127.0.0.1:0", Expect: expect, Backups: f.backups, Verbose: f.verbose, Guest: f.guest, Near: f.near, Relaxed: f.relaxed, Seat: f.seat, Budget: f.budget}
	if f.dir != "" && !f.guest {
		args.Dir = filepath.Join(f.dir, r.Name)
	}
	if i == len(f.Replicas) {
		f.Replicas, f.addrs = append(f.Replicas, r), append(f.addrs, "")
	} else {
		args.Addr, f.Replicas[i] = f.addrs[i], r
	}
	for j, addr := range f.addrs {
		if j != i && f.Replicas[j].Alive() {
			args.Seeds = append(args.Seeds, addr)
		}
	}
	return r.Call(startTimeout, service+".Open", args, &f.addrs[i])
}

// Join starts one more replica, which holds data unless it is a guest, and
// returns its index.
func (f *Fleet) Join(guest bool) (int, error) {
	i := len(f.Replicas)
	f.guest = guest
	err := f.open(i, 0)
	f.guest = false
	return i, err
}

// JoinNear starts a guest with a near cache of so many bytes, and returns its
// index.
func (f *Fleet) JoinNear(bytes int64) (int, error) {
	f.near = bytes
	i, err := f.Join(true)
	f.near = 0
	return i, err
}

// JoinSeat is Join of a replica that takes over a seat.
func (f *Fleet) JoinSeat(seat string) (int, error) {
	f.seat = seat
	i, err := f.Join(false)
	f.seat = ""
	return i, err
}

// BytesCopied is how many bytes of records all replicas together, those that
// have left included, sent to fill copies.
func (f *Fleet) BytesCopied() (uint64, error) {
	sum := f.left
	for _, i := range f.Alive() {
		var s slotmesh.Stats
		if err := f.Replicas[i].Call(callTimeout, service+".Stats", struct{}{}, &s); err != nil {
			return 0, err
		}
		sum += s.BytesCopied
	}
	return sum, nil
}

// Leave has a replica hand over everything and end.
func (f *Fleet) Leave(i int, timeout time.Duration) error {
	err := f.Replicas[i].Call(timeout+time.Second, service+".Shutdown", timeout, &struct{}{})
	var copied uint64
	if f.Replicas[i].Call(callTimeout, service+".Copied", struct{}{}, &copied) == nil {
		f.left += copied
	}
	f.Replicas[i].Kill()
	return err
}

// StepDown has a replica hand its slots to their backups and end, without
// copying anything: it is to be back, with its disk, before the others begin to
// repair.
func (f *Fleet) StepDown(i int, timeout time.Duration) error {
	var copied uint64
	err := f.Replicas[i].Call(timeout+time.Second, service+".StepDown", timeout, &copied)
	f.left += copied
	f.Replicas[i].Kill()
	return err
}

// Restart starts a killed replica again, under its name and at its address.
func (f *Fleet) Restart(i int) error { return f.open(i, 0) }

// Look returns what a replica sees.
func (f *Fleet) Look(i int) (View, error) {
	var v View
	err := f.Replicas[i].Call(callTimeout, service+".Look", struct{}{}, &v)
	return v, err
}

// AwaitBalance returns once every living replica sees all the others and every
// slot where it should be.
func (f *Fleet) AwaitBalance(timeout time.Duration) error {
	alive := f.Alive()
	for deadline := time.Now().Add(timeout); ; time.Sleep(200 * time.Millisecond) {
		var missing error
		for _, i := range alive {
			var v Rest
			if err := f.Replicas[i].Call(callTimeout, service+".AtRest", struct{}{}, &v); err != nil {
				return err
			}
			if v.Nodes != len(alive) || !v.Health.Balanced {
				missing = fmt.Errorf("%s sees %d nodes of %d, %+v", f.Replicas[i].Name, v.Nodes, len(alive), v.Health)
				break
			}
		}
		if missing == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errors.New("the slots are not in place"), missing)
		}
	}
}

// AwaitTakeover returns once the others see no slot served by the replica.
func (f *Fleet) AwaitTakeover(victim int, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		held := 0
		for _, i := range f.Alive() {
			if i == victim {
				continue
			}
			v, err := f.Look(i)
			if err != nil {
				return err
			}
			for _, primary := range v.Primaries {
				if primary == f.Replicas[victim].Name {
					held++
				}
			}
		}
		if held == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still has %d slots after %s", f.Replicas[victim].Name, held, timeout)
		}
	}
}

// Alive returns the replicas that were not killed.
func (f *Fleet) Alive() []int {
	var alive []int
	for i, r := range f.Replicas {
		if r.Alive() {
			alive = append(alive, i)
		}
	}
	return alive
}

// Profile writes a CPU profile of one replica to a file, until the function it
// returns is called.
func (f *Fleet) Profile(i int, path string) (end func() error, err error) {
	r := f.Replicas[i]
	err = r.Call(callTimeout, service+".Profile", path, &struct{}{})
	return func() error { return r.Call(callTimeout, service+".EndProfile", struct{}{}, &struct{}{}) }, err
}

// Stop ends all replicas.
func (f *Fleet) Stop() {
	for _, r := range f.Replicas {
		r.Kill()
	}
}
