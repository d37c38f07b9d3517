package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
)

// A node departs in one of two ways. One that leaves has what it holds made elsewhere,
// as the plan without it has it, and says goodbye. One that steps down is soon back on
// its disk: its slots pass to the backups that they have, their primaries leave it out
// while it still acknowledges, so that no write waits for it, and nothing is copied
// unless it stays away. The plan is the same all the while.

// goodbyeTime bounds the goodbye: to a single other node it is six packets, one after the
// other, and six more, for which 1.2 s is enough unless the failure timeout is long.
const goodbyeTime = 2 * time.Second

// Leaving reports whether Shutdown or StepDown has begun.
func (n *Node) Leaving() bool { return n.leaving.Load() || n.stepping.Load() }

// Shutdown hands every slot over, waits until no claim needs this node, says
// goodbye and closes. When ctx ends before, it leaves all the same and the
// error says how many slots still named it.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.closing.Load() {
		return nil
	}
	n.leaving.Store(true)
	n.log.Info(eventLeaves, "node", n.cfg.Name)
	n.attributesMu.Lock() // or a SetAttribute under way has the last word, that it stays
	err := n.gossip.UpdateSelf(n.selfMember())
	n.attributesMu.Unlock()
	if err != nil {
		n.log.Warn("cannot tell that this node leaves", "err", err)
	}
	n.poke()
	err = n.awaitLeft(ctx, func(votes bool) func(*shard.Claim) bool {
		needed := n.neededFor()
		return func(cl *shard.Claim) bool { return cl.Holds(n.id) || votes && needed(cl) }
	})
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTime)
	defer cancel()
	if lerr := n.gossip.Leave(leave); lerr != nil {
		n.log.Debug("goodbye failed", "err", lerr)
	}
	return errors.Join(err, n.Close())
}

// StepDown hands every slot to a backup of its, waits until no claim lists this node,
// and closes, as one that is soon back. When ctx ends before, it closes all the same
// and the error says how many slots still named it.
func (n *Node) StepDown(ctx context.Context) error {
	if n.closing.Load() {
		return nil
	}
	serves := func(cl *shard.Claim) bool { return cl.Primary == n.id }
	if n.cfg.Backups == 0 && n.otherHolders() > 0 && n.firstOf(0, serves) < shard.Slots {
		return ErrNotEnoughBackups
	}
	n.stepping.Store(true)
	n.log.Info(eventStepsDown, "node", n.cfg.Name)
	n.tellStepDown()
	n.poke()
	err := n.awaitLeft(ctx, func(early bool) func(*shard.Claim) bool {
		// Primaries of an earlier release leave this node out only when it is gone.
		needed := n.neededFor()
		return func(cl *shard.Claim) bool { return serves(cl) || early && (cl.Holds(n.id) || needed(cl)) }
	})
	return errors.Join(err, n.Close())
}

// tellStepDown has the others know, each second while it lasts: one that was not told
// would hand back what this node hands to it.
func (n *Node) tellStepDown() {
	for _, p := range n.allPeers() {
		n.sendControl(p.id, []byte{ctlStepDown})
	}
}

// departTime is how long a node that departs waits for what others may not be able
// to do: to replace groups that have no quorum without its vote, or, in an earlier
// release, to leave it out before it is gone.
const departTime = 5 * time.Second

// awaitLeft returns when no claim is kept any more and nothing is owed, or nobody is
// there to give slots to. kept says which are; early is true until departTime is over.
func (n *Node) awaitLeft(ctx context.Context, kept func(early bool) func(*shard.Claim) bool) error {
	no := uint16(0) // the first slot still kept, so that thousands are not looked at time and again
	begun := n.now()
	err := n.await(ctx, func() bool {
		keeps := kept(n.now()-begun < int64(departTime))
		if no = n.firstOf(no, keeps); no == shard.Slots && n.owed.Load() == 0 {
			no = n.firstOf(0, keeps)
		}
		return no == shard.Slots && n.owed.Load() == 0 || n.otherHolders() == 0
	})
	if err == nil {
		return nil
	}
	copies := "a copy of each record is elsewhere"
	if why := n.Unsafe(); len(why) > 0 {
		copies = strings.Join(why, ", ")
	}
	left := int(n.owed.Load()) // records that others lack
	holds := func(cl *shard.Claim) bool { return cl.Holds(n.id) }
	for no := n.firstOf(0, holds); no < shard.Slots; no = n.firstOf(no+1, holds) {
		left++
	}
	return fmt.Errorf("left %d slots behind: %s: %w", left, copies, err)
}

// firstOf returns the first slot from no on whose claim is one of those meant; none:
// Slots. It goes by what the slots have taken in. The table has a claim earlier: what a
// claim takes from this node would look like gone before what it then owes is known.
func (n *Node) firstOf(no uint16, meant func(*shard.Claim) bool) uint16 {
	for ; no < shard.Slots; no++ {
		s := &n.slots[no]
		s.mu.Lock()
		cl := s.view.Known
		s.mu.Unlock()
		if cl != nil && meant(cl) {
			break
		}
	}
	return no
}

// neededFor returns what reports whether this node's vote is needed for a claim.
func (n *Node) neededFor() func(*shard.Claim) bool {
	here, staying := n.around()
	return func(cl *shard.Claim) bool {
		if !slices.Contains(cl.Witnesses, n.id) || !here[cl.Primary] {
			return false
		}
		group, stay := cl.Group(), 0
		for _, id := range group {
			if staying[id] {
				stay++
			}
		}
		return 2*stay <= len(group)
	}
}

// around returns the other nodes that can be reached, and those of them that do not
// leave.
func (n *Node) around() (here, staying map[shard.NodeID]bool) {
	here, staying = map[shard.NodeID]bool{}, map[shard.NodeID]bool{}
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	for _, list := range []map[shard.NodeID]gossip.Member{n.members, n.vanished} {
		for id, m := range list {
			if id != n.id && n.peer(id).up.Load() {
				here[id], staying[id] = true, !m.Leaving
			}
		}
	}
	return here, staying
}

// onStepDown notes that a node is soon away for a while.
func (n *Node) onStepDown(id shard.NodeID) {
	if !n.peer(id).stepping.Swap(true) {
		n.departing.Store(true)
		n.poke()
	}
}

// stepsDown reports whether a copy is given up although it follows: its node is about
// to be away. Control loop only.
func (n *Node) stepsDown(id shard.NodeID) bool { return n.isAside(id) && n.peer(id).stepping.Load() }
