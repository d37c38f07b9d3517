// Soak works three replicas in one process at full rate while they are abused:
// their connections are cut, their ports flooded with garbage and half
// handshakes, their answers left unread, their memory is full and so is the disk
// of one of them. Then it lets go and looks whether anything was lost or stayed.
//
// It prints a JSON object a line for each stage and one with the verdict, and
// ends with 1 where that is not "ok".
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/slotmesh/slotmesh"
)

func main() {
	quick := flag.Bool("quick", false, "7 s of abuse; all in under 55 s")
	length := flag.Duration("for", time.Minute, "how long the abuse lasts")
	workers := flag.Int("workers", 8, "callers at each replica")
	dir := flag.String("dir", "", "directory on a small file system, for the disk that is full; default: a tmpfs is mounted, where that is allowed")
	verbose := flag.Bool("v", false, "log what the replicas do on standard error")
	flag.Parse()
	if *quick {
		*length = 7 * time.Second
	}
	s := &soak{workers: *workers, verbose: *verbose, faults: []string{}}
	if err := s.run(*length, *dir); err != nil {
		s.fault("%v", err)
	}
	verdict := "ok"
	if len(s.faults) > 0 {
		verdict = "failed"
	}
	print(map[string]any{"stage": "verdict", "verdict": verdict, "faults": s.faults, "seconds": time.Since(s.began).Seconds()})
	if len(s.faults) > 0 {
		os.Exit(1)
	}
}

func print(line map[string]any) {
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

const (
	memory    = 32 << 20 // of each replica
	replicas  = 3
	rssBound  = replicas*memory + 384<<20 // queues, rings, tables, Pebble and the runtime beside the records
	settle    = time.Second
	quietTime = 2 * time.Second
)

type soak struct {
	workers int
	verbose bool
	began   time.Time
	secret  []byte
	disk    *disk
	caches  [replicas]*slotmesh.Cache
	faults  []string
}

func (s *soak) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *soak) run(length time.Duration, dir string) error {
	s.began = time.Now()
	s.secret = []byte("0123456789abcdef0123456789abcdef")
	disk, err := smallDisk(dir)
	if err != nil {
		print(map[string]any{"stage": "disk", "skipped": err.Error()})
	} else {
		s.disk = disk
		defer disk.remove()
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for i := range s.caches {
		if s.caches[i], err = s.open(i); err != nil {
			return err
		}
	}
	defer func() {
		for _, c := range s.caches {
			c.Close()
		}
	}()
	if err := s.rest(); err != nil {
		return err
	}
	keys := newLedger()
	quiet := s.load(keys, quietTime, s.workers, paced)
	quiet.print("quiet", nil)

	abuse := s.startAbuse(length)
	worst := s.load(keys, length, s.workers, fullRate)
	counts := abuse.stop()
	if counts["fills_refused"] == int64(0) {
		s.fault("the memory limit was not reached")
	}
	worst.print("abuse", counts)
	if worst.acked == 0 {
		s.fault("no write was acknowledged during the abuse")
	}

	if s.disk != nil {
		if err := s.fillDisk(keys); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	if err := s.rest(); err != nil {
		return err
	}
	lost := keys.verify(s)
	print(map[string]any{"stage": "verify", "keys": len(keys.cells), "lost": lost})
	if lost > 0 {
		s.fault("%d acknowledged writes are lost", lost)
	}
	after := s.load(keys, quietTime, s.workers, paced)
	after.print("quiet again", nil)
	if before, now := quiet.p99(), after.p99(); now > 4*before+10_000 {
		s.fault("p99 of %.0f µs, %.0f µs before the abuse", now, before)
	}
	if after.failed > 0 {
		s.fault("%d calls failed after the abuse: %s", after.failed, after.lastErr)
	}
	before := residentBytes()
	debug.FreeOSMemory() // what the runtime keeps for later counts for nobody
	rss := residentBytes()
	print(map[string]any{"stage": "memory", "rss": rss, "rss_with_free": before, "bound": int64(rssBound)})
	if rss > rssBound {
		s.fault("%d bytes are resident, more than %d", rss, int64(rssBound))
	}
	for _, c := range s.caches {
		if err := c.Close(); err != nil {
			s.fault("close: %v", err)
		}
	}
	left, open := runtime.NumGoroutine(), openFiles()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && (left > goroutines || open > files); {
		time.Sleep(20 * time.Millisecond)
		left, open = runtime.NumGoroutine(), openFiles()
	}
	print(map[string]any{"stage": "closed", "goroutines": left - goroutines, "files": open - files})
	if left > goroutines || open > files {
		s.fault("%d goroutines and %d files are left", left-goroutines, open-files)
	}
	return nil
}

func (s *soak) open(i int) (*slotmesh.Cache, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	opts := []slotmesh.Option{
		slotmesh.WithName(fmt.Sprint("soak", i)), slotmesh.WithCluster("soak"), slotmesh.WithAddr("127.0.0.1:0"),
		slotmesh.WithMaxMemory(memory), slotmesh.WithEviction(slotmesh.EvictNone), slotmesh.WithSecret(s.secret),
	}
	if s.disk != nil && i == 0 {
		opts = append(opts, slotmesh.WithDataDir(s.disk.data()))
	}
	for _, c := range s.caches {
		if c != nil && c.Err() == nil {
			opts = append(opts, slotmesh.WithSeeds(c.Cluster().Self().Addr))
			if i != 0 {
				break
			}
		}
	}
	if s.verbose {
		opts = append(opts, slotmesh.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	}
	return slotmesh.Open(ctx, opts...)
}

// rest waits until all see each other and every slot is where it should be.
func (s *soak) rest() error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		why := ""
		for _, c := range s.caches {
			if h := c.Cluster().Health(); len(c.Cluster().Nodes()) != replicas || !h.Balanced {
				why = fmt.Sprintf("%s: %d nodes, %+v", c.Cluster().Self().Name, len(c.Cluster().Nodes()), h)
			}
		}
		if why == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not at rest: %s", why)
		}
	}
}
