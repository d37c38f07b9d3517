package shard

import "testing"

// A member that does not answer, but is heard from by heartbeats, is busy: no
// slot goes on without it for that, and no backup is dropped, as soon as where
// it is silent.
func TestBusyMemberIsWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		name  string
		awake bool
		forks int64 // ticks after which B goes on without C
	}{
		{"silent", false, 100},
		{"heard from", true, 100 * sleepless},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := founded(t, nodeC)
			b := c.cores[nodeB]
			b.cfg.Majority = false
			b.cfg.Awake = func(id NodeID) bool { return tt.awake && id == nodeC }
			b.Down(nodeA, false, c.now)
			b.Promote(0, c.now)
			for ticks := int64(0); b.Stats().Forks == 0; ticks++ {
				if ticks > tt.forks+15 { // the last are given twice Resend
					t.Fatalf("no fork after %d ticks", ticks)
				}
				c.pass(1, nodeB)
				c.lose() // C gets nothing, or answers nothing
				if b.Stats().Forks > 0 && ticks < tt.forks-1 {
					t.Fatalf("fork after %d ticks, want %d", ticks, tt.forks)
				}
			}
		})
	}
}

func TestBusyBackupHasLongerToSettle(t *testing.T) {
	for _, tt := range []struct {
		name  string
		awake bool
		drop  int64
	}{
		{"silent", false, 40},
		{"heard from", true, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCast(t, nodeA, nodeB, nodeC)
			a := c.cores[nodeA]
			a.cfg.Failure = 60
			a.cfg.Awake = func(NodeID) bool { return tt.awake }
			a.Found(0, []NodeID{nodeB}, []NodeID{nodeC}, 0)
			c.hand(nodeA, nodeB, nodeC)
			for a.Stats().Drops == 0 && c.now <= tt.drop+5 {
				c.pass(1, nodeA)
			}
			if c.now <= tt.drop || c.now > tt.drop+5 {
				t.Errorf("backup that does not settle is dropped after %d, want soon after %d", c.now, tt.drop)
			}
		})
	}
}
