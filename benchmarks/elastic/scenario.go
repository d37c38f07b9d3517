package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/process"
)

const (
	changeTime = 5 * time.Minute // bounds each step of a change
	fillTime   = 10 * time.Minute
	backups    = 1
	copies     = 1 + backups
)

// times is how long is measured before anything changes.
type times struct {
	probe time.Duration // at full rate
	quiet time.Duration // at half of it
}

// scenario is a change of a fleet. minimum is how many times the data has to
// move for it, all copies counted; below 0 that depends on what is written
// meanwhile.
type scenario struct {
	name     string
	replicas int
	disks    bool
	minimum  float64
	change   func(*mesh.Fleet) error
	follows  string // the scenario whose fleet it goes on with, where that was just run
}

var scenarios = []scenario{
	{"scale_out_3_to_4", 3, false, copies / 4.0, join, ""},
	{"scale_in_4_to_3", 4, false, copies / 4.0, leave, "scale_out_3_to_4"},
	{"rolling_restart", 3, true, -1, restart, ""},
	{"rolling_replacement", 3, false, copies, replace, ""},
	{"scale_3_to_12_and_back", 3, false, 2 * copies * 9 / 12.0, storm, ""},
}

func join(f *mesh.Fleet) error {
	if _, err := f.Join(false); err != nil {
		return err
	}
	return f.AwaitBalance(changeTime)
}

func leave(f *mesh.Fleet) error {
	err := f.Leave(0, changeTime)
	return errors.Join(err, f.AwaitBalance(changeTime))
}

// restart has each replica hand over to its backups, end, and come back with its
// disk before the others begin to repair.
func restart(f *mesh.Fleet) error {
	for i := range 3 {
		if err := f.StepDown(i, changeTime); err != nil {
			return fmt.Errorf("n%d steps down: %w", i+1, err)
		}
		if err := f.Restart(i); err != nil {
			return err
		}
		if err := f.AwaitBalance(changeTime); err != nil {
			return fmt.Errorf("after n%d came back: %w", i+1, err)
		}
	}
	return nil
}

// replace has a replica of a new name wait for the seat of each that leaves.
func replace(f *mesh.Fleet) error {
	for i := range 3 {
		if _, err := f.JoinSeat(f.Replicas[i].Name); err != nil {
			return err
		}
		if err := f.AwaitBalance(changeTime); err != nil {
			return fmt.Errorf("while a replica waits for the seat of n%d: %w", i+1, err)
		}
		if err := f.Leave(i, changeTime); err != nil {
			return fmt.Errorf("n%d leaves: %w", i+1, err)
		}
		if err := f.AwaitBalance(changeTime); err != nil {
			return fmt.Errorf("after n%d was replaced: %w", i+1, err)
		}
	}
	return nil
}

func storm(f *mesh.Fleet) error {
	first := len(f.Replicas)
	for range 9 {
		if _, err := f.Join(false); err != nil {
			return err
		}
	}
	if err := f.AwaitBalance(changeTime); err != nil {
		return err
	}
	for i := range 9 {
		if err := f.Leave(first+i, changeTime); err != nil {
			return err
		}
	}
	return f.AwaitBalance(changeTime)
}

// stage is a filled fleet, and the replica with the callers.
type stage struct {
	fleet  *mesh.Fleet
	driver *process.Child
	dir    string // of the disks; "" if there are none
	name   string // of the last scenario
}

func (st *stage) stop() {
	if st.fleet != nil {
		st.fleet.Stop()
	}
	if st.dir != "" {
		_ = os.RemoveAll(st.dir) // it lies where temporary files do
	}
	*st = stage{}
}

// set makes the stage that s begins with.
func (st *stage) set(s scenario, keys int, verbose bool) (err error) {
	if st.fleet != nil && st.name == s.follows {
		return nil
	}
	st.stop()
	if s.disks {
		if st.dir, err = os.MkdirTemp("", "slotmesh-elastic-"); err != nil {
			return err
		}
		st.fleet, err = mesh.StartKept(s.replicas, backups, verbose, st.dir)
	} else {
		st.fleet, err = mesh.Start(s.replicas, backups, verbose)
	}
	if err != nil {
		return err
	}
	guest, err := st.fleet.Join(true)
	if err != nil {
		return err
	}
	if err := st.fleet.AwaitBalance(changeTime); err != nil {
		return err
	}
	st.driver = st.fleet.Replicas[guest]
	if err := st.driver.Call(fillTime, "Load.Fill", FillArgs{keys, valueBytes}, &struct{}{}); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

// run changes the stage's fleet under load.
func (st *stage) run(s scenario, keys int, t times, verbose bool) (l line, err error) {
	l = line{System: "slotmesh", Scenario: s.name}
	defer func() {
		if err != nil {
			st.stop()
		}
	}()
	if err := st.set(s, keys, verbose); err != nil {
		return l, err
	}
	st.name = s.name
	f, driver := st.fleet, st.driver
	measure := func(rate float64, during func() error) (r Report, err error) {
		if err := driver.Call(opTimeout, "Load.Begin", rate, &struct{}{}); err != nil {
			return r, err
		}
		err = during()
		return r, errors.Join(err, driver.Call(changeTime, "Load.End", struct{}{}, &r))
	}
	wait := func(d time.Duration) func() error {
		return func() error { time.Sleep(d); return nil }
	}
	full, err := measure(0, wait(t.probe))
	if err != nil {
		return l, err
	}
	rate := float64(full.Ops) / full.Took.Seconds() / 2
	quiet, err := measure(rate, wait(t.quiet))
	if err != nil {
		return l, err
	}
	before, err := f.BytesCopied()
	if err != nil {
		return l, err
	}
	begun := time.Now()
	r, err := measure(rate, func() error { return s.change(f) })
	l.Seconds = time.Since(begun).Seconds()
	after, cerr := f.BytesCopied()
	l.take(quiet, r)
	l.Moved = after - before
	data := uint64(keys) * recordBytes(valueBytes)
	if l.Minimum = uint64(s.minimum * float64(data)); s.minimum < 0 {
		l.Minimum = uint64(r.Written) * recordBytes(valueBytes)
	}
	err = errors.Join(err, cerr, driver.Call(fillTime, "Load.Lost", struct{}{}, &l.Lost))
	return l, err
}

func (l *line) take(quiet, r Report) {
	l.Errors, l.Quiet, l.P99, l.P999 = r.Errors, quiet.P99, r.P99, r.P999
	l.Gap = float64(r.Longest.Microseconds()) / 1000
	if r.Reads > 0 {
		l.HitRate = float64(r.Hits) / float64(r.Reads)
	}
	if r.Error != "" {
		fmt.Fprintf(os.Stderr, "%s, %s: %d calls failed, one of them: %s\n", l.System, l.Scenario, r.Errors, r.Error)
	}
}
