package shard_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

// ids makes IDs without random bits, which print as the numbers given.
func ids(counters ...uint64) []shard.NodeID {
	var list []shard.NodeID
	for _, n := range counters {
		list = append(list, shard.NewNodeID(n, 0))
	}
	return list
}

func TestClaimOrder(t *testing.T) {
	claim := func(epoch, primary uint64, rev uint32) *shard.Claim {
		return &shard.Claim{Epoch: epoch, Rev: rev, Primary: shard.NewNodeID(primary, 0)}
	}
	ascending := []*shard.Claim{nil, claim(1, 1, 0), claim(1, 1, 1), claim(1, 2, 0), claim(2, 1, 0)}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := shard.Compare(a, b), sign(i-j); got != want {
				t.Errorf("Compare(%v, %v) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestClaimMembers(t *testing.T) {
	c := &shard.Claim{Epoch: 3, Rev: 1, Primary: shard.NewNodeID(1, 0), Backups: ids(2, 3), Witnesses: ids(4)}
	if got, want := c.Group(), ids(1, 2, 3, 4); !slices.Equal(got, want) {
		t.Errorf("Group() = %v, want %v", got, want)
	}
	for n, want := range map[uint64]struct{ holds, inGroup bool }{
		1: {true, true}, 3: {true, true}, 4: {false, true}, 5: {false, false},
	} {
		id := shard.NewNodeID(n, 0)
		if c.Holds(id) != want.holds || c.InGroup(id) != want.inGroup {
			t.Errorf("Holds(%v), InGroup(%v) = %t, %t, want %t, %t", id, id, c.Holds(id), c.InGroup(id), want.holds, want.inGroup)
		}
	}
	if got, want := c.String(), "(3,1,1,{2,3},{4})"; got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
}

func TestNilClaim(t *testing.T) {
	var c *shard.Claim
	if c.Holds(shard.NewNodeID(1, 0)) || c.InGroup(shard.NodeID{}) || len(c.Group()) > 0 {
		t.Error("no claim has members")
	}
	if got := c.String(); got != "(none)" {
		t.Errorf("String() = %s, want (none)", got)
	}
	if !shard.SameLineage(nil, nil) || shard.SameLineage(nil, &shard.Claim{}) || shard.SameLineage(&shard.Claim{}, nil) {
		t.Error("a claim is of the lineage of no claim")
	}
}

func TestQuorum(t *testing.T) {
	for n, want := range []int{0, 1, 2, 2, 3, 3, 4, 4} {
		if got := shard.Quorum(n); got != want {
			t.Errorf("Quorum(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	many := make([]shard.NodeID, 65)
	for i := range many {
		many[i] = shard.NewNodeID(100+uint64(i), 0)
	}
	for _, tt := range []struct {
		name   string
		change func(*shard.Claim)
		want   string // part of the error, empty for none
	}{
		{"full", func(c *shard.Claim) { c.Slot, c.Epoch, c.Backups, c.Base = 16383, 1<<24-1, many[:63], many[:64] }, ""},
		{"slot", func(c *shard.Claim) { c.Slot = 16384 }, "slot 16384"},
		{"epoch", func(c *shard.Claim) { c.Epoch = 1 << 24 }, "epoch"},
		{"no primary", func(c *shard.Claim) { c.Primary = shard.NodeID{} }, "no primary"},
		{"zero backup", func(c *shard.Claim) { c.Backups = make([]shard.NodeID, 1) }, "without an ID"},
		{"primary is backup", func(c *shard.Claim) { c.Backups = ids(1) }, "group: member 1 named twice"},
		{"backup is witness", func(c *shard.Claim) { c.Backups, c.Witnesses = ids(2), ids(2) }, "group: member 2 named twice"},
		{"base twice", func(c *shard.Claim) { c.Base = ids(2, 2) }, "base: member 2 named twice"},
		{"group too large", func(c *shard.Claim) { c.Backups, c.Witnesses = many[:32], many[32:64] }, "group of 65"},
		{"base too large", func(c *shard.Claim) { c.Base = many }, "base of 65"},
		{"lineage too large", func(c *shard.Claim) { c.Lineage = make([]uint64, 1025) }, "lineage of 1025"},
		{"lineage unsorted", func(c *shard.Claim) { c.Lineage = []uint64{2, 1} }, "not in order"},
		{"lineage twice", func(c *shard.Claim) { c.Lineage = []uint64{1, 1} }, "not in order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &shard.Claim{Primary: shard.NewNodeID(1, 0)}
			tt.change(c)
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}
