package pebblestore_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

var seeds = flag.Int("seeds", 50, "crashes that TestCrash tries")

const crashSlots = 3

// crashRun is a store that is used while its file system is copied, at some
// operation on a file, as a crash at that moment would leave it.
type crashRun struct {
	fs  *vfs.MemFS
	rng *rand.Rand
	s   store.Engine

	mu      sync.Mutex // guards all below
	until   int        // operations on files before the crash
	crashed *vfs.MemFS
	must    promise // what the crash has to leave

	promised promise
	at       map[[2]uint64]int // step of a slot's version
	history  [crashSlots][]store.Digest
}

// promise is what was said to be durable.
type promise struct {
	step [crashSlots]int
	meta byte
}

// MaybeError implements errorfs.Injector.
func (c *crashRun) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until--; c.until == 0 {
		c.crash()
	}
	return nil
}

func (c *crashRun) String() string { return "crash" }

func (c *crashRun) crash() {
	c.must = c.promised
	seed := c.rng.Int64()
	c.crashed = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed % 101), RNG: rand.New(rand.NewPCG(uint64(seed), 9))})
}

// durable is OnDurable's.
func (c *crashRun) durable(slot uint16, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.promised.step[slot] = max(c.promised.step[slot], c.at[[2]uint64{uint64(slot), version}])
}

// try does one thing to a slot.
func (c *crashRun) try(rng *rand.Rand, slot uint16, version *uint64) error {
	c.mu.Lock()
	step := len(c.history[slot])
	c.mu.Unlock()
	some := func() (recs []store.Record) {
		for range 1 + rng.IntN(4) {
			*version++
			recs = append(recs, randomRecord(rng, 40, *version))
			c.mu.Lock()
			c.at[[2]uint64{uint64(slot), *version}] = step - 1 // not yet applied as a whole
			c.mu.Unlock()
		}
		c.mu.Lock()
		c.at[[2]uint64{uint64(slot), *version}] = step
		c.mu.Unlock()
		return recs
	}
	synced := false
	var err error
	switch n := rng.IntN(100); {
	case n < 3:
		err = c.s.Purge(slot, *version-min(*version, uint64(rng.IntN(30))))
	case n < 5:
		err = c.copy(rng, slot, *version, some)
	case n < 6:
		err = c.s.Drop(slot)
	case n < 8:
		err = c.s.Sync(slot)
		synced = true
	default:
		err = c.s.Apply(slot, some())
	}
	if err != nil {
		return err
	}
	d, err := c.s.Digest(slot, 0, ^uint64(0))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history[slot] = append(c.history[slot], d)
	if synced {
		c.promised.step[slot] = max(c.promised.step[slot], step)
	}
	return nil
}

// copy fills a generation with half of a slot and some more.
func (c *crashRun) copy(rng *rand.Rand, slot uint16, version uint64, some func() []store.Record) error {
	gen, err := c.s.Begin(slot)
	if err != nil {
		return err
	}
	d, err := c.s.Digest(slot, 0, 1<<63)
	if err != nil {
		return err
	}
	if err := c.s.ApplyTo(slot, gen, []store.Record{randomRecord(rng, 40, version/2+1)}); err != nil {
		return err
	}
	if _, err := c.s.Confirm(slot, gen, 0, 1<<63, d); err != nil {
		return err
	}
	if err := c.s.ApplyTo(slot, gen, some()); err != nil {
		return err
	}
	if rng.IntN(4) == 0 {
		return c.s.Abort(slot, gen)
	}
	return c.s.Commit(slot, gen)
}

// TestCrashLeavesAPrefix crashes at random points. What was said to be durable
// is there afterwards, each slot is as it was after some step, and a step is an
// Apply, a Commit, a Purge or a Drop. So it is where the next crashes fall into reading
// that back.
func TestCrashLeavesAPrefix(t *testing.T) {
	for seed := range uint64(*seeds) {
		rng := rand.New(rand.NewPCG(seed, 7))
		c := &crashRun{fs: vfs.NewCrashableMem(), rng: rng, until: 1 + rng.IntN(1200), at: map[[2]uint64]int{}}
		ops := rand.New(rand.NewPCG(seed, 8))
		fsync := pebblestore.Fsync(seed % 3)
		opts := pebblestore.Options{
			Dir: "data", FS: errfs.Wrap(c.fs, c), Fsync: fsync,
			MaxDirty: 1 << (10 + ops.IntN(8)), MaxDirtyAge: time.Millisecond,
		}
		for slot := range c.history { // as it is before the first step
			c.history[slot] = []store.Digest{{}}
		}
		s := open(t, opts)
		c.s = s
		if seed%2 == 0 {
			c.s = newForgetful(s)
		}
		s.OnDurable(c.durable)
		versions := [crashSlots]uint64{}
		for i := range 300 {
			slot := ops.IntN(crashSlots)
			fail(t, c.try(ops, uint16(slot), &versions[slot]))
			if i%50 == 49 {
				v := byte(i / 50)
				fail(t, s.SetMeta(map[string][]byte{"one": {v}, "two": {v}}))
				if fsync != pebblestore.Never {
					c.mu.Lock()
					c.promised.meta = v
					c.mu.Unlock()
				}
			}
		}
		c.mu.Lock()
		if c.crashed == nil {
			c.crash()
		}
		c.until = -1
		c.mu.Unlock()
		fail(t, s.Close())
		for range rng.IntN(3) {
			c.crashAgain(t, opts)
		}
		c.verify(t, fmt.Sprintf("seed %d fsync %d", seed, fsync), opts)
		if t.Failed() {
			return
		}
	}
}

// crashAgain crashes while what the crash left is read back.
func (c *crashRun) crashAgain(t *testing.T, opts pebblestore.Options) {
	again := &crashRun{fs: c.crashed, rng: c.rng, until: 1 + c.rng.IntN(60)}
	opts.FS = errfs.Wrap(c.crashed, again)
	s := open(t, opts)
	for slot := range uint16(crashSlots) {
		_, err := s.Digest(slot, 0, 1)
		fail(t, err)
	}
	fail(t, s.Close())
	again.mu.Lock()
	defer again.mu.Unlock()
	if again.crashed != nil {
		c.crashed = again.crashed
	}
}

func (c *crashRun) verify(t *testing.T, what string, opts pebblestore.Options) {
	opts.FS = c.crashed
	s, err := pebblestore.Open(opts)
	if err != nil {
		t.Errorf("%s: Open = %v", what, err)
		return
	}
	for slot := range uint16(crashSlots) {
		im := imageOf(t, s, slot)
		found := -1
		for step, d := range c.history[slot] {
			if d == im.digest {
				found = step
			}
		}
		switch {
		case found < 0:
			t.Errorf("%s: slot %d has %d records as after no step", what, slot, len(im.records))
		case found < c.must.step[slot]:
			t.Errorf("%s: slot %d is as after step %d of %d, and step %d was durable", what, slot, found, len(c.history[slot])-1, c.must.step[slot])
		}
	}
	var meta []byte
	fail(t, s.Meta("", func(_ string, v []byte) bool { meta = append(meta, v...); return true }))
	if len(meta) == 1 || len(meta) == 2 && meta[0] != meta[1] || c.must.meta > 0 && (len(meta) == 0 || meta[0] < c.must.meta) {
		t.Errorf("%s: meta values are %v, and %d was saved", what, meta, c.must.meta)
	}
	fail(t, s.Close())
}

// A crash may leave of two names that were not synced either one: what a marker names
// has to be there before the marker.
func TestMarkerComesAfterWhatItNames(t *testing.T) {
	mem, markers := vfs.NewCrashableMem(), 0
	opts := pebblestore.Options{Dir: "data", FS: errfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		name := mem.PathBase(op.Path)
		if i := strings.Index(name, "MANIFEST"); op.Kind == errorfs.OpCreate && strings.HasPrefix(name, "marker.") && i > 0 {
			markers++
			if _, err := mem.CrashClone(vfs.CrashCloneCfg{}).Stat("data/" + name[i:]); err != nil {
				t.Errorf("before %s: %v", name, err)
			}
		}
		return nil
	}))}
	for range 2 {
		fail(t, open(t, opts).Close())
	}
	if markers < 2 {
		t.Errorf("%d markers", markers)
	}
}
