package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

// fault is what happens to the first replicas of a fleet under load.
type fault struct {
	name     string
	main     bool // part of -quick
	redis    bool // Redis Cluster suffers it too
	replicas int
	backups  int
	victims  int
	asBackup bool // the affected slots are those where the victim is a backup
	strike   func(*mesh.Fleet) error
	change   func(*mesh.Fleet) error // no fault but a planned change, see runChange
}

const (
	callers     = 64
	bystanders  = 8 // of the callers: they write any keys, the others affected ones
	callerKeys  = 4
	warmUp      = time.Second
	aftermath   = 3 * time.Second // load after the last blow
	patience    = 20 * time.Second
	starved     = 30 * time.Second
	staleWindow = 300 * time.Millisecond // from takeover to SIGCONT
)

var faults = []fault{
	{name: "kill_primary", main: true, redis: true, replicas: 3, backups: 1, victims: 1, strike: kill},
	{name: "pause_primary", main: true, redis: true, replicas: 3, backups: 1, victims: 1, strike: pause},
	{name: "kill_restart", main: true, replicas: 3, backups: 1, victims: 1, strike: restart},
	{name: "kill_backup", replicas: 3, backups: 1, victims: 1, asBackup: true, strike: kill},
	{name: "kill_two_of_five", replicas: 5, backups: 2, victims: 2, strike: killTwo},
	{name: "starve", replicas: 3, backups: 1, strike: starve},
	{name: "kill_all", replicas: 3, backups: 1, victims: 3}, // see runOutage
	{name: "scale_out", replicas: 3, backups: 1, change: scaleOut},
	{name: "scale_in", replicas: 4, backups: 1, change: scaleIn},
	{name: "rolling_restart", replicas: 3, backups: 1, change: rollingRestart},
	{name: "rolling_replacement", replicas: 3, backups: 1, change: rollingReplacement},
}

func kill(f *mesh.Fleet) error {
	f.Replicas[0].Kill()
	return nil
}

func killTwo(f *mesh.Fleet) error {
	f.Replicas[0].Kill()
	f.Replicas[1].Kill()
	return nil
}

func restart(f *mesh.Fleet) error {
	f.Replicas[0].Kill()
	return f.Restart(0)
}

// starve has every processor run others for half a minute: a replica gets a turn
// in four, or less as it has many threads, while all are healthy.
func starve(*mesh.Fleet) error {
	hogs := 4 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(hogs + 1))
	end := time.Now().Add(starved)
	var wg sync.WaitGroup
	for range hogs {
		wg.Go(func() {
			for time.Now().Before(end) {
			}
		})
	}
	wg.Wait()
	return nil
}

// pause resumes the victim only after others have taken over and written: what
// it still holds is old then.
func pause(f *mesh.Fleet) error {
	if err := f.Replicas[0].Pause(); err != nil {
		return err
	}
	err := f.AwaitTakeover(0, patience)
	time.Sleep(staleWindow)
	return errors.Join(err, f.Replicas[0].Resume())
}

// result is what one round of a fault gave.
type result struct {
	gap    time.Duration
	gapKey string
	gapEnd time.Time
	acked  uint64
	lost   uint64
	moved  uint64 // slots that got another primary in a fault without victims
	stale  int
	reads  int
	errors map[string]int
	// resumed counts what failed in a process that was paused; its callers may
	// well have waited for too long.
	resumed map[string]int
}

func (r *result) add(p Report) {
	r.acked += p.Acked
	r.stale += p.Stale
	r.reads += p.Reads
	if p.Gap > r.gap {
		r.gap, r.gapKey, r.gapEnd = p.Gap, p.GapKey, p.GapEnd
	}
	for text, n := range p.Errors {
		r.errors[text] += n
	}
}

// runMesh lets a fresh fleet suffer the fault once.
// With a path it writes the CPU profile of the first survivor from the blow on.
func runMesh(ft fault, verbose bool, profile string) (result, error) {
	switch {
	case ft.change != nil:
		return runChange(ft, verbose)
	case ft.strike == nil:
		return runOutage(ft, verbose)
	}
	r := result{errors: map[string]int{}, resumed: map[string]int{}}
	f, err := mesh.Start(ft.replicas, ft.backups, verbose)
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

	specs := share(ft, Spec{Keys: keys, Floors: path, Readers: 2}, affected)
	for i, s := range specs {
		if err := f.Replicas[i].Call(patience, "Load.Begin", s, &struct{}{}); err != nil {
			return r, err
		}
	}
	time.Sleep(warmUp)
	for i := range ft.replicas {
		if err := f.Replicas[i].Call(patience, "Load.Mark", struct{}{}, &struct{}{}); err != nil {
			return r, err
		}
	}
	before, err := promotions(f)
	if err != nil {
		return r, err
	}
	var errs []error
	if profile != "" {
		end, err := f.Profile(ft.victims, profile)
		if err != nil {
			return r, err
		}
		defer func() { _ = end() }() // the profile is by the way
	}
	if err := ft.strike(f); err != nil {
		errs = append(errs, err)
	}
	time.Sleep(aftermath)

	for i := range ft.replicas {
		if i < ft.victims && ft.name != "pause_primary" {
			continue // its load died with it
		}
		var p Report
		if err := f.Replicas[i].Call(patience, "Load.End", struct{}{}, &p); err != nil {
			errs = append(errs, err)
			continue
		}
		if i < ft.victims {
			for text, n := range p.Errors {
				r.resumed[text] += n
			}
			p.Errors = nil
		}
		r.add(p)
	}
	if ft.victims == 0 {
		after, err := promotions(f)
		errs = append(errs, err)
		r.moved = after - before
	}
	for i := ft.victims; i < ft.replicas; i++ {
		var lost uint64
		if err := f.Replicas[i].Call(patience, "Load.Lost", struct{}{}, &lost); err != nil {
			errs = append(errs, err)
		}
		r.lost = max(r.lost, lost)
	}
	return r, errors.Join(errs...)
}

// promotions is how often slots of a whole fleet got a primary.
func promotions(f *mesh.Fleet) (sum uint64, err error) {
	for _, c := range f.Replicas {
		var n uint64
		if err := c.Call(patience, "Load.Promotions", struct{}{}, &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// chooseKeys returns the keys to be written, of which the first are affected by
// the fault.
func chooseKeys(ft fault, f *mesh.Fleet, v mesh.View) (keys []string, affected int) {
	isVictim := func(name string) bool {
		for i := range ft.victims {
			if f.Replicas[i].Name == name {
				return true
			}
		}
		return false
	}
	for i := 0; affected < (callers-bystanders)*callerKeys; i++ {
		key := fmt.Sprint("key", i)
		slot := hashtag.Slot(key)
		hit := ft.victims == 0 || isVictim(v.Primaries[slot])
		if ft.asBackup {
			hit = false
			for _, b := range v.Backups[slot] {
				hit = hit || isVictim(b)
			}
		}
		if hit {
			keys = append(keys, key)
			affected++
		}
	}
	for i := range bystanders * callerKeys {
		keys = append(keys, fmt.Sprint("any", i))
	}
	return keys, affected
}

// share spreads the callers over the processes that survive. Victims read only.
func share(ft fault, s Spec, affected int) []Spec {
	specs := make([]Spec, ft.replicas)
	for i := range specs {
		specs[i] = s
	}
	survivors := specs[ft.victims:]
	for i := range callers {
		c := Caller{Gauged: (i+1)*callerKeys <= affected}
		for k := range callerKeys {
			c.Keys = append(c.Keys, i*callerKeys+k)
		}
		to := &survivors[i%len(survivors)]
		to.Callers = append(to.Callers, c)
	}
	return specs
}
