package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

func (a *app) checkpointCmd() *cobra.Command {
	var label string
	var all bool
	cmd := &cobra.Command{
		Use:   "checkpoint NODE... | --all",
		Short: "Have nodes write consistent copies of their records to their disks",
		Long: `Have nodes write consistent copies of their records to their disks, while calls go
on. A copy lies beside the data directory, on the same machine; slotmeshd opens it
by --data-dir. It shares files with the data where the disk allows it, so it costs
little room at first.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usagef("checkpoint takes nodes or --all")
			}
			if label == "" {
				label = time.Now().UTC().Format("20060102-150405")
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if all {
					for _, n := range others(c) {
						if n.Weight > 0 {
							names = append(names, n.Name)
						}
					}
				}
				for _, n := range names {
					if err := knowsNode(c, n); err != nil {
						return err
					}
				}
				return a.checkpoint(ctx, c, names, label)
			})
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "name of the copy's directory (default: the time)")
	cmd.Flags().BoolVar(&all, "all", false, "all nodes that hold data, one after another")
	return cmd
}

func (a *app) checkpoint(ctx context.Context, c *slotmesh.Cache, names []string, label string) error {
	type line struct {
		Node  string  `json:"node"`
		Dir   string  `json:"dir,omitempty"`
		Took  float64 `json:"seconds"`
		Error string  `json:"error,omitempty"`
	}
	lines := []line{}
	var errs []error
	p := a.progress("nodes copied", int64(len(names)))
	for i, n := range names {
		began := time.Now()
		dir, err := c.Cluster().Checkpoint(ctx, n, label)
		l := line{Node: n, Dir: dir, Took: time.Since(began).Seconds()}
		if err != nil {
			l.Error = err.Error()
			errs = append(errs, err)
		}
		lines = append(lines, l)
		p.at(int64(i + 1))
	}
	p.end()
	err := a.show(lines, func(w io.Writer) {
		row(w, "NODE", "COPY", "TOOK")
		for _, l := range lines {
			if l.Error == "" {
				row(w, l.Node, l.Dir, fmt.Sprintf("%.1fs", l.Took))
			}
		}
	})
	return errors.Join(append(errs, err)...)
}
