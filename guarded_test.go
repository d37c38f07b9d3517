//go:build !race || slow

package slotmesh_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/internal/testca"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestGuardedClustersWork runs clusters under each guard: calls of all sizes
// through every node, and a node that goes and one that comes.
func TestGuardedClustersWork(t *testing.T) {
	parallel(t)
	ca := testca.New(t)
	for name, opts := range map[string][]slotmesh.Option{
		"tls":            {slotmesh.WithTLS(ca.Config("node"))},
		"secret":         {slotmesh.WithSecret(oldKey)},
		"tls and secret": {slotmesh.WithTLS(func() (*tls.Config, error) { return ca.Config("node"), nil }), slotmesh.WithSecret(oldKey)},
	} {
		t.Run(name, func(t *testing.T) {
			opts := append(opts, slotmesh.WithCluster("guarded-by-"+strings.ReplaceAll(name, " ", "-")))
			caches := slotmeshtest.Start(t, 2, opts...)
			big := strings.Repeat("x", 3<<20)
			for i := range 100 {
				set(t, caches[i%2], fmt.Sprint("key", i), fmt.Sprint("v", i))
			}
			set(t, caches[0], "big", big)
			if err := caches[1].Close(); err != nil {
				t.Fatal(err)
			}
			late := open(t, append(opts, slotmesh.WithName("late"), slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))...)
			for i := range 100 {
				wantValue(t, late, fmt.Sprint("key", i), fmt.Sprint("v", i))
			}
			wantValue(t, late, "big", big)
		})
	}
}
