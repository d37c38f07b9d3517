package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// moving runs a change that takes its time, with its progress on a bar. When it
// is interrupted the slots move on.
func (a *app) moving(what string, do func(progress slotmesh.MoveOption) error) error {
	p := a.progress(what, 0)
	defer p.end()
	return do(slotmesh.OnProgress(func(g slotmesh.Progress) {
		p.total = int64(g.Total)
		p.at(int64(g.Total - g.Left))
	}))
}

// done says that a change was made.
func (a *app) done(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return a.show(map[string]any{"ok": true, "did": text}, func(w io.Writer) { fmt.Fprintln(w, text) })
}

// spread waits until every node that answers knows what was decided: a visitor
// that left before would take it along.
func (a *app) spread(ctx context.Context, c *slotmesh.Cache) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for {
		own, err := c.Cluster().Report(ctx, c.Cluster().Self().Name)
		if err != nil {
			return err
		}
		knows := 0
		rs := reports(ctx, c, reportWait)
		for i := range rs {
			if rs[i].err != nil || rs[i].Placed == own.Placed {
				knows++
			}
		}
		if knows == len(rs) {
			return nil
		}
		select {
		case <-time.After(lookPause / 5):
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d nodes know of it yet: %w", knows, len(rs), ctx.Err())
		}
	}
}

func slotNumbers(args []string) ([]uint16, error) {
	slots, err := parseSlots(args)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint16, len(slots))
	for i, s := range slots {
		numbers[i] = uint16(s)
	}
	return numbers, nil
}

func (a *app) moveCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "move SLOT|FROM-TO... NODE",
		Aliases: []string{"pin"},
		Short:   "Move slots to a node and pin them there",
		Long: `Move slots to a node and pin them there, until unpin. It waits until the node serves
them; interrupted, they move on. Calls go on meanwhile.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			slots, err := slotNumbers(args[:len(args)-1])
			if err != nil {
				return err
			}
			to := args[len(args)-1]
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				err := a.moving("slots moved", func(p slotmesh.MoveOption) error { return c.Cluster().MoveSlots(ctx, slots, to, p) })
				if err = errors.Join(err, a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("%s serves %d slots, which are pinned to it", to, len(slots))
			})
		},
	}
}

func (a *app) unpinCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "unpin SLOT|FROM-TO... | --all",
		Short: "Undo move and failover: let slots be placed by weight again",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("unpin takes slots or --all")
			}
			slots, err := slotNumbers(args)
			if err != nil {
				return err
			}
			if all {
				slots = nil // which the library takes for all
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if err := errors.Join(c.Cluster().Unpin(ctx, slots), a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("unpinned; slotmesh rebalance waits until they have moved")
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all slots that were placed by people")
	return cmd
}

func (a *app) pinsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "pins",
		Short: "List what people decided: pins, failovers, weights, a pause",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(_ context.Context, c *slotmesh.Cache) error {
				p := c.Cluster().Placement()
				l := struct {
					Pins    map[uint16]string `json:"pinned_to"`
					Aways   map[uint16]string `json:"kept_from"`
					Weights map[string]int    `json:"weights"`
					Paused  bool              `json:"paused"`
				}(p)
				return a.show(&l, func(w io.Writer) {
					row(w, "WHAT", "NODE", "VALUE")
					byNode := func(what string, slots map[uint16]string) {
						lists := map[string][]int{}
						for _, s := range slices.Sorted(maps.Keys(slots)) {
							lists[slots[s]] = append(lists[slots[s]], int(s))
						}
						for _, n := range slices.Sorted(maps.Keys(lists)) {
							row(w, what, n, formatSlots(lists[n]))
						}
					}
					byNode("pinned to", p.Pins)
					byNode("kept from", p.Aways)
					for _, n := range slices.Sorted(maps.Keys(p.Weights)) {
						row(w, "weight", n, p.Weights[n])
					}
					if p.Paused {
						row(w, "paused", "", "balance")
					}
				})
			})
		},
	}
}

func (a *app) rebalanceCmd() *cobra.Command {
	var drop bool
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "End a pause and wait until every slot is where it should be",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if drop {
					if err := a.confirm(ctx, "This undoes every move and failover."); err != nil {
						return err
					}
				}
				err := a.moving("slots in place", func(p slotmesh.MoveOption) error {
					opts := []slotmesh.MoveOption{p}
					if drop {
						opts = append(opts, slotmesh.DropPins())
					}
					return c.Cluster().Rebalance(ctx, opts...)
				})
				if err = errors.Join(err, a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("every slot is where it should be")
			})
		},
	}
	cmd.Flags().BoolVar(&drop, "drop-pins", false, "undo every move and failover as well (asks first)")
	return cmd
}

func (a *app) pauseCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "pause",
		Short: "Keep slots where they are until resume or rebalance; repair goes on",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if err := a.confirm(ctx, "While paused, a node that joins gets no slots."); err != nil {
					return err
				}
				if err := errors.Join(c.Cluster().PauseRebalance(ctx), a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("paused; slotmesh resume ends it")
			})
		},
	}
}

func (a *app) resumeCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if err := errors.Join(c.Cluster().ResumeRebalance(ctx), a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("resumed")
			})
		},
	}
}

func (a *app) failoverCmd() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "failover SLOT|FROM-TO... | --node NODE",
		Short: "Hand slots over to their backups, at once and without copying",
		Long: `Hand slots, or all that a node serves, over to their backups, at once and without
copying. The node stays their backup and is not to serve them again until unpin.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (node != "") == (len(args) > 0) {
				return usagef("failover takes slots or --node")
			}
			slots, err := slotNumbers(args)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				what := fmt.Sprintf("%d slots", len(slots))
				if node != "" {
					if err := knowsNode(c, node); err != nil {
						return err
					}
					what = "all slots of " + node
				}
				if err := a.confirm(ctx, "This hands "+what+" over to their backups: calls to them wait for some milliseconds."); err != nil {
					return err
				}
				err := a.moving("slots handed over", func(p slotmesh.MoveOption) error {
					if node != "" {
						return c.Cluster().FailoverNode(ctx, node, p)
					}
					return c.Cluster().Failover(ctx, slots, p)
				})
				if err = errors.Join(err, a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("%s were handed over; slotmesh unpin --all undoes it", what)
			})
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "all slots that this node serves")
	return cmd
}

func (a *app) drainCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "drain NODE",
		Short: "Take all slots off a node, copies too, and wait; weight NODE own undoes it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if err := knowsNode(c, name); err != nil {
					return err
				}
				if err := a.confirm(ctx, "This takes all slots off "+name+": the others must have the memory for what it holds."); err != nil {
					return err
				}
				if err := errors.Join(c.Cluster().SetWeight(ctx, name, 0), a.spread(ctx, c)); err != nil {
					return err
				}
				if err := a.awaitEmpty(ctx, c, name); err != nil {
					return err
				}
				return a.done("%s holds nothing; it may be stopped, or slotmesh weight %s own undoes it", name, name)
			})
		},
	}
}

// awaitEmpty waits until no slot names the node.
func (a *app) awaitEmpty(ctx context.Context, c *slotmesh.Cache, name string) error {
	p := a.progress("slots taken off", 0)
	defer p.end()
	for {
		left := int64(0)
		for s := range c.Cluster().Slots() {
			if holds(&s, name) {
				left++
			}
		}
		p.total = max(p.total, left)
		p.at(p.total - left)
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(drawEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *app) weightCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "weight NODE WEIGHT|own",
		Short: "Give a node another share of the slots; own is what it was started with",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			weight := slotmesh.OwnWeight
			if args[1] != "own" {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 0 {
					return usagef("weight %q: want 0 to 1000, or own", args[1])
				}
				weight = n
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if weight == 0 {
					if err := a.confirm(ctx, "This takes all slots off "+args[0]+"."); err != nil {
						return err
					}
				}
				if err := errors.Join(c.Cluster().SetWeight(ctx, args[0], weight), a.spread(ctx, c)); err != nil {
					return err
				}
				return a.done("the weight of %s is %s; slotmesh rebalance waits until slots have moved", args[0], args[1])
			})
		},
	}
}
