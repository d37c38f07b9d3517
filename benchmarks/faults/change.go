package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
)

const (
	changeTime = 60 * time.Second // bounds each step of a change
	coldKeys   = 20_000           // written once before, and still there at the end
)

func scaleOut(f *mesh.Fleet) error {
	if _, err := f.Join(false); err != nil {
		return err
	}
	return f.AwaitBalance(changeTime)
}

func scaleIn(f *mesh.Fleet) error {
	err := f.Leave(0, changeTime)
	return errors.Join(err, f.AwaitBalance(changeTime))
}

// rollingRestart replaces each replica by a new process of its name, without a
// disk.
func rollingRestart(f *mesh.Fleet) error {
	for i := range 3 {
		if err := f.Leave(i, changeTime); err != nil {
			return fmt.Errorf("n%d leaves: %w", i+1, err)
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

// rollingReplacement starts a replica of a new name before each that leaves.
func rollingReplacement(f *mesh.Fleet) error {
	for i := range 3 {
		if _, err := f.Join(false); err != nil {
			return err
		}
		if err := f.AwaitBalance(changeTime); err != nil {
			return fmt.Errorf("after a replica joined: %w", err)
		}
		if err := f.Leave(i, changeTime); err != nil {
			return fmt.Errorf("n%d leaves: %w", i+1, err)
		}
		if err := f.AwaitBalance(changeTime); err != nil {
			return fmt.Errorf("after n%d left: %w", i+1, err)
		}
	}
	return nil
}

// runChange changes a fleet under load, as a deploy does. The callers are in a
// guest that holds no data and stays.
func runChange(ft fault, verbose bool) (result, error) {
	r := result{errors: map[string]int{}}
	f, err := mesh.Start(ft.replicas, ft.backups, verbose)
	if err != nil {
		return r, err
	}
	defer f.Stop()
	guest, err := f.Join(true)
	if err != nil {
		return r, err
	}
	driver := f.Replicas[guest]
	if err := f.AwaitBalance(changeTime); err != nil {
		return r, err
	}
	s := Spec{Readers: 2}
	for i := range callers {
		c := Caller{Gauged: true}
		for k := range callerKeys {
			c.Keys = append(c.Keys, len(s.Keys))
			s.Keys = append(s.Keys, fmt.Sprintf("caller%d.%d", i, k))
		}
		s.Callers = append(s.Callers, c)
	}
	for i := range coldKeys {
		s.Keys = append(s.Keys, fmt.Sprint("cold", i))
	}
	s.Cold = coldKeys
	if s.Floors, err = createFloors(len(s.Keys)); err != nil {
		return r, err
	}
	defer os.Remove(s.Floors)
	if err := driver.Call(changeTime, "Load.Begin", s, &struct{}{}); err != nil {
		return r, err
	}
	time.Sleep(warmUp)
	if err := driver.Call(patience, "Load.Mark", struct{}{}, &struct{}{}); err != nil {
		return r, err
	}
	begun := time.Now()
	err = ft.change(f)
	took := time.Since(begun)
	time.Sleep(warmUp)
	var p Report
	err = errors.Join(err, driver.Call(patience, "Load.End", struct{}{}, &p))
	r.add(p)
	err = errors.Join(err, driver.Call(patience, "Load.Lost", struct{}{}, &r.lost))
	if verbose {
		fmt.Fprintf(os.Stderr, "%s took %v\n", ft.name, took)
	}
	return r, err
}
