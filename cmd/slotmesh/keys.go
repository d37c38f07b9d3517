package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

func (a *app) keyslotCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "keyslot KEY...",
		Short: "Say the slots of keys, without joining anything",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, keys []string) error {
			type line struct {
				Key  string `json:"key"`
				Tag  string `json:"tag"`
				Slot uint16 `json:"slot"`
			}
			lines := []line{}
			for _, k := range keys {
				lines = append(lines, line{k, hashtag.Tag(k), hashtag.Slot(k)})
			}
			return a.show(lines, func(w io.Writer) {
				if len(lines) == 1 {
					fmt.Fprintln(w, lines[0].Slot)
					return
				}
				for _, l := range lines {
					row(w, l.Slot, printable(l.Key, 200))
				}
			})
		},
	}
}

func (a *app) explainCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "explain KEY",
		Short: "Say where a key is, and why a read of it misses",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				e, err := c.Cluster().Explain(ctx, args[0])
				if err != nil {
					return err
				}
				return a.show(newExplained(&e), func(w io.Writer) { fmt.Fprintln(w, e) })
			})
		},
	}
}

// explained is an explanation in JSON.
type explained struct {
	Key         string          `json:"key"`
	Tag         string          `json:"tag"`
	Slot        uint16          `json:"slot"`
	State       string          `json:"state"`
	Version     uint64          `json:"version"`
	Bytes       int             `json:"bytes"`
	TTL         float64         `json:"ttl_seconds,omitempty"` // left out where it lasts for ever
	Codec       uint8           `json:"codec"`
	Schema      uint32          `json:"schema"`
	Loading     bool            `json:"loading"`
	Waiting     int             `json:"waiting"`
	Epoch       uint64          `json:"epoch"`
	Primary     string          `json:"primary"`
	Backups     []string        `json:"backups"`
	Copies      []explainedCopy `json:"copies"`
	SlotRecords int             `json:"slot_records"`
	SlotBytes   int             `json:"slot_bytes"`
	SlotRecent  int             `json:"slot_recent_writes"`
	Took        float64         `json:"took_ms"`
}

type explainedCopy struct {
	Node   string `json:"node"`
	InSync bool   `json:"in_sync"`
	Behind uint64 `json:"behind"`
}

func newExplained(e *slotmesh.Explanation) explained {
	l := explained{
		Key: e.Key, Tag: e.Tag, Slot: e.Slot, State: e.State, Version: e.Version, Bytes: e.Size, TTL: max(e.TTL, 0).Seconds(), Codec: e.Codec,
		Schema: e.Schema, Loading: e.Loading, Waiting: e.Waiting, Epoch: e.Epoch, Primary: e.Primary, Backups: append([]string{}, e.Backups...),
		Copies: []explainedCopy{}, SlotRecords: e.SlotRecords, SlotBytes: e.SlotBytes, SlotRecent: e.SlotRecent, Took: e.Took.Seconds() * 1000,
	}
	for _, c := range e.Copies {
		l.Copies = append(l.Copies, explainedCopy(c))
	}
	return l
}

func (a *app) getCmd() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value",
		Long:  "Print a key's value and a line feed; with --raw the value alone. Without such a key it exits with 3.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				it, err := c.GetItem(ctx, args[0])
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.show(newItemLine(&it, true), nil)
				}
				_, err = a.out.Write(it.Value)
				if !raw {
					fmt.Fprintln(a.out)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print no line feed after the value")
	return cmd
}

// itemLine is an item in JSON.
type itemLine struct {
	Key string `json:"key"`
	*text
	Version uint64     `json:"version"`
	Expires *time.Time `json:"expires,omitempty"`
}

func newItemLine(it *slotmesh.Item, values bool) itemLine {
	l := itemLine{Key: it.Key, Version: it.Version}
	if values {
		t := newText(it.Value)
		l.text = &t
	}
	if !it.Expires.IsZero() {
		l.Expires = &it.Expires
	}
	return l
}

func (a *app) setCmd() *cobra.Command {
	var ttl time.Duration
	var absent, present, keep bool
	cmd := &cobra.Command{
		Use:   "set KEY VALUE|-",
		Short: "Store a value; - reads it from standard input",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			value := []byte(args[1])
			if args[1] == "-" {
				var err error
				if value, err = a.readInput(cmd.Context(), 64<<20+1); err != nil {
					return err
				}
			}
			var opts []slotmesh.SetOption
			add := func(given bool, o slotmesh.SetOption) {
				if given {
					opts = append(opts, o)
				}
			}
			add(cmd.Flags().Changed("ttl"), slotmesh.TTL(ttl))
			add(keep, slotmesh.KeepTTL())
			add(absent, slotmesh.IfAbsent())
			add(present, slotmesh.IfPresent())
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				if err := c.Set(ctx, args[0], value, opts...); err != nil {
					return err
				}
				return a.show(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintln(w, "OK") })
			})
		},
	}
	f := cmd.Flags()
	f.DurationVar(&ttl, "ttl", 0, "let it expire after so long, as in 90s or 24h")
	f.BoolVar(&keep, "keep-ttl", false, "leave the key's expiry as it is")
	f.BoolVar(&absent, "if-absent", false, "only if there is no such key")
	f.BoolVar(&present, "if-present", false, "only if there is such a key")
	return cmd
}

func (a *app) delCmd() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "del KEY... | --prefix PREFIX",
		Short: "Remove keys and say how many there were",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, keys []string) error {
			byPrefix := cmd.Flags().Changed("prefix")
			if byPrefix == (len(keys) > 0) {
				return usagef("del takes keys or --prefix")
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				removed, err := 0, error(nil)
				if byPrefix {
					removed, err = a.delPrefix(ctx, c, prefix)
				} else {
					for _, r := range c.DeleteMany(ctx, keys) {
						if r.Existed {
							removed++
						}
						err = errors.Join(err, r.Err)
					}
				}
				if err != nil {
					return err
				}
				return a.show(map[string]int{"removed": removed}, func(w io.Writer) { fmt.Fprintln(w, removed) })
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", `remove all keys that begin so; "" is all there are (asks first)`)
	return cmd
}

// delPrefix has no deadline of its own: a big cluster takes its time.
func (a *app) delPrefix(ctx context.Context, c *slotmesh.Cache, prefix string) (int, error) {
	what := fmt.Sprintf("This removes every key that begins with %q from cluster %s.", prefix, a.cluster)
	if prefix == "" {
		what = fmt.Sprintf("This removes EVERY key from cluster %s.", a.cluster)
	}
	if err := a.confirm(ctx, what); err != nil {
		return 0, err
	}
	p := a.progress("removed", 0)
	defer p.end()
	return c.DeletePrefix(ctx, prefix, func(removed int) { p.at(int64(removed)) })
}
