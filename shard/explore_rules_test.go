package shard

import "testing"

// TestExploreNoticesMissingRules switches off one rule after another. A rule
// whose absence no walk notices would be one that nobody tests, or needs.
func TestExploreNoticesMissingRules(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules rules
		rare  bool // takes more than a thousand walks
	}{
		{"a claim is in force once a quorum accepted it", rules{off: rulesOff{force: true}}, false},
		{"a new primary waits out its promise to the old one", rules{off: rulesOff{lentWait: true}}, true},
		{"nobody lends to a primary it is replacing", rules{off: rulesOff{oppose: true}}, false},
		{"a proposal needs the union of the sets", rules{noWait: true, off: rulesOff{union: true}}, false},
		{"the union outlives a failed proposal", rules{off: rulesOff{unionVoid: true}}, true},
		{"a silent backup is dropped before opening", rules{off: rulesOff{dropFirst: true}}, false},
		{"an epoch is promised once", rules{off: rulesOff{promise: true}}, true},
		{"refused proposers back off", rules{off: rulesOff{backOff: true}}, false},
		{"reads need leases", rules{noLeases: true}, false},
		{"reads wait for acknowledgement", rules{readsUngated: true}, false},
		{"copies settle before the slot opens", rules{noSettling: true}, false},
		{"copies refuse lower epochs", rules{notFenced: true}, true},
		{"a learner starts empty", rules{leftovers: true}, false},
		{"losers' records are written anew", rules{noOffers: true}, false},
		{"foreign records compare by origin", rules{byVersion: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := max(*walks, 10000)
			if tt.rare && testing.Short() {
				t.Skip("takes more than a thousand walks")
			}
			for i := range limit {
				if w := walk(uint64(1000+i), tt.rules, false); w.fault != "" {
					t.Logf("walk %d: %.100s", i, w.fault)
					return
				}
			}
			t.Errorf("clean without the rule for %d walks", limit)
		})
	}
}
