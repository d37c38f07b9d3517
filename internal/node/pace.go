package node

import (
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Without a budget of its own the pace follows the calls: it halves about
// every second while they take more than slowFactor times as long as in quiet
// times, and grows while they do not.
const (
	paceStart  = 128 << 20 // bytes a second
	paceLeast  = 16 << 20
	paceMost   = 4 << 30
	slowFactor = 2
	enoughLook = 50        // calls in a tick of which the slowest hundredth tells something
	callerKept = time.Hour // since a node last told how its calls fare

	burst       = 100 * time.Millisecond // of the pace go to slots at once
	longestRest = 5 * burst              // between two, where chunks take all of the pace

	// A slot on its way counts for so many bytes beside its records: there are
	// messages, claims for everybody, and calls that wait while it is handed over.
	slotCost = 64 << 10
)

// pacer spaces out the chunks of copies. It decides; whoever sends waits.
type pacer struct {
	mu    sync.Mutex // guards all below
	fixed int64      // bytes a second asked for; 0: adaptive
	rate  float64    // bytes a second at present
	free  int64      // when the next chunk may leave, by the node's clock
	rests int64      // until then no slot gets a turn, unless free comes first; 0: one may

	sent     int64   // bytes since the last tick
	measured float64 // bytes a second that really left, of late
	busyTill int64   // until when calls may suffer from what was sent
	stirred  int64   // until when they may suffer from what changes anywhere
	callsAt  int64   // when there were enough calls to suffer
	callers  map[shard.NodeID]*caller
}

// caller is how the calls of one node fare, as far as it told.
type caller struct {
	slowest float64 // nanoseconds that one call in a hundred of the last tick exceeded
	quiet   float64 // the same while nothing was sent; 0: not known
	at      int64   // when it told
}

func newPacer(fixed int64) *pacer {
	p := &pacer{fixed: fixed, rate: paceStart, callers: map[shard.NodeID]*caller{}}
	if fixed > 0 {
		p.rate = float64(fixed)
	}
	return p
}

// reserve says how long to wait until a chunk of so many bytes may leave. What
// is urgent leaves at once and counts all the same.
func (p *pacer) reserve(now int64, bytes int, urgent bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := max(0, p.free-now)
	p.free = max(p.free, now) + int64(float64(bytes)/p.rate*float64(time.Second))
	p.sent += int64(bytes)
	p.busyTill = now + int64(time.Second)
	if urgent {
		return 0
	}
	return time.Duration(wait)
}

// turn reports whether another slot may be on its way for the sake of balance.
// Without calls that would suffer, or with a fixed pace, it always may. Turns
// come in bursts: slots that move together share their messages, and one that
// moves alone costs five times as much.
func (p *pacer) turn(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fixed > 0 || now-p.callsAt > int64(2*time.Second) || p.callsAt == 0 {
		return true
	}
	switch {
	case p.rests == 0 && p.free > now+int64(burst):
		p.rests = now + int64(longestRest)
		return false
	case p.free > now && now < p.rests:
		return false
	}
	p.rests = 0
	p.free = max(p.free, now) + int64(slotCost/p.rate*float64(time.Second))
	p.busyTill = now + int64(time.Second)
	return true
}

// stir says that slots or nodes come and go: times are not quiet, whoever sends what.
func (p *pacer) stir(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stirred = now + int64(time.Second)
}

// hear takes in how long the slowest hundredth of a node's calls took in its last
// tick, where there were enough of them. The nodes that call are the ones that
// suffer, and need not be those that copy.
func (p *pacer) hear(now int64, from shard.NodeID, slowest float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callsAt = now
	c := p.callers[from]
	if c == nil {
		c = new(caller)
		p.callers[from] = c
	}
	c.slowest, c.at = slowest, now
	switch {
	case now <= max(p.busyTill, p.stirred):
	case c.quiet == 0:
		c.quiet = slowest
	case slowest < c.quiet:
		c.quiet += (slowest - c.quiet) / 4
	default: // perhaps others copy
		c.quiet += (slowest - c.quiet) / 16
	}
}

// tick adapts the pace to what was heard since the last tick, which was that
// long ago.
func (p *pacer) tick(now int64, since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since > 0 {
		p.measured += (float64(p.sent)/since.Seconds() - p.measured) / 4
	}
	p.sent = 0
	slow := false
	for id, c := range p.callers {
		switch ago := now - c.at; {
		case ago > int64(callerKept):
			delete(p.callers, id)
		case ago <= int64(since):
			slow = slow || c.quiet > 0 && c.slowest > slowFactor*c.quiet
		}
	}
	switch {
	case p.fixed > 0 || now > p.busyTill:
	case slow:
		p.rate = max(paceLeast, p.rate*0.8)
	default:
		p.rate = min(paceMost, p.rate*1.25)
	}
}

// perSecond is how many bytes a second leave at present, and may leave.
func (p *pacer) perSecond() (measured, allowed float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.measured, p.rate
}

// slowestHundredth is the duration that one call in a hundred exceeds, in
// nanoseconds, interpolated within its bucket.
func slowestHundredth(s *meter.Snapshot) float64 {
	above := float64(s.Count) / 100
	for i := len(s.Counts) - 1; i >= 0; i-- {
		if n := float64(s.Counts[i]); n > 0 && n >= above {
			low, high := 0.0, float64(meter.Bounds[len(meter.Bounds)-1])
			if i > 0 {
				low = float64(meter.Bounds[i-1])
			}
			if i < len(meter.Bounds) {
				high = float64(meter.Bounds[i])
			}
			return high - (high-low)*above/n
		}
		above -= float64(s.Counts[i])
	}
	return 0
}

// pace tells the pacers, here and elsewhere, how the calls of this node fare.
func (n *Node) pace(since time.Duration) {
	var took meter.Snapshot
	for src := range n.stats.calls {
		for _, op := range []transport.Op{transport.OpGet, transport.OpSet, transport.OpDelete, transport.OpIncr} {
			s := n.stats.calls[src][op].took.Snapshot()
			for i := range s.Counts {
				took.Counts[i] += s.Counts[i]
			}
			took.Count += s.Count
		}
	}
	lately := took
	for i := range lately.Counts {
		lately.Counts[i] -= n.paced.Counts[i]
	}
	lately.Count -= n.paced.Count
	n.paced = took
	if lately.Count >= enoughLook {
		slowest := slowestHundredth(&lately)
		n.pacer.hear(n.now(), n.id, slowest)
		b := body(ctlFare, uint64(slowest))
		for _, p := range n.allPeers() {
			n.sendControl(p.id, b)
		}
	}
	n.pacer.tick(n.now(), since)
}

// outgrown is how many times the records that a slot had when its copy began may
// be sent at the pace. A copy that still has not ended then, because records
// are added faster than it may go, goes on without: so that every move ends.
const outgrown = 1.5

// awaitPace waits until a chunk may leave; goOn says that it is still wanted,
// and that it gets on.
func (n *Node) awaitPace(bytes int, urgent bool, goOn func() bool) bool {
	for wait := n.pacer.reserve(n.now(), bytes, urgent); wait > 0; {
		part := min(wait, time.Second)
		select {
		case <-time.After(part):
		case <-n.stop:
			return false
		}
		if wait -= part; wait > 0 && !goOn() {
			return false
		}
	}
	return true
}

// toSend is how many bytes this node has to copy to others before its slots
// are where the plan wants them, about.
func (n *Node) toSend() (bytes int64) {
	plan := n.planShared.Load()
	if plan == nil {
		return 0
	}
	for cl := range n.Table().All() {
		if cl.Primary != n.id {
			continue
		}
		missing := 0
		if !cl.Holds(plan.Primary(cl.Slot)) {
			missing++
		}
		for _, id := range plan.Backups(cl.Slot) {
			if !cl.Holds(id) {
				missing++
			}
		}
		if missing == 0 {
			continue
		}
		bytes += n.engine.SlotStats(cl.Slot).Bytes * int64(missing)
	}
	return bytes
}
