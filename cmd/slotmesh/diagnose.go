package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	clockWarn = 500 * time.Millisecond
	clockFail = 10 * time.Second
	fullAt    = 0.9 // of the memory limit
)

// diagnose makes every check. It looks at nothing but its argument.
func diagnose(s *symptoms) []finding {
	var list []finding
	for _, check := range []func(*symptoms) finding{
		checkAnswers, checkPorts, checkLinks, checkViews, checkTables, checkClocks, checkReleases,
		checkPrimaries, checkBackups, checkForks, checkMoves, checkPlacement, checkMemory, checkSettings, checkShape,
	} {
		list = append(list, check(s))
	}
	return list
}

func fine(check, format string, args ...any) finding {
	return finding{Check: check, Level: levelOK, Says: fmt.Sprintf(format, args...)}
}

func (s *symptoms) answered() (rs []*report) {
	for i := range s.reports {
		if s.reports[i].err == nil {
			rs = append(rs, &s.reports[i])
		}
	}
	return rs
}

func checkAnswers(s *symptoms) finding {
	var silent, suspect []string
	for i := range s.reports {
		if r := &s.reports[i]; r.err != nil {
			silent = append(silent, fmt.Sprintf("%s (%s, %s)", r.Node.Name, r.Node.Addr, r.Node.State))
		} else if r.Node.State == "suspect" {
			suspect = append(suspect, r.Node.Name)
		}
	}
	switch {
	case len(s.reports) == 0:
		return finding{"answers", levelFail, "no node is known", "start one, or give another --join"}
	case len(silent) > 0:
		return finding{"answers", levelFail, "no answer from " + strings.Join(silent, ", "),
			"see whether the process lives and is not stopped or starved; its own log tells; if it is dead for good, nothing is to be done: the others take over"}
	case len(suspect) > 0:
		return finding{"answers", levelWarn, strings.Join(suspect, ", ") + " answers here but is suspected dead by gossip",
			"open UDP on the node's port between all nodes"}
	}
	return fine("answers", "all %d nodes answer", len(s.reports))
}

func checkPorts(s *symptoms) finding {
	if len(s.refused) == 0 {
		return fine("ports", "TCP is open from here to every node")
	}
	var says []string
	for _, name := range slices.Sorted(maps.Keys(s.refused)) {
		says = append(says, fmt.Sprintf("%s: %v", name, s.refused[name]))
	}
	return finding{"ports", levelFail, strings.Join(says, "; "),
		"open TCP and UDP on the node's port; if the address is wrong, set WithAdvertiseAddr (--advertise)"}
}

func checkLinks(s *symptoms) finding {
	var broken []string
	for _, r := range s.answered() {
		for _, p := range r.Peers {
			if !p.Visitor && !p.Connected {
				broken = append(broken, r.Node.Name+" to "+p.Name)
			}
		}
	}
	if len(broken) > 0 {
		return finding{"links", levelFail, "not connected: " + strings.Join(broken, ", "),
			"open TCP between these two, both ways, on the port of each"}
	}
	return fine("links", "every node is connected to every other")
}

func checkViews(s *symptoms) finding {
	groups := views(s.reports)
	if len(groups) <= 1 {
		return fine("views", "all nodes see the same members")
	}
	var says []string
	for _, members := range slices.Sorted(maps.Keys(groups)) {
		says = append(says, fmt.Sprintf("%s see %s", strings.Join(groups[members], ", "), members))
	}
	return finding{"views", levelFail, "the cluster is split: " + strings.Join(says, "; "),
		"let the sides reach each other, TCP and UDP; they merge by themselves then"}
}

func checkTables(s *symptoms) finding {
	groups := tables(s.reports)
	if len(groups) <= 1 {
		return fine("tables", "all nodes know the same claims of slots")
	}
	var says []string
	for _, names := range groups {
		says = append(says, strings.Join(names, ", "))
	}
	slices.Sort(says)
	if s.info.Moving+s.info.NoPrimary+s.info.ShortBackups > 0 {
		return finding{"tables", levelWarn, "slots are changing hands; of one mind are " + strings.Join(says, " | "), "look again when nothing moves"}
	}
	return finding{"tables", levelFail, "nodes know different claims: of one mind are " + strings.Join(says, " | "),
		"see links and views; if those are well, report it with the logs of the nodes"}
}

func checkClocks(s *symptoms) finding {
	var least, most time.Duration
	var early, late string
	slack := time.Duration(0)
	for i, r := range s.answered() {
		off := r.Clock.Sub(r.at)
		slack = max(slack, r.took/2)
		if i == 0 || off < least {
			least, early = off, r.Node.Name
		}
		if i == 0 || off > most {
			most, late = off, r.Node.Name
		}
	}
	apart := most - least
	says := fmt.Sprintf("within %v of each other, measured to %v", apart.Round(100*time.Microsecond), slack.Round(100*time.Microsecond))
	if apart-2*slack < clockWarn {
		return fine("clocks", "%s", says)
	}
	f := finding{"clocks", levelWarn, fmt.Sprintf("%s is %v ahead of %s: expiry times will be off by that", late, apart.Round(time.Millisecond), early),
		"synchronize clocks (chrony, systemd-timesyncd); they need not agree exactly, but have to run at one speed"}
	if apart-2*slack >= clockFail {
		f.Level = levelFail
	}
	return f
}

func checkReleases(s *symptoms) finding {
	releases := map[string][]string{}
	low, high := 0, 1<<30
	for _, r := range s.answered() {
		releases[r.Version] = append(releases[r.Version], r.Node.Name)
		low, high = max(low, r.Protocols[0]), min(high, r.Protocols[1])
	}
	var says []string
	for _, v := range slices.Sorted(maps.Keys(releases)) {
		says = append(says, fmt.Sprintf("%s: %s", v, strings.Join(releases[v], ", ")))
	}
	switch {
	case low > high:
		return finding{"releases", levelFail, "no protocol version in common: " + strings.Join(says, "; "), "upgrade the oldest by one minor release at a time"}
	case len(releases) > 1:
		return finding{"releases", levelWarn, strings.Join(says, "; "), "finish the deploy: two adjacent releases run together, but not for ever"}
	}
	return fine("releases", "all nodes run %s, protocol %d", strings.Join(slices.Collect(maps.Keys(releases)), ""), high)
}

func checkPrimaries(s *symptoms) finding {
	switch i := s.info; {
	case i.NoPrimary > 0:
		return finding{"primaries", levelFail, fmt.Sprintf("%d slots have no live primary: calls to them wait or fail", i.NoPrimary),
			"bring back the nodes that do not answer; without them slots go on after WithPartitionWait, those whose holders are all lost after WithOrphanWait"}
	case i.Unclaimed > 0:
		return finding{"primaries", levelFail, fmt.Sprintf("%d slots were never claimed", i.Unclaimed),
			"start as many nodes with a weight as WithBootstrapExpect (--bootstrap-expect) asks for"}
	}
	return fine("primaries", "every slot is served")
}

func checkBackups(s *symptoms) finding {
	holders, asked := 0, 0
	for _, r := range s.answered() {
		asked = max(asked, r.Backups)
		if r.Node.Weight > 0 {
			holders++
		}
	}
	switch i := s.info; {
	case i.ShortBackups > 0:
		return finding{"backups", levelWarn, fmt.Sprintf("%d slots are short of backups: one more loss may lose what they hold", i.ShortBackups),
			"stop no node now; copies are made after WithRepairDelay; if the number does not fall, see memory and links"}
	case asked == 0:
		return finding{"backups", levelWarn, "no backups are asked for: what a dead node held is gone", "set WithBackups(1) (--backups 1) if that hurts"}
	case holders <= asked:
		return finding{"backups", levelWarn, fmt.Sprintf("%d backups are asked for, and %d nodes hold data", asked, holders), "start more nodes"}
	}
	return fine("backups", "every slot has its backups in sync")
}

func checkForks(s *symptoms) finding {
	if n := s.info.Forked; n > 0 {
		return finding{"forks", levelWarn, fmt.Sprintf("%d slots went on without a majority and are being merged: the newer write of each key wins", n),
			"let it end; for caches that rather wait than fork there is WithPartitionPolicy(Majority)"}
	}
	return fine("forks", "no slot is being merged")
}

func checkMoves(s *symptoms) finding {
	if n := s.info.Moving; n > 0 {
		return finding{"moves", levelWarn, fmt.Sprintf("%d slots are on their way to another node", n), "nothing, if nodes came or went lately; watch it in slotmesh top"}
	}
	return fine("moves", "every slot is where it should be")
}

func checkPlacement(s *symptoms) finding {
	placed := map[uint64][]string{}
	var paused []string
	for _, r := range s.answered() {
		placed[r.Placed] = append(placed[r.Placed], r.Node.Name)
		if r.Paused {
			paused = append(paused, r.Node.Name)
		}
	}
	switch {
	case len(placed) > 1:
		var says []string
		for _, names := range placed {
			says = append(says, strings.Join(names, ", "))
		}
		slices.Sort(says)
		return finding{"placement", levelFail, "nodes know different decisions of people: of one mind are " + strings.Join(says, " | "), "see links and views"}
	case len(paused) > 0:
		return finding{"placement", levelWarn, "balance is paused: nodes that join get no slots", "slotmesh resume, when whatever it was for is done"}
	}
	return fine("placement", "nodes agree on pins and weights, and nothing is paused")
}

func checkMemory(s *symptoms) finding {
	var full []string
	evicting := false
	for _, r := range s.answered() {
		if m := r.Stats; m.MemoryLimit > 0 && float64(m.MemoryBytes) > fullAt*float64(m.MemoryLimit) {
			full = append(full, fmt.Sprintf("%s has %s of %s", r.Node.Name, size(m.MemoryBytes), size(m.MemoryLimit)))
			evicting = evicting || m.Evictions > 0
		}
	}
	if len(full) == 0 {
		return fine("memory", "%s of %s are taken", size(s.info.Memory), size(s.info.Limit))
	}
	says := strings.Join(full, ", ")
	if evicting {
		says += "; keys are evicted"
	}
	return finding{"memory", levelWarn, says, "raise WithMaxMemory (--memory) or start more nodes, if those keys are missed: see the hit rate in slotmesh top"}
}

func checkSettings(s *symptoms) finding {
	backups := map[int][]string{}
	zoned, unzoned := []string{}, []string{}
	for _, r := range s.answered() {
		backups[r.Backups] = append(backups[r.Backups], r.Node.Name)
		if r.Node.Weight == 0 {
			continue
		}
		if r.Node.Zone == "" {
			unzoned = append(unzoned, r.Node.Name)
		} else {
			zoned = append(zoned, r.Node.Name)
		}
	}
	switch {
	case len(backups) > 1:
		var says []string
		for _, n := range slices.Sorted(maps.Keys(backups)) {
			says = append(says, fmt.Sprintf("%d for %s", n, strings.Join(backups[n], ", ")))
		}
		return finding{"settings", levelWarn, "WithBackups differs: " + strings.Join(says, "; "), "give all nodes the same: each places slots by its own"}
	case len(zoned) > 0 && len(unzoned) > 0:
		return finding{"settings", levelWarn, "without a zone: " + strings.Join(unzoned, ", "), "give all nodes their zone, or none"}
	}
	return fine("settings", "nodes agree on backups and zones")
}

func checkShape(s *symptoms) finding {
	voters, holders := 0, 0
	for _, r := range s.answered() {
		voters++
		if r.Node.Weight > 0 {
			holders++
		}
	}
	switch {
	case holders == 0 && voters > 0:
		return finding{"shape", levelFail, "no node holds data: all have weight 0", "start a node with a weight"}
	case voters == 1:
		return finding{"shape", levelWarn, "there is one node: nothing survives it but what is on its disk", "start two more"}
	case voters == 2:
		return finding{"shape", levelWarn, "of two nodes the survivor cannot ask anybody whether it may go on", "start a third; one of weight 0 will do"}
	}
	return fine("shape", "%d nodes, %d of them hold data", voters, holders)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
