package node

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
)

// merger is what a node knows for bringing the sides of forks together: what
// both sides wrote, and what one of them has removed and forgotten since.
type merger struct {
	mu sync.Mutex // guards all below
	// points say of the lineage numbers that a slot's claim gained while this
	// node held it up to where its records were those of before.
	points map[uint16][]forkPoint
	// shared is up to where a loser and this winner have the same history.
	shared map[offerKey]uint64
	// combined are records that went into what the slot holds now: other copies
	// of the loser's side offer them too.
	combined map[combinedKey]struct{}
}

type forkPoint struct {
	number, base uint64
}

type combinedKey struct {
	slot   uint16
	key    string
	origin uint64
}

const maxCombined = 1 << 16

func newMerger() merger {
	return merger{points: map[uint16][]forkPoint{}, shared: map[offerKey]uint64{}, combined: map[combinedKey]struct{}{}}
}

// note keeps what the slot had acknowledged when its lineage grew.
func (m *merger) note(self shard.NodeID, old, now *shard.Claim, acked uint64) {
	if old == nil || !old.Holds(self) || shard.SameLineage(now, old) || !now.Inherits(old) || acked >= firstVersion(now.Epoch) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(old.Lineage, func(number uint64) bool { return !slices.Contains(now.Lineage, number) }) {
		delete(m.points, now.Slot) // folded: its sums say nothing of when each fork was
		return
	}
	for _, number := range now.Lineage {
		if !slices.Contains(old.Lineage, number) {
			m.points[now.Slot] = append(m.points[now.Slot], forkPoint{number, acked})
		}
	}
}

// since is the version up to which one side's records are older than every fork
// that the other has no part in. It is MaxUint64 if there is none, 0 where that
// is not known.
func (m *merger) since(slot uint16, mine, theirs []uint64) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	base := uint64(math.MaxUint64)
	for _, number := range mine {
		if slices.Contains(theirs, number) {
			continue
		}
		i := slices.IndexFunc(m.points[slot], func(p forkPoint) bool { return p.number == number })
		if i < 0 {
			return 0
		}
		base = min(base, m.points[slot][i].base)
	}
	return base
}

// loserSince is since for the loser of a fork. A winner that has all its numbers
// may have got them from another copy of this side.
func (m *merger) loserSince(slot uint16, mine, winners []uint64) uint64 {
	base := m.since(slot, mine, winners)
	if base == math.MaxUint64 && len(mine) > 1 {
		return 0
	}
	return base
}

// forget drops what is known of a slot that is not held any more.
func (m *merger) forget(slot uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.points, slot)
}

// share notes up to where a loser's history and this node's are the same.
func (m *merger) share(k offerKey, base uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if base == math.MaxUint64 {
		base = 0
	}
	m.shared[k] = base
}

// sharedWith says up to where that is, 0 if it is not known.
func (m *merger) sharedWith(k offerKey) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shared[k]
}

// has reports whether a record went into what its key holds now.
func (m *merger) has(slot uint16, key string, origin uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.combined[combinedKey{slot, key, origin}]
	return ok
}

// keep notes that it did.
func (m *merger) keep(slot uint16, key string, origin uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.combined) >= maxCombined {
		clear(m.combined)
	}
	m.combined[combinedKey{slot, key, origin}] = struct{}{}
}

// MergeFunc makes one value of two that the sides of a fork gave a key: it
// returns one of them or a combination. See Config.Merge.
type MergeFunc func(key string, newer, older Result) Result

// combine asks the merge function. ok is false where it has nothing to say.
func (n *Node) combine(key string, newer, older Result) (r Result, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("merge function panics: the newer value stands", "err", fmt.Sprint(p))
			r, ok = Result{}, false
		}
	}()
	newer.Found, older.Found = true, true
	// It may keep and change what it is given, some of which is the network's.
	newer.Value, older.Value = bytes.Clone(newer.Value), bytes.Clone(older.Value)
	r = n.cfg.Merge(strings.Clone(key), newer, older)
	if len(r.Value) > n.cfg.MaxValue {
		n.log.Error("merge function made a value above the limit: the newer one stands", "size", len(r.Value))
		return Result{}, false
	}
	return r, true
}

func originOf(version, origin uint64) uint64 {
	if origin == 0 {
		return version
	}
	return origin
}

// mergeable reports whether a foreign record and the present one are values that
// both sides wrote, and so the merge function's to decide.
func (n *Node) mergeable(r *store.Record, cur *store.Item, shared uint64) bool {
	if n.cfg.Merge == nil || r.Kind != 0 || r.Tombstone || cur.State != store.Found || (r.Schema|cur.Schema)&SchemaAbsent != 0 {
		return false
	}
	theirs, mine := originOf(r.Version, r.Origin), originOf(cur.Version, cur.Origin)
	return theirs > shared && mine > shared && (theirs != mine || !bytes.Equal(r.Value, cur.Value))
}
