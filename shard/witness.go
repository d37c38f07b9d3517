package shard

import (
	"cmp"
	"slices"
)

// GroupSize returns how many members the group of a slot with so many backups
// should have: enough that a quorum outlives as many nodes as the copies do,
// and three at least, as of two members neither is a majority.
func GroupSize(backups int) int { return max(3, 2*backups+1) }

// A voter is a node that may be a witness.
type voter struct {
	id   NodeID
	hash uint64
	zone string
}

func newVoters(members []Member) (voters []voter) {
	for i := range members {
		if m := &members[i]; !m.Leaving {
			voters = append(voters, voter{m.ID, hashString(m.seat()), m.Zone})
		}
	}
	return voters
}

// Witnesses returns who should vote on slot beside those who should hold it, so
// that its group has GroupSize members where there are as many.
func (a *Assignment) Witnesses(slot uint16) []NodeID {
	if a.width == 0 {
		return nil
	}
	holders := a.copies[int(slot)*a.width:][:a.width]
	return a.WitnessesBeside(slot, holders, GroupSize(a.backups)-a.width)
}

// WitnessesBeside returns at most n nodes that should vote on slot beside
// holders, who need not be those of the plan: first the nodes of zones that have
// none of the group yet, so that the end of a zone leaves a quorum where it can,
// then others. All nodes count alike, since a vote costs about the same on each;
// so one without a weight may be a witness.
func (a *Assignment) WitnessesBeside(slot uint16, holders []NodeID, n int) []NodeID {
	type candidate struct {
		*voter
		score uint64
	}
	var candidates []candidate
	members := make(map[string]int) // of the group, by zone
	for i := range a.voters {
		v := &a.voters[i]
		if slices.Contains(holders, v.id) {
			members[v.zone]++
		} else {
			candidates = append(candidates, candidate{v, mix(v.hash ^ mix(uint64(slot)+1))})
		}
	}
	var witnesses []NodeID
	for len(witnesses) < n && len(candidates) > 0 {
		next := slices.MinFunc(candidates, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(members[a.zone], members[b.zone]), cmp.Compare(b.score, a.score), a.id.Compare(b.id))
		})
		witnesses = append(witnesses, next.id)
		members[next.zone]++
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return c.id == next.id })
	}
	return witnesses
}
