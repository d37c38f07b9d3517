package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// finding is what one check of doctor came to.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // of the constants below
	Says  string `json:"says"`
	Do    string `json:"do,omitempty"`
}

const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "FAIL"
)

// looks is how often doctor looks before it takes a fault for one: news take a
// moment to spread, and a starved node gets its leases back.
const (
	looks     = 5
	lookPause = 500 * time.Millisecond
)

func (a *app) doctorCmd() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong, and say what to do",
		Long: `Ask every node how it is and how it sees the others, try their ports, compare clocks,
releases, members and slots, and say what to do about what is wrong. It changes
nothing. It exits with 4 where a check fails, with --strict also for a warning.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				findings := a.examine(ctx, c)
				if err := a.show(findings, func(w io.Writer) { findingsTable(w, findings) }); err != nil {
					return err
				}
				for _, f := range findings {
					if f.Level == levelFail || strict && f.Level == levelWarn {
						return errUnwell
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 4 for warnings as well")
	return cmd
}

// findingsTable writes a line a check, and what to do below it.
func findingsTable(w io.Writer, findings []finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.Check, f.Says)
		if f.Do != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Do)
		}
	}
}

// symptoms is what doctor looks at.
type symptoms struct {
	info    *clusterInfo
	reports []report
	refused map[string]error // by name: nodes whose port could not be connected to from here
}

// examine looks until no check fails, a few times at most.
func (a *app) examine(ctx context.Context, c *slotmesh.Cache) (findings []finding) {
	for look := range looks {
		if look > 0 {
			select {
			case <-time.After(lookPause):
			case <-ctx.Done():
				return findings
			}
		}
		rs := reports(ctx, c, reportWait)
		s := &symptoms{newInfo(a.cluster, rs), rs, refusals(ctx, rs)}
		findings = diagnose(s)
		if !slices.ContainsFunc(findings, func(f finding) bool { return f.Level == levelFail }) {
			break
		}
	}
	return findings
}

// refusals tries every node's port.
func refusals(ctx context.Context, rs []report) map[string]error {
	refused := map[string]error{}
	dialer := net.Dialer{Timeout: reportWait}
	for i := range rs {
		n := &rs[i].Node
		conn, err := dialer.DialContext(ctx, "tcp", n.Addr)
		if err != nil {
			refused[n.Name] = err
			continue
		}
		_ = conn.Close()
	}
	return refused
}

// views groups the nodes that answered by the members they see, visitors aside.
func views(rs []report) map[string][]string {
	groups := map[string][]string{}
	for i := range rs {
		if r := &rs[i]; r.err == nil {
			members := sorted(append(peerNames(r), r.Node.Name))
			key := strings.Join(members, ", ")
			groups[key] = append(groups[key], r.Node.Name)
		}
	}
	return groups
}

func peerNames(r *report) (names []string) {
	for _, p := range r.Peers {
		if !p.Visitor && p.State != "suspect" {
			names = append(names, p.Name)
		}
	}
	return names
}

// tables groups the nodes that answered by the slots' claims that they know.
func tables(rs []report) map[uint64][]string {
	groups := map[uint64][]string{}
	for i := range rs {
		if r := &rs[i]; r.err == nil {
			groups[r.Table] = append(groups[r.Table], r.Node.Name)
		}
	}
	return groups
}
