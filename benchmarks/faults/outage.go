package main

import (
	"errors"
	"os"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
)

// runOutage kills all replicas of a fleet at once, as a power failure does, and
// starts them again on their disks. Every copy syncs what it acknowledges. The
// gap is from the blow until every key could be read and the callers write on;
// what was lost is counted then.
func runOutage(ft fault, verbose bool) (result, error) {
	r := result{errors: map[string]int{}}
	dir, err := os.MkdirTemp("", "slotmesh-faults-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	f, err := mesh.StartOnDisk(ft.replicas, ft.backups, verbose, dir)
	if err != nil {
		return r, err
	}
	defer f.Stop()
	view, err := f.Look(0)
	if err != nil {
		return r, err
	}
	keys, affected := chooseKeys(ft, f, view)
	path, err := createFloors(len(keys))
	if err != nil {
		return r, err
	}
	defer os.Remove(path)
	ft.victims = 0 // callers in all replicas
	specs := share(ft, Spec{Keys: keys, Floors: path, Readers: 2}, affected)
	if err := beginAll(f, specs); err != nil {
		return r, err
	}
	time.Sleep(warmUp)

	blow := time.Now()
	for _, c := range f.Replicas {
		c.Kill()
	}
	for i := range f.Replicas {
		if err := f.Restart(i); err != nil {
			return r, err
		}
	}
	if err := f.Replicas[0].Call(patience, "Load.Begin", Spec{Keys: keys, Floors: path}, &struct{}{}); err != nil {
		return r, err
	}
	if err := f.Replicas[0].Call(2*patience, "Load.Lost", struct{}{}, &r.lost); err != nil {
		return r, err
	}
	if err := beginAll(f, specs); err != nil {
		return r, err
	}
	r.gap, r.gapEnd = time.Since(blow), time.Now()
	time.Sleep(aftermath)
	var errs []error
	for _, c := range f.Replicas {
		var p Report
		errs = append(errs, c.Call(patience, "Load.End", struct{}{}, &p))
		p.Gap = 0
		r.add(p)
	}
	return r, errors.Join(errs...)
}

func beginAll(f *mesh.Fleet, specs []Spec) error {
	for i, s := range specs {
		if err := f.Replicas[i].Call(patience, "Load.Begin", s, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}
