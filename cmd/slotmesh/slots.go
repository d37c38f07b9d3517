package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

// holders is who holds some slots alike.
type holders struct {
	Primary string   `json:"primary"`
	Backups []string `json:"backups"`
	Count   int      `json:"count"`
	Slots   string   `json:"slots"` // as in "0-5,7"
}

func (a *app) slotsCmd() *cobra.Command {
	var node string
	var ranges bool
	cmd := &cobra.Command{
		Use:   "slots [SLOT|FROM-TO]...",
		Short: "Say which nodes hold which slots",
		Long: `Say which nodes hold which slots: without arguments how many each pair of primary
and backups has, with --ranges also which, with arguments those slots one by one.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := parseSlots(args)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(_ context.Context, c *slotmesh.Cache) error {
				if node != "" {
					if err := knowsNode(c, node); err != nil {
						return err
					}
				}
				if len(args) > 0 {
					return a.showSlots(c, wanted, node)
				}
				groups := groupSlots(c, node)
				return a.show(groups, func(w io.Writer) {
					head := []any{"PRIMARY", "BACKUPS", "SLOTS", "SHARE"}
					if ranges {
						head = append(head, "WHICH")
					}
					row(w, head...)
					for _, g := range groups {
						cells := []any{g.Primary, strings.Join(g.Backups, ","), count(g.Count), percent(uint64(g.Count), allSlots)}
						if ranges {
							cells = append(cells, g.Slots)
						}
						row(w, cells...)
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only slots that this node serves or has a copy of")
	cmd.Flags().BoolVar(&ranges, "ranges", false, "list the slots")
	return cmd
}

// showSlots prints slots one by one.
func (a *app) showSlots(c *slotmesh.Cache, wanted []int, node string) error {
	type line struct {
		Slot    uint16   `json:"slot"`
		Epoch   uint64   `json:"epoch"`
		Primary string   `json:"primary"`
		Backups []string `json:"backups"`
	}
	lines := []line{}
	for s := range c.Cluster().Slots() {
		if _, ok := slices.BinarySearch(wanted, int(s.Number)); ok && (node == "" || holds(&s, node)) {
			lines = append(lines, line{s.Number, s.Epoch, s.Primary, append([]string{}, s.Backups...)})
		}
	}
	return a.show(lines, func(w io.Writer) {
		row(w, "SLOT", "PRIMARY", "BACKUPS", "EPOCH")
		for _, l := range lines {
			row(w, l.Slot, l.Primary, strings.Join(l.Backups, ","), l.Epoch)
		}
	})
}

func holds(s *slotmesh.Slot, node string) bool {
	return s.Primary == node || slices.Contains(s.Backups, node)
}

// groupSlots sums up who holds what, by names.
func groupSlots(c *slotmesh.Cache, node string) []holders {
	slots := map[string][]int{}
	groups := map[string]holders{}
	for s := range c.Cluster().Slots() {
		if node != "" && !holds(&s, node) {
			continue
		}
		key := s.Primary + " " + strings.Join(s.Backups, " ")
		groups[key] = holders{Primary: s.Primary, Backups: append([]string{}, s.Backups...)}
		slots[key] = append(slots[key], int(s.Number))
	}
	list := []holders{}
	for key, g := range groups {
		g.Count, g.Slots = len(slots[key]), formatSlots(slots[key])
		list = append(list, g)
	}
	slices.SortFunc(list, func(x, y holders) int {
		return cmp.Or(cmp.Compare(x.Primary, y.Primary), slices.Compare(x.Backups, y.Backups))
	})
	return list
}

// formatSlots writes slots in order as in "0-5,7".
func formatSlots(slots []int) string {
	var b strings.Builder
	for i := 0; i < len(slots); {
		j := i
		for j+1 < len(slots) && slots[j+1] == slots[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(slots[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(slots[j]))
		}
		i = j + 1
	}
	return b.String()
}

// parseSlots reads slots such as "7", "0-99" and "1,5-8": in order, each once.
func parseSlots(args []string) ([]int, error) {
	var seen [allSlots]bool
	for _, part := range strings.Split(strings.Join(args, ","), ",") {
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		low, err := strconv.ParseUint(from, 10, 14)
		high := low
		if err == nil && isRange {
			high, err = strconv.ParseUint(to, 10, 14)
		}
		if err != nil || high < low {
			return nil, usageError{fmt.Errorf("%q: want slots of 0 to %d, as in 7 or 0-99", part, allSlots-1)}
		}
		for s := low; s <= high; s++ {
			seen[s] = true
		}
	}
	var slots []int
	for s, ok := range seen {
		if ok {
			slots = append(slots, s)
		}
	}
	return slots, nil
}
