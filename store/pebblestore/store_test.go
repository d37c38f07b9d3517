package pebblestore_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
	"github.com/slotmesh/slotmesh/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
