package node

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
)

// BenchmarkLeases is what leases add to a read answered here: one clock read, and two
// comparisons for each backup. The goal for all of it is 60 ns.
func BenchmarkLeases(b *testing.B) {
	e := env.System()
	n := &Node{env: e, start: e.Now()}
	var l licence
	for i, name := range []string{"no backup", "one backup", "two backups"} {
		if i > 0 {
			p := &peer{id: shard.NewNodeID(uint64(i), 1)}
			p.up.Store(true)
			p.leaseMono.Store(int64(time.Hour))
			p.leaseWall.Store(n.start.Add(time.Hour).UnixNano())
			l.lenders = append(l.lenders, p)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				now := n.env.Now()
				if !l.held(7, int64(now.Sub(n.start)), now.UnixNano()) {
					b.Fatal("a lease ended")
				}
			}
		})
	}
}
