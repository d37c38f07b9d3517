package pebblestore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// These are set in the process that TestKilledProcess kills.
const (
	victimDir   = "PEBBLESTORE_VICTIM_DIR"
	victimFsync = "PEBBLESTORE_VICTIM_FSYNC"
)

// TestKilledProcess kills a process while it writes. What it had been told to
// be durable is there, and of each slot a prefix; with EverySec also what was
// applied a second and a flush before.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv(victimDir); dir != "" {
		writeForEver(dir, os.Getenv(victimFsync) == "everysec")
	}
	t.Run("always", func(t *testing.T) { killAndReopen(t, 3, "always", 500, 0) })
	t.Run("everysec", func(t *testing.T) { killAndReopen(t, 1, "everysec", 8, flushed+150) })
}

// killAndReopen kills a process that has told so many marks, and so often what it applied.
func killAndReopen(t *testing.T, rounds int, fsync string, marks, tells int) {
	dir := t.TempDir()
	var before [4]uint64
	for round := range rounds {
		durable := runVictim(t, dir, fsync, marks, tells)
		s, err := pebblestore.Open(pebblestore.Options{Dir: dir})
		fail(t, err)
		for slot := range uint16(4) {
			top := s.MaxVersion(slot)
			if top < max(durable[slot], before[slot]) {
				t.Errorf("round %d: slot %d ends at %d, and %d was durable", round, slot, top, durable[slot])
			}
			if n := s.SlotStats(slot).Records; uint64(n) != top {
				t.Errorf("round %d: slot %d has %d records up to version %d", round, slot, n, top)
			}
			before[slot] = top
		}
		fail(t, s.Close())
	}
}

// flushed is how many times a process tells what it applied to a slot, every ten
// milliseconds at most, until that is on disk: for a second, and a flush on a busy
// machine. Time itself passes also where the process stands still.
const flushed = 250

// runVictim runs the other process until it has told n marks and, of each slot, as
// often what it applied, and kills it. It returns which versions have to be there.
func runVictim(t *testing.T, dir, fsync string, n, tells int) (durable [4]uint64) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimFsync+"="+fsync)
	out, err := cmd.StdoutPipe()
	fail(t, err)
	fail(t, cmd.Start())
	lines := bufio.NewScanner(out)
	var applied [4][]uint64
	for n > 0 || min(len(applied[0]), len(applied[1]), len(applied[2]), len(applied[3])) < tells {
		var what string
		var slot int
		var version uint64
		if !lines.Scan() {
			t.Fatal("the process ended by itself")
		}
		if _, err := fmt.Sscan(lines.Text(), &what, &slot, &version); err != nil {
			t.Fatalf("it said %q", lines.Text())
		}
		if what == "durable" {
			durable[slot] = max(durable[slot], version)
			n--
		} else {
			applied[slot] = append(applied[slot], version)
		}
	}
	fail(t, cmd.Process.Kill()) // SIGKILL
	_ = cmd.Wait()
	for slot, versions := range applied {
		if old := len(versions) - flushed; old > 0 {
			durable[slot] = max(durable[slot], versions[old-1])
		}
	}
	return durable
}

func writeForEver(dir string, everySec bool) {
	opts := pebblestore.Options{Dir: dir, Fsync: pebblestore.Always, MaxDirty: 16 << 10}
	if everySec {
		opts.Fsync, opts.MaxDirty = pebblestore.EverySec, 0
	}
	s, err := pebblestore.Open(opts)
	if err != nil {
		panic(err)
	}
	s.OnDurable(func(slot uint16, version uint64) { fmt.Println("durable", slot, version) })
	var wg sync.WaitGroup
	for slot := range uint16(4) {
		wg.Go(func() {
			for v := s.MaxVersion(slot) + 1; ; v += 2 { // two records an Apply
				recs := []store.Record{{Key: fmt.Sprint(v), Value: make([]byte, 100), Version: v}, {Key: fmt.Sprint(v + 1), Version: v + 1}}
				if err := s.Apply(slot, recs); err != nil {
					panic(err)
				}
				if everySec && v%200 == 1 { // pauses, or it would fill memory
					fmt.Println("applied", slot, v+1)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}
