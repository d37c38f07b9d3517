package node

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// What others heard of a peer keeps it from counting as dead, and makes it one that
// is cut off; for no longer than it would have taken to count as dead for them.
func TestHearsayKeepsAPeerAlive(t *testing.T) {
	n := &Node{peers: map[shard.NodeID]*peer{}, start: time.Now(), log: slog.New(slog.DiscardHandler)}
	n.cfg.FailureTimeout, n.cfg.Lease, n.cfg.Env = time.Minute, time.Second, env.System()
	n.env = n.cfg.Env
	minute := int64(time.Minute)
	hearer, missed := shard.NodeID{1}, shard.NodeID{2}
	p := n.peer(missed)
	n.peer(hearer).up.Store(true)
	n.start = n.start.Add(-time.Hour)
	now := n.now()
	p.knownAt, n.resumedAt = 0, 0
	p.heardAt.Store(now - 2*minute)
	tell := func(id shard.NodeID, asked int64, ago time.Duration) {
		b := append(body(ctlHeard, uint64(asked)), id[:]...)
		n.Control(&transport.Peer{}, binary.AppendUvarint(b, uint64(ago)))
	}
	n.peers[shard.NodeID{}] = n.peers[hearer] // who tells
	look := func(what string, at int64, cut, silent bool) {
		t.Helper()
		n.steppedAt = at
		n.listen(at)
		if p.cut.Load() != cut || p.silent.Load() != silent || n.cuts.Load() > 0 != cut {
			t.Errorf("%s: cut off %v, silent %v, want %v, %v", what, p.cut.Load(), p.silent.Load(), cut, silent)
		}
	}
	tell(missed, now, 10*time.Second)
	look("heard 10 s ago", now, true, false)
	look("and not since", now+51*int64(time.Second), false, true)
	tell(missed, now, 2*time.Minute) // which says nothing
	tell(missed, now+minute, 0)      // asked in the future
	n.Control(&transport.Peer{}, body(ctlHeard, uint64(now), 1, 2, 3))
	look("still not", now+52*int64(time.Second), false, true)
	p.heardAt.Store(now + 50*int64(time.Second))
	look("heard itself", now+52*int64(time.Second), false, false)
	before := len(n.peers)
	tell(shard.NodeID{9}, now, time.Second)
	if len(n.peers) != before {
		t.Error("a peer was made up by hearsay")
	}
}
