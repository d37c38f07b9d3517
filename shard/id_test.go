package shard_test

import (
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

func TestNodeIDString(t *testing.T) {
	for _, tt := range []struct {
		name            string
		counter, random uint64
		want            string
	}{
		{"both parts", 0x18f3a, 0x9c04, "18f3a-9c04"},
		{"no random bits", 7, 0, "7"},
		{"no counter", 0, 7, "0-7"},
		{"no node", 0, 0, "0"},
		{"highest", 1<<64 - 1, 1<<64 - 1, "ffffffffffffffff-ffffffffffffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := shard.NewNodeID(tt.counter, tt.random)
			if got := id.String(); got != tt.want {
				t.Errorf("String() = %q, want %q", got, tt.want)
			}
			if got, err := shard.ParseNodeID(tt.want); err != nil || got != id {
				t.Errorf("ParseNodeID(%q) = %v, %v, want %v", tt.want, got, err, id)
			}
			if got := id.Counter(); got != tt.counter {
				t.Errorf("Counter() = %d, want %d", got, tt.counter)
			}
		})
	}
}

func TestParseNodeIDRefuses(t *testing.T) {
	for _, s := range []string{"", "-", "1-", "-1", "x", "1-2-3", "+1", "10000000000000000", "1-10000000000000000"} {
		if id, err := shard.ParseNodeID(s); err == nil {
			t.Errorf("ParseNodeID(%q) = %v, want an error", s, id)
		}
	}
}

func TestNodeIDsOrderByCounter(t *testing.T) {
	older, newer := shard.NewNodeID(255, 1<<63), shard.NewNodeID(256, 1)
	if older.Compare(newer) >= 0 || newer.Compare(older) <= 0 || older.Compare(older) != 0 {
		t.Errorf("%v does not order before %v", older, newer)
	}
}
