package node

import (
	"runtime"

	"github.com/slotmesh/slotmesh/shard"
)

// aheadCalls is how many calls of a group are looked at before they are made.
const aheadCalls = 32

// Ahead is told which slots the next messages of a batch are for. What they need of
// those lies all over the memory: fetched for all at once, it is there in little more
// than the time of one. (transport.Handler)
func (n *Node) Ahead(slots []uint16) {
	sum := uint64(0)
	for _, no := range slots {
		if no < shard.Slots {
			sum += n.slots[no].fetch()
		}
	}
	runtime.KeepAlive(sum)
}

// fetch has the processor bring what writes and appends need into its cache: it loads,
// and nobody waits for the results. Their sum is to be kept alive, lest the compiler
// leaves them out.
func (s *slot) fetch() (sum uint64) {
	s.fitness.Load()
	s.standing.Load()
	s.leftAt.Load()
	s.darkSince.Load()
	if sv := s.serving.Load(); sv != nil {
		sum = sv.claim.Epoch
	}
	return sum + s.acked.Load()
}

// aheadOf is Ahead for calls that are to be made next, wherever they go.
func (n *Node) aheadOf(flights []*flight) {
	sum, table := uint64(0), n.table.Load()
	for _, f := range flights {
		no := f.call.Slot
		sum += n.fronts[no].mark.Load()
		if cl := table.Claim(no); cl != nil && cl.Primary == n.id {
			sum += n.slots[no].fetch()
		}
	}
	runtime.KeepAlive(sum)
}
