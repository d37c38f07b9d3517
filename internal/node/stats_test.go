package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// BenchmarkLooked is what counting adds to a look-up answered here.
func BenchmarkLooked(b *testing.B) {
	e := env.System()
	n := &Node{env: e, start: e.Now(), hot: meter.NewHot(shard.Slots)}
	c := &Call{Op: transport.OpGet, Slot: 7, Key: "a-key-of-usual-length"}
	began := n.now()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			n.looked(SourceLocal, c, true, began)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				n.looked(SourceLocal, c, true, began)
			}
		})
	})
}
