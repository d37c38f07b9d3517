package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
)

// wellFleet is what doctor sees of three nodes at rest.
func wellFleet() *symptoms {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var rs []report
	for i := 1; i <= 3; i++ {
		r := report{at: at, took: 2 * time.Millisecond, Report: slotmesh.Report{
			Node:    slotmesh.Node{Name: fmt.Sprint("n", i), Addr: fmt.Sprintf("10.0.0.%d:7946", i), State: "alive", Weight: 1},
			Version: "v1.2.0", Protocols: [2]int{1, 2}, Clock: at, Backups: 1, Table: 7,
			Stats: slotmesh.Stats{MemoryBytes: 10, MemoryLimit: 100},
		}}
		for j := 1; j <= 3; j++ {
			if j != i {
				r.Peers = append(r.Peers, slotmesh.Peer{Name: fmt.Sprint("n", j), State: "alive", Connected: true})
			}
		}
		r.Peers = append(r.Peers, slotmesh.Peer{Name: "cli", Visitor: true}) // counts for nothing
		rs = append(rs, r)
	}
	return &symptoms{reports: rs, refused: map[string]error{}}
}

func TestDiagnoseFindsEachFault(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(s *symptoms)
		check string // "" for none at fault
		level string
		says  string
	}{
		{"all is well", func(*symptoms) {}, "", "", ""},
		{"no answer", func(s *symptoms) { s.reports[1].err = errors.New("timeout") }, "answers", levelFail, "n2 (10.0.0.2:7946"},
		{"nobody", func(s *symptoms) { s.reports = nil }, "answers", levelFail, "no node"},
		{"suspected", func(s *symptoms) { s.reports[2].Node.State = "suspect" }, "answers", levelWarn, "n3"},
		{"port closed", func(s *symptoms) { s.refused["n3"] = errors.New("connection refused") }, "ports", levelFail, "n3: connection refused"},
		{"one link down", func(s *symptoms) { s.reports[0].Peers[1].Connected = false }, "links", levelFail, "n1 to n3"},
		{"split views", func(s *symptoms) { s.reports[0].Peers = nil }, "views", levelFail, "n1 see n1"},
		{"other table", func(s *symptoms) { s.reports[2].Table = 8 }, "tables", levelFail, "n1, n2 | n3"},
		{"other table while moving", func(s *symptoms) { s.reports[2].Table = 8; s.reports[0].Health.Moving = 5 }, "tables", levelWarn, "changing hands"},
		{"clock ahead", func(s *symptoms) { s.reports[1].Clock = s.reports[1].at.Add(3 * time.Second) }, "clocks", levelWarn, "n2 is 3s ahead"},
		{"clock far behind", func(s *symptoms) { s.reports[2].Clock = s.reports[2].at.Add(-time.Hour) }, "clocks", levelFail, "1h0m0s ahead of n3"},
		{"two releases", func(s *symptoms) { s.reports[0].Version = "v1.3.0" }, "releases", levelWarn, "v1.3.0: n1"},
		{"protocols apart", func(s *symptoms) { s.reports[0].Protocols = [2]int{3, 4} }, "releases", levelFail, "no protocol"},
		{"no primary", func(s *symptoms) { s.reports[0].Health.NoPrimary = 9 }, "primaries", levelFail, "9 slots"},
		{"never claimed", func(s *symptoms) { s.reports[0].Health.Unclaimed = 16384 }, "primaries", levelFail, "never claimed"},
		{"short of backups", func(s *symptoms) { s.reports[1].Health.ShortBackups = 3 }, "backups", levelWarn, "3 slots"},
		{"too few for the backups", func(s *symptoms) {
			for i := range s.reports {
				s.reports[i].Backups = 3
			}
		}, "backups", levelWarn, "3 nodes hold data"},
		{"forked", func(s *symptoms) { s.reports[1].Health.Forked = 4 }, "forks", levelWarn, "4 slots"},
		{"moving", func(s *symptoms) { s.reports[1].Health.Moving = 4 }, "moves", levelWarn, "4 slots"},
		{"placed apart", func(s *symptoms) { s.reports[1].Placed = 3 }, "placement", levelFail, "n1, n3 | n2"},
		{"paused", func(s *symptoms) { s.reports[1].Paused = true }, "placement", levelWarn, "paused"},
		{"full", func(s *symptoms) { s.reports[1].Stats.MemoryBytes = 95; s.reports[1].Stats.Evictions = 1 }, "memory", levelWarn, "n2 has 95 B of 100 B; keys are evicted"},
		{"backups differ", func(s *symptoms) { s.reports[2].Backups = 2 }, "settings", levelWarn, "2 for n3"},
		{"a zone missing", func(s *symptoms) { s.reports[0].Node.Zone = "a" }, "settings", levelWarn, "n2, n3"},
		{"all without weight", func(s *symptoms) {
			for i := range s.reports {
				s.reports[i].Node.Weight = 0
			}
		}, "shape", levelFail, "no node holds data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := wellFleet()
			tt.spoil(s)
			s.info = newInfo("test", s.reports)
			found := false
			for _, f := range diagnose(s) {
				if tt.check == "" && f.Level != levelOK {
					t.Errorf("%+v, want ok", f)
				}
				if f.Check == tt.check && f.Level == tt.level && strings.Contains(f.Says, tt.says) {
					found = true
				}
				if (f.Level == levelOK) != (f.Do == "") {
					t.Errorf("%+v: want advice where something is wrong, and only there", f)
				}
			}
			if !found && tt.check != "" {
				t.Errorf("diagnose = %+v, want %s %s %q", diagnose(s), tt.level, tt.check, tt.says)
			}
		})
	}
}

func TestStateOfACluster(t *testing.T) {
	for _, tt := range []struct {
		want  string
		spoil func(rs []report)
	}{
		{"ok", func([]report) {}},
		{"degraded", func(rs []report) { rs[1].Health.ShortBackups = 1 }},
		{"degraded", func(rs []report) { rs[1].err = errors.New("silent") }},
		{"failing", func(rs []report) { rs[2].Health.NoPrimary = 1 }},
		{"failing", func(rs []report) {
			for i := range rs {
				rs[i].err = errors.New("silent")
			}
		}},
	} {
		rs := wellFleet().reports
		tt.spoil(rs)
		if i := newInfo("test", rs); i.State != tt.want || (i.State == "ok") != (len(i.Reasons) == 0) {
			t.Errorf("state %q for %v, want %q", i.State, i.Reasons, tt.want)
		}
	}
}

var errTest = errors.New("silent")
