package pebblestore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// victimDir is set in the process that TestKilledProcess kills.
const victimDir = "PEBBLESTORE_VICTIM_DIR"

// TestKilledProcess kills a process while it writes. What it had been told to
// be durable is there, and of each slot a prefix.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv(victimDir); dir != "" {
		writeForEver(dir)
	}
	dir := t.TempDir()
	var before [4]uint64
	for round := range 3 {
		durable := runVictim(t, dir, 500)
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

// runVictim runs the other process until it has told n marks and kills it.
func runVictim(t *testing.T, dir string, n int) (durable [4]uint64) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := cmd.StdoutPipe()
	fail(t, err)
	fail(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for range n {
		var slot int
		var version uint64
		if !lines.Scan() {
			t.Fatal("the process ended by itself")
		}
		if _, err := fmt.Sscan(lines.Text(), &slot, &version); err != nil {
			t.Fatalf("it said %q", lines.Text())
		}
		durable[slot] = max(durable[slot], version)
	}
	fail(t, cmd.Process.Kill()) // SIGKILL
	_ = cmd.Wait()
	return durable
}

func writeForEver(dir string) {
	s, err := pebblestore.Open(pebblestore.Options{Dir: dir, Fsync: pebblestore.Always, MaxDirty: 16 << 10})
	if err != nil {
		panic(err)
	}
	s.OnDurable(func(slot uint16, version uint64) { fmt.Println(slot, version) })
	var wg sync.WaitGroup
	for slot := range uint16(4) {
		wg.Go(func() {
			for v := s.MaxVersion(slot) + 1; ; v += 2 { // two records an Apply
				recs := []store.Record{{Key: fmt.Sprint(v), Value: make([]byte, 100), Version: v}, {Key: fmt.Sprint(v + 1), Version: v + 1}}
				if err := s.Apply(slot, recs); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
}
