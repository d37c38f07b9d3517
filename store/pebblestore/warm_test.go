package pebblestore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/slotmesh/slotmesh/internal/errfs"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// tap counts reads of tables and lets through so many before it is opened.
type tap struct {
	mu     sync.Mutex // guards all below
	change sync.Cond
	reads  int
	most   int // 0: any number
}

func newTap(most int) *tap {
	p := &tap{most: most}
	p.change.L = &p.mu
	return p
}

func (p *tap) String() string { return "tap" }

func (p *tap) MaybeError(op errorfs.Op) error {
	if (op.Kind == errorfs.OpFileReadAt || op.Kind == errorfs.OpFileRead) && strings.HasSuffix(op.Path, ".sst") {
		p.mu.Lock()
		defer p.mu.Unlock()
		for p.reads++; p.most > 0 && p.reads > p.most; {
			p.change.Wait()
		}
	}
	return nil
}

func (p *tap) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = 0
	p.change.Broadcast()
}

// Open returns, and tells the highest versions, before the records are read; a
// slot that is asked for is loaded, and the others behind it.
func TestOpenDoesNotWaitForRecords(t *testing.T) {
	const slots, each = 200, 100
	mem := vfs.NewMem()
	opts := pebblestore.Options{FS: mem, Limit: 64 << 20}
	s := open(t, opts)
	want := map[uint16]image{}
	for slot := range uint16(slots) {
		for i := range uint64(each) {
			fail(t, s.Apply(slot, []store.Record{{Key: fmt.Sprint(i), Value: fmt.Appendf(make([]byte, 500), "%d/%d", slot, i), Version: 7 + i}}))
		}
		want[slot] = imageOf(t, s, slot)
	}
	fail(t, s.Close())

	// How many reads it takes to load all.
	all := newTap(0)
	opts.FS, opts.Recover = errfs.Wrap(mem, all), true
	s = open(t, opts)
	if got := s.Stats().Records; got != slots*each {
		t.Errorf("%d records after Open with Recover, want %d", got, slots*each)
	}
	fail(t, s.Close())
	if all.reads < 200 {
		t.Fatalf("all is read by %d reads of tables: too few to tell", all.reads)
	}

	few := newTap(all.reads / 4)
	opts.FS, opts.Recover = errfs.Wrap(mem, few), false
	s = open(t, opts)
	if got := s.Stats().Records; got >= slots*each {
		t.Errorf("%d records right after Open", got)
	}
	for slot := range uint16(slots) {
		if got := s.MaxVersion(slot); got != want[slot].highest {
			t.Errorf("MaxVersion(%d) = %d right after Open, want %d", slot, got, want[slot].highest)
		}
	}
	few.open()
	it, err := s.Get(nil, slots-1, 0, "42", "", 0)
	if err != nil || it.State != store.Found || it.Version != 49 || !strings.HasSuffix(string(it.Value), fmt.Sprint(slots-1, "/42")) {
		t.Errorf("Get of a slot that nothing asked for before = %+v, %v", it, err)
	}
	fail(t, s.Apply(slots-2, []store.Record{{Key: "0", Version: 3}, {Key: "new", Version: 1000}}))
	if it, err := s.Get(nil, slots-2, 0, "0", "", 0); err != nil || it.Version != 7 {
		t.Errorf("after a write of an older version: %+v, %v", it, err)
	}
	for slot := range uint16(slots - 2) {
		wantImage(t, fmt.Sprint("slot ", slot), imageOf(t, s, slot), want[slot])
	}
	fail(t, s.Close())
}

// Slots are loaded under the hands of readers and writers, within the limit.
func TestSlotsAreUsedWhileTheyWarm(t *testing.T) {
	mem := vfs.NewMem()
	opts := pebblestore.Options{FS: mem, Limit: bigLimit}
	s := open(t, opts)
	for i := range bigCount {
		slot, key := bigKey(i)
		fail(t, s.Apply(slot, []store.Record{{Key: key, Value: bigValue(i, uint64(i+1)), Version: uint64(i + 1)}}))
	}
	for round := range 3 {
		fail(t, s.Close())
		s = open(t, opts)
		var users sync.WaitGroup
		for u := range 4 {
			users.Go(func() {
				for i := u; i < bigCount; i += 1000 + u {
					slot, key := bigKey(i)
					it, err := s.Fetch(nil, slot, 0, key, "", 0)
					if err != nil || it.State != store.Found || string(it.Value) != string(bigValue(i, uint64(i+1))) {
						t.Errorf("round %d: Fetch(%s) = state %d version %d, %v", round, key, it.State, it.Version, err)
						return
					}
				}
			})
		}
		users.Wait()
		withinLimit(t, s)
	}
	fail(t, s.Close())
}
