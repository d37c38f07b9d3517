package simcluster

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

// AwaitStable waits until all running nodes know each other and every slot is
// where the plan wants it, with equal tables; else it ends the test.
func (sc *Cluster) AwaitStable(within time.Duration) {
	sc.T.Helper()
	if err := sc.TryStable(within); err != nil {
		sc.Dump()
		sc.T.Fatalf("not stable within %v: %v", within, err)
	}
}

// TryStable is AwaitStable that tells.
func (sc *Cluster) TryStable(within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		err := sc.Unstable()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		sc.Advance(100 * time.Millisecond)
	}
}

// Unstable says what keeps the cluster from being at rest; nil if it is.
func (sc *Cluster) Unstable() error {
	up := sc.Up()
	var digests []uint64
	for _, h := range up {
		n := h.node
		if err := n.Err(); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		alive := 0
		for _, m := range n.Members() {
			if m.State == "alive" {
				alive++
			}
		}
		if alive != len(up) {
			return fmt.Errorf("%s sees %d members of %d", h.Name, alive, len(up))
		}
		if !n.Balanced() {
			return fmt.Errorf("%s: %v", h.Name, n.Health().Reasons)
		}
		d := n.Table().Digests()
		if digests != nil && !slices.Equal(d, digests) {
			return fmt.Errorf("%s has another table than %s", h.Name, up[0].Name)
		}
		digests = d
	}
	return nil
}

// Dump logs how every running node sees the cluster.
func (sc *Cluster) Dump() {
	sc.T.Helper()
	for _, h := range sc.Up() {
		n := h.node
		sc.T.Logf("%s (%v): %+v", h.Name, n.Self().ID, n.Health())
		for _, m := range n.Members() {
			sc.T.Logf("  sees %s %v %s", m.Name, m.ID, m.State)
		}
		sc.T.Logf("  stats %+v", n.Stats())
	}
	shown := 0
	for slot := range uint16(shard.Slots) {
		odd := false
		var seen []string
		var first *shard.Claim
		for i, h := range sc.Up() {
			cl := h.node.Table().Claim(slot)
			if i == 0 {
				first = cl
			}
			odd = odd || cl == nil || first == nil || shard.Compare(first, cl) != 0 || len(cl.Backups) != len(first.Backups) ||
				len(cl.Backups) < min(sc.cfg.Backups, len(sc.Up())-1) || sc.hostOf(cl.Primary) == nil || !h.node.InPlace(slot)
			seen = append(seen, fmt.Sprintf("\n  %s: %v %s", h.Name, cl, h.node.Describe(slot)))
		}
		if odd && shown < 5 {
			shown++
			sc.T.Logf("slot %d %v", slot, seen)
		}
	}
}

// hostOf finds the host on which the node of an ID runs.
func (sc *Cluster) hostOf(id shard.NodeID) *Host {
	for _, h := range sc.Up() {
		if h.node.Self().ID == id {
			return h
		}
	}
	return nil
}

// CheckCopies reports copies in sync that differ, in a cluster at rest.
func (sc *Cluster) CheckCopies() {
	sc.T.Helper()
	for i, fault := range sc.CopyFaults() {
		if i < 5 {
			sc.T.Error("I5:", fault)
		}
	}
}

// CopyFaults lists copies in sync that differ, in a cluster at rest.
func (sc *Cluster) CopyFaults() (faults []string) {
	up := sc.Up()
	if len(up) == 0 {
		return nil
	}
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	table := up[0].node.Table()
	for cl := range table.All() {
		p := sc.hostOf(cl.Primary)
		if p == nil {
			say("slot %d: primary %v does not run", cl.Slot, cl.Primary)
			return faults
		}
		want, err := p.engine.Digest(cl.Slot, 0, math.MaxUint64)
		if err != nil {
			say("digest of slot %d on %s: %v", cl.Slot, p.Name, err)
			return faults
		}
		for _, id := range cl.Backups {
			b := sc.hostOf(id)
			if b == nil {
				say("slot %d: backup %v does not run", cl.Slot, id)
				return faults
			}
			got, err := b.engine.Digest(cl.Slot, 0, math.MaxUint64)
			if err != nil || got != want {
				say("slot %d: %s holds %+v (%v), its backup %s %+v", cl.Slot, p.Name, want, err, b.Name, got)
			}
		}
	}
	return faults
}

// AwaitCopies gives copies a moment to become equal, then checks them.
func (sc *Cluster) AwaitCopies() {
	sc.T.Helper()
	sc.Advance(3 * time.Second) // beats and purges
	sc.CheckCopies()
}
