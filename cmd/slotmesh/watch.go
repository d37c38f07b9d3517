package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slotmesh/slotmesh"
)

func (a *app) watchCmd() *cobra.Command {
	var key, tag, prefix string
	var snapshot, keysOnly bool
	var limit int
	cmd := &cobra.Command{
		Use:   "watch --key KEY | --tag TAG | --prefix PREFIX",
		Short: "Print what happens to a key, or to the keys of a tag or a prefix, until interrupted",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: want 0 or more", limit)
			}
			var opts []slotmesh.WatchOption
			f := cmd.Flags()
			if f.Changed("key") {
				opts = append(opts, slotmesh.WatchKey(key))
			}
			if f.Changed("tag") {
				opts = append(opts, slotmesh.WatchTag(tag))
			}
			if f.Changed("prefix") {
				opts = append(opts, slotmesh.WatchPrefix(prefix))
			}
			if snapshot {
				opts = append(opts, slotmesh.WatchSnapshot())
			}
			if keysOnly {
				opts = append(opts, slotmesh.WatchKeysOnly())
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				shown := 0
				for e, err := range c.Watch(ctx, opts...) {
					switch {
					case err != nil && errors.Is(err, ctx.Err()):
						return nil // that is how a watch ends
					case err != nil:
						return err
					}
					if err := a.printEvent(&e, keysOnly); err != nil {
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
	f.StringVar(&key, "key", "", "one key")
	f.StringVar(&tag, "tag", "", "all keys of a hash tag")
	f.StringVar(&prefix, "prefix", "", "keys that begin so, in all slots unless it holds a hash tag or --tag names one; \"\" is all keys")
	f.BoolVar(&snapshot, "snapshot", false, "begin with the keys that are there")
	f.BoolVar(&keysOnly, "keys-only", false, "leave out the values")
	f.IntVar(&limit, "limit", 0, "stop after so many events; 0 for never")
	return cmd
}

func (a *app) printEvent(e *slotmesh.Event, keysOnly bool) error {
	if a.output == "json" {
		l := struct {
			Event string `json:"event"`
			Key   string `json:"key,omitempty"`
			*text
			Version uint64     `json:"version,omitempty"`
			Expires *time.Time `json:"expires,omitempty"`
		}{Event: e.Type.String(), Key: e.Key, Version: e.Version}
		if e.Type == slotmesh.EventSet && !keysOnly {
			t := newText(e.Value)
			l.text = &t
		}
		if !e.Expires.IsZero() {
			l.Expires = &e.Expires
		}
		return a.line(l)
	}
	out := e.Type.String()
	if e.Type != slotmesh.EventLive && e.Type != slotmesh.EventResync {
		out += " " + printable(e.Key, 200)
	}
	if e.Type == slotmesh.EventSet && !keysOnly {
		out += " " + printable(e.Value, 200)
	}
	_, err := fmt.Fprintln(a.out, out)
	return err
}
