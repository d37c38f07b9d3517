package node

import (
	"maps"
	"slices"

	"github.com/slotmesh/slotmesh/shard"
)

// orphan starts a slot anew whose holders are all dead. Where that was this node's
// earlier start alone nobody has to be waited for, but those who may owe it records
// are heard for a moment. back says which names are back.
func (n *Node) orphan(no uint16, alone bool, back func() map[string]shard.NodeID, now int64) {
	n.coreMu.Lock()
	begun := n.core.Orphaned(no, now) || alone
	if begun {
		n.core.Orphan(no, now)
	}
	n.coreMu.Unlock()
	if begun && alone { // it may have been waiting for what others owe
		others := slices.DeleteFunc(slices.Collect(maps.Keys(back())), func(name string) bool { return name == n.cfg.Name })
		n.gather(no, others, now+int64(n.cfg.FailureTimeout))
	}
}

// wasSoleHolder reports whether an earlier start of this node alone held a slot
// under cl, and its disk remembers just that.
func (n *Node) wasSoleHolder(cl *shard.Claim) bool {
	if len(cl.Backups) > 0 || !n.past.old[cl.Primary] {
		return false
	}
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	return shard.Compare(n.past.claims[cl.Slot], cl) == 0
}

// meet adds to met the holders of cl that are and were no members, and since when
// they are known.
func (n *Node) meet(cl *shard.Claim, met map[shard.NodeID]int64, now int64) {
	for i := -1; i < len(cl.Backups); i++ {
		id := cl.Primary
		if i >= 0 {
			id = cl.Backups[i]
		}
		if _, done := met[id]; done || id == n.id || !n.stranger(id) {
			continue
		}
		since, known := n.strangers[id]
		if !known {
			since = now
		}
		met[id] = since
	}
}

// knowStrangers takes in what cover met. They were gone before this node came, or
// it is yet to hear of them: they count as dead after the failure timeout.
func (n *Node) knowStrangers(met map[shard.NodeID]int64, now int64) {
	n.coreMu.Lock()
	n.strangers = met
	n.coreMu.Unlock()
	for id, since := range met {
		if !n.isDown(id) && n.outlook.settled && n.joined.Load() && now-since > int64(n.cfg.FailureTimeout) {
			n.post(event{kind: evDown, id: id})
		}
	}
}

// stranger reports whether nobody of that ID is, or was, a member.
func (n *Node) stranger(id shard.NodeID) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	_, member := n.members[id]
	_, vanished := n.vanished[id]
	return !member && !vanished
}
