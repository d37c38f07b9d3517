package shard

import "testing"

// TestExploreNoticesMissingRules switches off one rule after another. A rule
// whose absence no walk notices would be one that nobody tests, or needs.
func TestExploreNoticesMissingRules(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules rules
		rare  bool // takes more than a thousand walks
		skip  int  // so many walks are known to find nothing
	}{
		{"a claim is in force once a quorum accepted it", rules{noForce: true}, false, 0},
		{"a new primary waits out its promise to the old one", rules{off: rulesOff{lentWait: true}}, true, 0},
		{"nobody lends to a primary it is replacing", rules{off: rulesOff{oppose: true}}, false, 0},
		{"a proposal needs the union of the sets", rules{noWait: true, off: rulesOff{union: true}}, false, 0},
		{"the union outlives a failed proposal", rules{off: rulesOff{unionVoid: true}}, true, 0},
		{"a silent backup is dropped before opening", rules{off: rulesOff{dropFirst: true}}, false, 0},
		{"an epoch is promised once", rules{off: rulesOff{promise: true}}, true, 0},
		{"refused proposers back off", rules{off: rulesOff{backOff: true}}, false, 0},
		{"reads need leases", rules{noLeases: true}, false, 0},
		{"reads wait for acknowledgement", rules{readsUngated: true}, false, 0},
		{"copies settle before the slot opens", rules{noSettling: true}, false, 0},
		{"copies refuse lower epochs", rules{notFenced: true}, true, 0},
		{"a learner starts empty", rules{leftovers: true}, false, 0},
		{"losers' records are written anew", rules{noOffers: true}, false, 0},
		{"foreign records compare by origin", rules{byVersion: true}, true, 10_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := max(*walks, 10000)
			if tt.rare && testing.Short() {
				t.Skip("takes more than a thousand walks")
			}
			for i := range limit {
				if w := walk(uint64(1000+tt.skip+i), tt.rules, false); w.fault != "" {
					t.Logf("walk %d: %.100s", tt.skip+i, w.fault)
					return
				}
			}
			t.Errorf("clean without the rule for %d walks", limit)
		})
	}
}
