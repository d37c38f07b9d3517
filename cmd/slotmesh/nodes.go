package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// nodeLine is a node as "nodes" shows it.
type nodeLine struct {
	Name      string  `json:"name"`
	ID        string  `json:"id"`
	Addr      string  `json:"addr"`
	Zone      string  `json:"zone,omitempty"`
	Weight    int     `json:"weight"`
	State     string  `json:"state"`
	Version   string  `json:"version,omitempty"`
	Uptime    float64 `json:"uptime_seconds,omitempty"`
	Primaries int     `json:"primaries"`
	Backups   int     `json:"backups"`
	Learners  int     `json:"learners"`
	Records   int     `json:"records"`
	Memory    int64   `json:"memory_bytes"`
	Limit     int64   `json:"memory_limit_bytes"`
	Hits      uint64  `json:"hits"`
	Misses    uint64  `json:"misses"`
	Evictions uint64  `json:"evictions"`
	Error     string  `json:"error,omitempty"`
}

func (a *app) nodesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes: where they are, what they hold",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				lines := []nodeLine{}
				for _, r := range reports(ctx, c, reportWait) {
					lines = append(lines, newNodeLine(&r))
				}
				return a.show(lines, func(w io.Writer) { nodesTable(w, lines) })
			})
		},
	}
}

func newNodeLine(r *report) nodeLine {
	n, s := &r.Node, &r.Stats
	l := nodeLine{
		Name: n.Name, ID: n.ID, Addr: n.Addr, Zone: n.Zone, Weight: n.Weight, State: n.State, Version: r.Version,
		Primaries: s.Primaries, Backups: s.Backups, Learners: s.Learners, Records: s.Records,
		Memory: s.MemoryBytes, Limit: s.MemoryLimit, Hits: s.Hits, Misses: s.Misses, Evictions: s.Evictions,
	}
	if r.err != nil {
		l.Error = r.err.Error()
	} else {
		l.Uptime = r.Clock.Sub(r.Started).Seconds()
	}
	return l
}

func nodesTable(w io.Writer, lines []nodeLine) {
	row(w, "NAME", "ADDRESS", "ZONE", "WEIGHT", "STATE", "PRIMARIES", "BACKUPS", "RECORDS", "MEMORY", "HITS", "UPTIME", "VERSION")
	for _, l := range lines {
		if l.Error != "" {
			row(w, l.Name, l.Addr, l.Zone, l.Weight, l.State+", no answer", "", "", "", "", "", "", "")
			continue
		}
		row(w, l.Name, l.Addr, l.Zone, l.Weight, l.State, count(l.Primaries), count(l.Backups), count(l.Records),
			fmt.Sprintf("%s of %s", size(l.Memory), size(l.Limit)), percent(l.Hits, l.Hits+l.Misses),
			ago(time.Duration(l.Uptime*float64(time.Second))), l.Version)
	}
}
