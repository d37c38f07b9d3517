package pebblestore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// A node is told under a slot's lock, and holds that lock while it writes to the slot:
// more than there is room for in the queue.
func TestWhoIsToldMayWaitForAWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, pebblestore.Options{FS: vfs.NewMem(), Fsync: pebblestore.Always, MaxDirty: 1 << 10})
		lock, told := make(chan struct{}, 1), uint64(0)
		s.OnDurable(func(_ uint16, v uint64) {
			select {
			case lock <- struct{}{}:
				told = v
				<-lock
			case <-time.After(time.Minute): // of the bubble
				t.Error("the writer waits for who is told")
			}
		})
		for v := range uint64(10) {
			lock <- struct{}{}
			fail(t, s.Apply(1, []store.Record{{Key: "a", Value: make([]byte, 2000), Version: 2*v + 1}}))
			fail(t, s.Apply(1, []store.Record{{Key: "a", Value: make([]byte, 2000), Version: 2*v + 2}}))
			<-lock
		}
		fail(t, s.Close())
		if told != 20 {
			t.Errorf("told of version %d, want 20", told)
		}
	})
}
