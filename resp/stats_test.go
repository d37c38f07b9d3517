package resp

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
)

func TestRateIsThatBetweenTwoLooks(t *testing.T) {
	var r rate
	begun := time.Unix(100, 0)
	for _, look := range []struct {
		after time.Duration
		count int64
		want  float64
	}{
		{100 * time.Millisecond, 50, 0}, // too soon to tell
		{2 * time.Second, 100, 50},
		{2500 * time.Millisecond, 900, 50}, // somebody else has just looked
		{4 * time.Second, 1100, 500},
		{5 * time.Second, 10, 0}, // it was reset
		{7 * time.Second, 30, 10},
	} {
		if got := r.look(look.count, begun.Add(look.after), begun); got != look.want {
			t.Errorf("after %v at %d: %v a second, want %v", look.after, look.count, got, look.want)
		}
	}
}

func TestPolicyIsTheCaches(t *testing.T) {
	for eviction, want := range map[slotmesh.Eviction]string{slotmesh.EvictAuto: "allkeys-lfu", slotmesh.EvictNone: "noeviction"} {
		if got := policyOf(&slotmesh.Stats{Eviction: eviction}); got != want {
			t.Errorf("policy of %d is %s, want %s", eviction, got, want)
		}
	}
}
