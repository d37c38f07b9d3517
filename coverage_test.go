package slotmesh_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// While a slot has no living primary, either only its calls fail or all do.
func TestFullCoverageIsRequiredWhereAskedFor(t *testing.T) {
	parallel(t)
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			caches := slotmeshtest.Start(t, 2, slotmesh.WithBackups(0), slotmesh.WithOrphanWait(time.Hour),
				slotmesh.WithRequireFullCoverage(required))
			self := caches[1].Cluster().Self().Name
			key := ""
			for i := 0; ; i++ {
				key = fmt.Sprint("key", i)
				if owner, err := caches[1].Cluster().Owner(key); err == nil && owner.Name == self {
					break
				}
			}
			set(t, caches[1], key, "v")
			if err := caches[0].Close(); err != nil {
				t.Fatal(err)
			}
			slotmeshtest.Await(t, "the loss is noticed", func() error {
				if caches[1].Cluster().Health().NoPrimary == 0 {
					return errors.New("all slots have a living primary")
				}
				return nil
			})
			if !required {
				wantValue(t, caches[1], key, "v")
				return
			}
			slotmeshtest.Await(t, "a slot that is served is refused too", func() error {
				if _, err := caches[1].Get(t.Context(), key); !errors.Is(err, slotmesh.ErrNoPrimary) {
					return fmt.Errorf("Get = %v", err)
				}
				return nil
			})
		})
	}
}
