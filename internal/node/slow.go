package node

import (
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

// SlowCall is a call that took longer than Config.SlowCall.
type SlowCall struct {
	Time     time.Time // when it ended
	Op       string
	Slot     uint16
	Source   Source
	Peer     string // that was asked last; "" if none was
	Took     time.Duration
	Attempts int
	Err      string
}

const (
	maxSlowKept  = 64
	slowLogEvery = 100 * time.Millisecond // at most so often is one logged
)

// slowCall notes a call that took too long, and logs it unless there are many.
func (n *Node) slowCall(op transport.Op, slot uint16, t *trip, took time.Duration, err error) {
	n.stats.slow.Add(1)
	s := SlowCall{Time: time.Now(), Op: opNames[op], Slot: slot, Source: t.source, Took: took, Attempts: t.attempts}
	if t.peer != nil && t.source != SourceLocal {
		s.Peer = n.who(t.peer.id)
	}
	if err != nil {
		s.Err = err.Error()
		s.Err = s.Err[:min(len(s.Err), 256)]
	}
	n.slowCalls.Add(s)
	if unlogged, ok := n.slowLines.due(n.now(), slowLogEvery); ok {
		n.log.Warn(eventSlow, "op", s.Op, "slot", s.Slot, "source", s.Source.String(), "peer", s.Peer, "took", took,
			"attempts", s.Attempts, "err", s.Err, "unlogged", unlogged)
	}
}

// lines keeps lines of one kind from filling the log.
type lines struct {
	at   atomic.Int64 // of the last one, on the node's clock; 0: there was none
	held atomic.Uint64
}

// due reports whether a line may be logged, and how many were not since the one before.
func (l *lines) due(now int64, every time.Duration) (unlogged uint64, ok bool) {
	last := l.at.Load()
	if last > 0 && now-last < int64(every) || !l.at.CompareAndSwap(last, now) {
		l.held.Add(1)
		return 0, false
	}
	return l.held.Swap(0), true
}

// SlowCalls returns the last of them, oldest first.
func (n *Node) SlowCalls() []SlowCall { return n.slowCalls.All() }

// tooLong reports whether a call that did not wait by its nature was slow.
func (n *Node) tooLong(op transport.Op, took time.Duration) bool {
	return n.cfg.SlowCall > 0 && took >= n.cfg.SlowCall && !parks(op)
}
