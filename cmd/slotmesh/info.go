package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// clusterInfo sums the cluster up. The JSON names are the table's.
type clusterInfo struct {
	State        string   `json:"state"`
	Cluster      string   `json:"cluster"`
	Nodes        int      `json:"nodes"`
	NoAnswer     int      `json:"nodes_without_answer"`
	Slots        int      `json:"slots"`
	Unclaimed    int      `json:"slots_unclaimed"`
	NoPrimary    int      `json:"slots_without_primary"`
	ShortBackups int      `json:"slots_short_of_backups"`
	Moving       int      `json:"slots_moving"`
	Forked       int      `json:"slots_forked"`
	Paused       bool     `json:"paused"`
	Copies       int      `json:"records_with_copies"`
	Memory       int64    `json:"memory_bytes"`
	Limit        int64    `json:"memory_limit_bytes"`
	Hits         uint64   `json:"hits"`
	Misses       uint64   `json:"misses"`
	Evictions    uint64   `json:"evictions"`
	Expiries     uint64   `json:"expiries"`
	Promotions   uint64   `json:"promotions"`
	Reasons      []string `json:"reasons"`
}

const allSlots = 16384

func (a *app) infoCmd() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Say how the cluster is, in lines like state:ok",
		Long: `Say how the cluster is. The state is that of the node that sees it worst: ok;
degraded, where slots are short of backups, on their way or being merged; failing,
where slots have no primary, so that calls to them wait or fail.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				i := newInfo(a.cluster, reports(ctx, c, reportWait))
				if err := a.show(i, i.print); err != nil {
					return err
				}
				if check && i.State != "ok" {
					return errUnwell
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 4 unless the state is ok")
	return cmd
}

func newInfo(cluster string, rs []report) *clusterInfo {
	i := &clusterInfo{Cluster: cluster, Nodes: len(rs), Slots: allSlots, Reasons: []string{}}
	for n := range rs {
		r := &rs[n]
		if r.err != nil {
			i.NoAnswer++
			continue
		}
		h, s := &r.Health, &r.Stats
		i.Unclaimed, i.NoPrimary = max(i.Unclaimed, h.Unclaimed), max(i.NoPrimary, h.NoPrimary)
		i.ShortBackups, i.Moving = max(i.ShortBackups, h.ShortBackups), max(i.Moving, h.Moving)
		i.Forked += h.Forked // each node tells of its own
		i.Paused = i.Paused || r.Paused
		i.Copies += s.Records
		i.Memory, i.Limit = i.Memory+s.MemoryBytes, i.Limit+s.MemoryLimit
		i.Hits, i.Misses = i.Hits+s.Hits, i.Misses+s.Misses
		i.Evictions, i.Expiries, i.Promotions = i.Evictions+s.Evictions, i.Expiries+s.Expiries, i.Promotions+s.Promotions
	}
	say := func(n int, what string) {
		if n > 0 {
			i.Reasons = append(i.Reasons, fmt.Sprintf("%d %s", n, what))
		}
	}
	say(i.Unclaimed, "slots were never claimed")
	say(i.NoPrimary, "slots have no live primary")
	say(i.NoAnswer, "nodes do not answer")
	say(i.ShortBackups, "slots are short of backups")
	say(i.Forked, "slots hold records of a fork to be handed over")
	say(i.Moving, "slots are on their way to another node")
	switch {
	case i.Unclaimed+i.NoPrimary > 0 || i.Nodes == i.NoAnswer:
		i.State = "failing"
	case len(i.Reasons) > 0:
		i.State = "degraded"
	default:
		i.State = "ok"
	}
	return i
}

func (i *clusterInfo) print(w io.Writer) {
	for _, l := range []struct {
		name  string
		value any
	}{
		{"state", i.State}, {"cluster", i.Cluster}, {"nodes", i.Nodes}, {"nodes_without_answer", i.NoAnswer}, {"slots", i.Slots},
		{"slots_unclaimed", i.Unclaimed}, {"slots_without_primary", i.NoPrimary}, {"slots_short_of_backups", i.ShortBackups},
		{"slots_moving", i.Moving}, {"slots_forked", i.Forked}, {"paused", i.Paused}, {"records_with_copies", i.Copies},
		{"memory_bytes", i.Memory}, {"memory_limit_bytes", i.Limit}, {"hits", i.Hits}, {"misses", i.Misses},
		{"evictions", i.Evictions}, {"expiries", i.Expiries}, {"promotions", i.Promotions},
	} {
		fmt.Fprintf(w, "%s:%v\n", l.name, l.value)
	}
	for _, r := range i.Reasons {
		fmt.Fprintf(w, "reason:%s\n", r)
	}
}
