package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	workers  = 8
	accesses = 1 << 20 // of the Zipf trace that get, set and mix go round in
)

// Child is a process that holds one system. Its methods are called one at a
// time.
type Child struct {
	cache cache
	room  room
	keys  keyring
	trace []uint32
}

// Setup says what a child holds.
type Setup struct {
	System     string
	Entries    int
	ValueBytes int
}

// Fill opens the system and puts all entries in.
func (c *Child) Fill(s Setup, _ *struct{}) (err error) {
	c.room = room{entries: s.Entries, valueBytes: s.ValueBytes}
	c.keys = newKeyring(s.Entries)
	c.trace = zipf(1, s.Entries, accesses)
	if c.cache, err = open(s.System, c.room); err != nil {
		return err
	}
	return fill(c.cache, c.room, c.keys.at)
}

// fill sets every key until all are there: some systems drop a few.
func fill(c cache, r room, key func(uint32) string) error {
	w := c.worker()
	value := make([]byte, r.valueBytes)
	buf := make([]byte, 0, 2*r.valueBytes)
	missing := r.entries
	for round := 0; round < 10 && missing > 0; round++ {
		missing = 0
		for i := range uint32(r.entries) {
			k := key(i)
			if round > 0 {
				if _, ok := w.get(k, buf); ok {
					continue
				}
				missing++
			}
			w.set(k, value)
			if i%4096 == 0 {
				runtime.Gosched()
			}
		}
		if round == 0 {
			missing = r.entries
		}
		time.Sleep(20 * time.Millisecond) // buffers of sets drain
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d entries do not stay", missing, r.entries)
	}
	return nil
}

// Cell is one workload for some time.
type Cell struct {
	Workload string
	For      time.Duration
}

// Sample is what a cell gave. Wall is the time by the clock, CPU that of the
// processors, both divided by the operations of all goroutines.
type Sample struct {
	Wall, CPU float64 // nanoseconds
	Misses    int64
}

// Run runs a cell.
func (c *Child) Run(cell Cell, s *Sample) error {
	setsOf4, ok := map[string]int{"get": 0, "set": 4, "mix": 1}[cell.Workload]
	if !ok {
		return fmt.Errorf("no workload %q", cell.Workload)
	}
	var ops, misses atomic.Int64
	var group sync.WaitGroup
	before := cpu()
	start := time.Now()
	for id := range workers {
		group.Go(func() {
			n, m := c.work(id, setsOf4, start.Add(cell.For))
			ops.Add(n)
			misses.Add(m)
		})
	}
	group.Wait()
	s.Wall = float64(time.Since(start)) / float64(ops.Load())
	s.CPU = float64(cpu()-before) / float64(ops.Load())
	s.Misses = misses.Load()
	return nil
}

func (c *Child) work(id, setsOf4 int, end time.Time) (ops, misses int64) {
	w := c.cache.worker()
	value := make([]byte, c.room.valueBytes)
	buf := make([]byte, 0, 2*c.room.valueBytes)
	at := uint32(id) * (accesses / workers)
	var read byte
	for time.Now().Before(end) {
		for i := range 1024 {
			k := c.keys.at(c.trace[at%accesses])
			at++
			if i&3 < setsOf4 {
				w.set(k, value)
			} else if v, ok := w.get(k, buf); !ok {
				misses++
			} else { // a value that nobody looks at costs some systems nothing
				for j := 0; j < len(v); j += 64 {
					read += v[j]
				}
			}
		}
		ops += 1024
	}
	runtime.KeepAlive(read)
	return ops, misses
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Weight is what a filled system weighs.
type Weight struct {
	Overhead float64       // resident bytes an entry beyond its key and value
	GC, Best time.Duration // of runtime.GC(): median and least
}

// Weigh fills the system, without keeping keys, and weighs it.
func (c *Child) Weigh(s Setup, out *Weight) error {
	r := room{entries: s.Entries, valueBytes: s.ValueBytes}
	debug.FreeOSMemory()
	before, err := resident()
	if err != nil {
		return err
	}
	if s.System != "none" {
		if c.cache, err = open(s.System, r); err != nil {
			return err
		}
		if err := fill(c.cache, r, func(i uint32) string { return freshKey(int(i)) }); err != nil {
			return err
		}
	}
	debug.FreeOSMemory()
	after, err := resident()
	if err != nil {
		return err
	}
	out.Overhead = float64(after-before)/float64(s.Entries) - keyBytes - float64(s.ValueBytes)
	var times []time.Duration
	for range 25 {
		start := time.Now()
		runtime.GC()
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	out.GC, out.Best = times[len(times)/2], times[0]
	return nil
}

// resident is this process's memory without files.
func resident() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, errors.New("no RssAnon in /proc/self/status")
}

// Tail is the slowest of a thousand gets while another goroutine sets and a
// third one collects garbage.
type Tail struct {
	P50, P99, P999 float64 // microseconds
	Gets, Sets     int64
	Took           time.Duration
}

const setsPerSecond = 200_000

// Tail measures gets for some time.
func (c *Child) Tail(d time.Duration, out *Tail) error {
	stop := make(chan struct{})
	var group sync.WaitGroup
	var sets atomic.Int64
	start := time.Now()
	group.Go(func() {
		w := c.cache.worker()
		value := make([]byte, c.room.valueBytes)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
			}
			for due := int64(time.Since(start).Seconds() * setsPerSecond); sets.Load() < due; sets.Add(1) {
				w.set(c.keys.at(c.trace[(sets.Load()+accesses/2)%accesses]), value)
			}
		}
	})
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	times := make([]uint32, 1<<16) // by 16 ns
	w := c.cache.worker()
	buf := make([]byte, 0, 2*c.room.valueBytes)
	for end, now := start.Add(d), time.Now(); now.Before(end); out.Gets++ {
		k := c.keys.at(c.trace[out.Gets%accesses])
		now = time.Now()
		w.get(k, buf)
		took := time.Since(now)
		times[min(int(took>>4), len(times)-1)]++
	}
	close(stop)
	group.Wait()
	out.Took, out.Sets = time.Since(start), sets.Load()
	out.P50, out.P99, out.P999 = quantile(times, out.Gets, 0.5), quantile(times, out.Gets, 0.99), quantile(times, out.Gets, 0.999)
	return nil
}

func quantile(times []uint32, n int64, q float64) float64 {
	left := int64(float64(n) * (1 - q))
	for i := len(times) - 1; i >= 0; i-- {
		if left -= int64(times[i]); left < 0 {
			return float64(i*16+8) / 1000
		}
	}
	return 0
}

// Profile writes a CPU profile of all cells until it is called with "".
func (c *Child) Profile(file string, _ *struct{}) error {
	if file == "" {
		pprof.StopCPUProfile()
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}
