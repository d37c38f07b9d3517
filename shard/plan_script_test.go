package shard_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/slotmesh/slotmesh/shard"
)

// A script is a cluster's history; each command plans anew.
//
//	members [backups=n]    one a line: name [weight=n] [zone=z] [seat=s] [id=n] [leaving]
//	pins                   one a line: slot name; replaces all pins
//	slots                  of those listed: primary {backups} {witnesses}
//
// Shown are, for each node, primaries and copies, and how many of them are on
// another node than in the plan before.
type planScript struct {
	members []shard.Member
	pins    map[uint16]string
	backups int
	plan    *shard.Assignment
}

func TestPlanScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/plan", func(t *testing.T, path string) {
		s := &planScript{backups: 1}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "members":
				d.MaybeScanArgs(t, "backups", &s.backups)
				s.members = nil
				for line := range strings.Lines(d.Input) {
					s.members = append(s.members, parseMember(t, line))
				}
				return s.replan()
			case "pins":
				s.pins = make(map[uint16]string)
				for line := range strings.Lines(d.Input) {
					slot, name, _ := strings.Cut(strings.TrimSpace(line), " ")
					s.pins[uint16(number(t, slot))] = name
				}
				return s.replan()
			case "slots":
				var out strings.Builder
				for _, field := range strings.Fields(d.Input) {
					slot := uint16(number(t, field))
					fmt.Fprintf(&out, "%d: %s {%s} {%s}\n", slot, s.names(s.plan.Primary(slot)),
						s.names(s.plan.Backups(slot)...), s.names(s.plan.Witnesses(slot)...))
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command")
			return ""
		})
	})
}

func (s *planScript) replan() string {
	before := s.plan
	s.plan = shard.Plan(s.members, s.pins, s.backups)
	var out strings.Builder
	list := loads(s.plan, s.members)
	for i, m := range s.members {
		fmt.Fprintf(&out, "%s: %d primaries, %d copies\n", m.Name, list[i].primaries, list[i].copies)
	}
	if before != nil {
		moved := moves(before, s.plan)
		fmt.Fprintf(&out, "moved: %d primaries, %d copies\n", moved.primaries, moved.copies)
	}
	for _, pin := range s.plan.Ignored {
		fmt.Fprintf(&out, "pin of %d to %s ignored: %s\n", pin.Slot, pin.Name, pin.Reason)
	}
	return out.String()
}

func (s *planScript) names(ids ...shard.NodeID) string {
	var names []string
	for _, id := range ids {
		if i := slices.IndexFunc(s.members, func(m shard.Member) bool { return m.ID == id }); i >= 0 {
			names = append(names, s.members[i].Name)
		}
	}
	return strings.Join(names, ",")
}

// parseMember gives a member the ID that its name spells as letters of base 36,
// unless the line says which.
func parseMember(t *testing.T, line string) shard.Member {
	fields := strings.Fields(line)
	id, err := strconv.ParseUint(fields[0], 36, 64)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	m := shard.Member{Name: fields[0], ID: shard.NewNodeID(id, 0), Weight: 1}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "weight":
			m.Weight = number(t, value)
		case "zone":
			m.Zone = value
		case "seat":
			m.Seat = value
		case "id":
			m.ID = shard.NewNodeID(uint64(number(t, value)), 0)
		case "leaving":
			m.Leaving = true
		default:
			t.Fatalf("%q: unknown %q", line, key)
		}
	}
	return m
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
