package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slotmesh/slotmesh"
)

// enterScreen and leaveScreen switch to the terminal's other screen, without a
// cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

func (a *app) topCmd() *cobra.Command {
	var interval time.Duration
	var frames int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the nodes at work; q ends it",
		Long: `Watch the nodes at work: slots, memory and rates of calls, anew every --interval. On
a terminal q ends it; elsewhere each frame is printed, with -o json an object a line.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usagef("--interval %v: want at least 100ms", interval)
			}
			if frames < 0 {
				return usagef("--frames %d: want 0 or more", frames)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *slotmesh.Cache) error {
				return a.top(ctx, c, interval, frames)
			})
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks, at least 100ms")
	cmd.Flags().IntVarP(&frames, "frames", "n", 0, "stop after so many; 0 for never")
	return cmd
}

func (a *app) top(ctx context.Context, c *slotmesh.Cache, interval time.Duration, frames int) error {
	live := a.output == "table" && isTerminal(a.out)
	if live {
		restore, quit := a.takeScreen()
		defer restore()
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() { // ends with a key, or with the process
			<-quit
			cancel()
		}()
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	before := reports(ctx, c, reportWait)
	for n := 0; frames == 0 || n < frames; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // that is how it ends
		}
		now := reports(ctx, c, reportWait)
		if ctx.Err() != nil {
			return nil
		}
		f := newFrame(a.cluster, before, now)
		before = now
		var err error
		switch {
		case a.output == "json":
			err = a.line(f)
		case live:
			_, err = io.WriteString(a.out, screen(f.lines(), a.out))
		default:
			_, err = fmt.Fprintln(a.out, strings.Join(f.lines(), "\n"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeScreen turns the terminal over to top. quit is closed at q, Escape or
// Ctrl-C.
func (a *app) takeScreen() (restore func(), quit <-chan struct{}) {
	fmt.Fprint(a.out, enterScreen)
	pressed := make(chan struct{})
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return func() { fmt.Fprint(a.out, leaveScreen) }, pressed
	}
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return func() { fmt.Fprint(a.out, leaveScreen) }, pressed
	}
	go func() { // ends with a key, or with the process
		key := make([]byte, 1)
		for {
			if _, err := in.Read(key); err != nil || strings.ContainsRune("qQ\x03\x1b", rune(key[0])) {
				close(pressed)
				return
			}
		}
	}()
	return func() {
		_ = term.Restore(int(in.Fd()), old)
		fmt.Fprint(a.out, leaveScreen)
	}, pressed
}

// screen draws lines over what is there, cut to the terminal's size.
func screen(lines []string, out any) string {
	width, height := 80, 24
	if f, ok := out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	var b strings.Builder
	b.WriteString(toTop)
	for i, l := range lines {
		if i == height-1 {
			break
		}
		if utf8.RuneCountInString(l) > width {
			l = string([]rune(l)[:width-1]) + "…"
		}
		b.WriteString(l + clearLine + "\r\n")
	}
	b.WriteString(clearRest)
	return b.String()
}

// frame is one look of top.
type frame struct {
	Time  time.Time    `json:"time"`
	Info  *clusterInfo `json:"info"`
	Nodes []nodeRates  `json:"nodes"`
}

// nodeRates is a node with what it does a second.
type nodeRates struct {
	nodeLine
	Calls     float64 `json:"calls_per_second"`     // answered here, for its own callers and for other nodes
	Forwarded float64 `json:"forwarded_per_second"` // made here and answered elsewhere
	HitRate   float64 `json:"hit_rate"`             // of the reads since the last look; -1 where there were none
	Evicted   float64 `json:"evictions_per_second"`
	Copied    float64 `json:"bytes_copied_per_second"`
	RTT       float64 `json:"round_trip_ms"`
}

func newFrame(cluster string, before, now []report) *frame {
	f := &frame{Info: newInfo(cluster, now), Nodes: []nodeRates{}}
	for i := range now {
		r := &now[i]
		n := nodeRates{nodeLine: newNodeLine(r), HitRate: -1}
		f.Time = r.at
		if r.err == nil {
			n.RTT = float64(r.took.Microseconds()) / 1000
			n.rate(before, r)
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f
}

// rate compares with the last look at the same start of the node.
func (n *nodeRates) rate(before []report, r *report) {
	for i := range before {
		b := &before[i]
		if b.err != nil || b.Node.ID != r.Node.ID {
			continue
		}
		seconds := r.Clock.Sub(b.Clock).Seconds()
		if seconds <= 0 {
			return
		}
		grown := func(now, then uint64) float64 {
			if now < then {
				return 0
			}
			return float64(now - then)
		}
		s, t := &r.Stats, &b.Stats
		n.Calls = grown(s.Local+s.Served, t.Local+t.Served) / seconds
		n.Forwarded = grown(s.Forwarded, t.Forwarded) / seconds
		n.Evicted = grown(s.Evictions, t.Evictions) / seconds
		n.Copied = grown(s.BytesCopied, t.BytesCopied) / seconds
		if reads := grown(s.Hits+s.Misses, t.Hits+t.Misses); reads > 0 {
			n.HitRate = grown(s.Hits, t.Hits) / reads
		}
		return
	}
}

const memoryBar = 10

// lines is the frame as text.
func (f *frame) lines() []string {
	i := f.Info
	calls, evicted, copied := 0.0, 0.0, 0.0
	for _, n := range f.Nodes {
		calls, evicted, copied = calls+n.Calls, evicted+n.Evicted, copied+n.Copied
	}
	out := []string{
		fmt.Sprintf("cluster %s: %s   %s   %d nodes   press q to leave", i.Cluster, strings.ToUpper(i.State), f.Time.Format(time.TimeOnly), i.Nodes),
		fmt.Sprintf("calls %s/s   evictions %s/s   copying %s/s   memory %s of %s   records with copies %s",
			count(int64(calls)), count(int64(evicted)), size(int64(copied)), size(i.Memory), size(i.Limit), count(i.Copies)),
		fmt.Sprintf("slots %s   without primary %d   short of backups %d   moving %d   forked %d",
			count(i.Slots-i.Unclaimed), i.NoPrimary, i.ShortBackups, i.Moving, i.Forked),
		"",
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row(w, "NODE", "ZONE", "STATE", "PRIMARIES", "BACKUPS", "FILLING", "RECORDS", "MEMORY", "CALLS/S", "FORWARDED/S", "HITS", "EVICTED/S", "COPYING", "RTT")
	for _, n := range f.Nodes {
		if n.Error != "" {
			row(w, n.Name, n.Zone, "no answer", "", "", "", "", "", "", "", "", "", "", "")
			continue
		}
		hits := ""
		if n.HitRate >= 0 {
			hits = fmt.Sprintf("%.1f%%", 100*n.HitRate)
		}
		row(w, n.Name, n.Zone, n.State, count(n.Primaries), count(n.Backups), count(n.Learners), count(n.Records), bar(n.Memory, n.Limit)+" "+size(n.Memory),
			count(int64(n.Calls)), count(int64(n.Forwarded)), hits, count(int64(n.Evicted)), size(int64(n.Copied))+"/s", fmt.Sprintf("%.1fms", n.RTT))
	}
	_ = w.Flush() // to memory
	out = append(out, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)
	for _, r := range i.Reasons {
		out = append(out, "! "+r)
	}
	return out
}

// bar draws a part of a whole.
func bar(part, whole int64) string {
	full := 0
	if whole > 0 {
		full = int(min(max(part, 0), whole) * memoryBar / whole)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", memoryBar-full)
}
