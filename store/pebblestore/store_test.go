package pebblestore_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
	"github.com/slotmesh/slotmesh/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forgetful unloads every value after some writes.
type forgetful struct {
	*pebblestore.Store
	writes *atomic.Int32
}

func newForgetful(s *pebblestore.Store) forgetful { return forgetful{s, new(atomic.Int32)} }

func (f forgetful) forget() {
	if f.writes.Add(1)%5 == 0 {
		f.UnloadAll()
	}
}

func (f forgetful) Apply(slot uint16, recs []store.Record) error {
	defer f.forget()
	return f.Store.Apply(slot, recs)
}

func (f forgetful) Update(slot uint16, kind uint8, key, field string, now int64, fn func(store.Item) (store.Record, bool)) error {
	defer f.forget()
	return f.Store.Update(slot, kind, key, field, now, fn)
}

func (f forgetful) Commit(slot uint16, gen store.Generation) error {
	defer f.forget()
	return f.Store.Commit(slot, gen)
}

// open opens a store that the test closes.
func open(t testing.TB, opts pebblestore.Options) *pebblestore.Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = "data"
	}
	s, err := pebblestore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fail(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreConforms(t *testing.T) {
	for name, fsync := range map[string]pebblestore.Fsync{"always": pebblestore.Always, "everysec": pebblestore.EverySec, "never": pebblestore.Never} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Engine {
				return open(t, pebblestore.Options{FS: vfs.NewMem(), Fsync: fsync})
			})
		})
	}
}

func TestForgetfulStoreConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		if strings.Contains(t.Name(), "victims") || strings.Contains(t.Name(), "bytes") {
			t.Skip("what is unloaded is no victim and takes no bytes")
		}
		return newForgetful(open(t, pebblestore.Options{FS: vfs.NewMem()}))
	})
}
