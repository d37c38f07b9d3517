package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

func (a *app) scanCmd() *cobra.Command {
	var prefix, glob, tag string
	var slot, limit int
	var values bool
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Print keys, all of them or some",
		Long: `Print keys, one a line, those that would not show quoted; with -o json an object a
line. Keys that are there from beginning to end come exactly once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: want 0 or more", limit)
			}
			var opts []slotmesh.ScanOption
			f := cmd.Flags()
			if f.Changed("prefix") {
				opts = append(opts, slotmesh.ScanPrefix(prefix))
			}
			if f.Changed("glob") {
				opts = append(opts, slotmesh.ScanGlob(glob))
			}
			if f.Changed("tag") {
				opts = append(opts, slotmesh.ScanTag(tag))
			}
			if f.Changed("slot") {
				opts = append(opts, slotmesh.ScanSlot(slot))
			}
			if !values {
				opts = append(opts, slotmesh.ScanKeysOnly())
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				shown := 0
				for it, err := range c.Scan(ctx, opts...) {
					if err != nil {
						return err
					}
					if err := a.printItem(&it, values); err != nil {
						return err
					}
					if shown++; shown == limit {
						break
					}
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&prefix, "prefix", "", "only keys that begin so")
	f.StringVar(&glob, "glob", "", "only keys that match, as in 'user:*:cart'")
	f.StringVar(&tag, "tag", "", "only keys of this hash tag: one slot is looked at")
	f.IntVar(&slot, "slot", 0, "only keys of this slot")
	f.IntVar(&limit, "limit", 0, "stop after so many; 0 for all")
	f.BoolVar(&values, "values", false, "print values as well")
	return cmd
}

func (a *app) printItem(it *slotmesh.Item, values bool) error {
	if a.output == "json" {
		return a.line(newItemLine(it, values))
	}
	out := printable(it.Key, 1<<16)
	if values {
		out += "\t" + printable(it.Value, 200)
	}
	_, err := fmt.Fprintln(a.out, out)
	return err
}
