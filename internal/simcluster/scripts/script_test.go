//go:build slow || (slotmesh_fewslots && !race)

package scripts_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// A script is the play of one cluster after another. Each line is a command, and
// each paragraph of them is followed by what they say. Nodes are n1, n2 and so on;
// no time goes by but in calls, in start and shutdown, and as these say:
//
//	cluster nodes=3 [seed=4] [backups=0] [policy=majority] [disks=synced] [orphans=1m] [idle]
//	    begins a new one, at rest; idle: nothing is started
//	key a [b ...] at=n1 [copy=n2]       names for keys of one slot that n1 serves
//	set a x from=n1 [ttl=10s]           also delete a, get a, incr a; from=(n1,n2) is one after another
//	    [within=1s]                     the caller's patience, else that of the nodes
//	    [later]                         it goes on beside what follows
//	await                               what those said
//	fill 100 from=(n1,n2) [as=x]        sets so many keys x0, x1 and so on from each
//	kill n1                             also restart n1, shutdown n1
//	power [n1]                          it fails there, or everywhere
//	start n1 n2 [every=4s]              wipe n1 is an empty disk
//	pause n1                            resume n1; suspend n1 and wake n1 for the whole machine
//	isolate n1                          also cut n1 n2, slow n1 n2 by=60ms, and both with oneway
//	split n1 n2 from=(n3,n4)
//	heal                                all that is cut; slow stays
//	clock n1 step=-1m
//	advance 5s
//	settle [within=1m]                  until slots are where the plan wants them
//	holders a                           who serves it and has its copies, as all running nodes see it
//	check                               in a cluster at rest: copies agree, no acknowledged write is lost
//
// Values are unique: check knows a write by its value.
//
// Nothing printed depends on the scheduler: outcomes, not times or versions.
type script struct {
	t      *testing.T
	sc     *Cluster
	ledger *Ledger
	keys   map[string]string
	filled int
	later  []pending
	out    strings.Builder
}

// pending is a call under way.
type pending struct {
	line string
	said chan string
}

// What concerns claims alone has its scripts in shard/testdata/succession.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &script{t: t}
			datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string {
				s.out.Reset()
				for line := range strings.Lines(d.FullCmd() + "\n" + d.Input) {
					name, args, err := datadriven.ParseLine(line)
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					s.do(command{t, &datadriven.TestData{Pos: d.Pos, Cmd: name, CmdArgs: args}})
				}
				return s.out.String()
			})
			if len(s.later) > 0 {
				t.Errorf("nobody awaits %s", s.later[0].line)
			}
		})
	})
}

// command is one line.
type command struct {
	t *testing.T
	*datadriven.TestData
}

// words are the arguments without a value.
func (c command) words() (words []string) {
	for _, arg := range c.CmdArgs {
		if arg.Vals == nil && arg.Key != "later" && arg.Key != "oneway" && arg.Key != "idle" {
			words = append(words, arg.Key)
		}
	}
	return words
}

// word is the nth of them.
func (c command) word(n int) string {
	if w := c.words(); n < len(w) {
		return w[n]
	}
	c.Fatalf(c.t, "%s needs another argument", c.FullCmd())
	return ""
}

func (c command) list(key string) []string {
	arg, _ := c.Arg(key)
	return arg.Vals
}

func (c command) text(key string) string {
	if v := c.list(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (c command) span(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		c.Fatalf(c.t, "%v", err)
	}
	return d
}

// choose returns the value that an argument names, or the first.
func choose[T any](c command, key string, names []string, values []T) T {
	s := c.text(key)
	if s == "" {
		return values[0]
	}
	i := slices.Index(names, s)
	if i < 0 {
		c.Fatalf(c.t, "%s=%s: want one of %v", key, s, names)
	}
	return values[i]
}

func (s *script) do(c command) {
	sc := s.sc
	switch c.Cmd {
	case "cluster":
		s.begin(c)
	case "key":
		s.name(c)
	case "set", "delete", "get", "incr":
		s.call(c)
	case "await":
		for _, p := range s.later {
			s.say(p.line, <-p.said)
		}
		s.later = nil
	case "fill":
		s.fill(c)
	case "start":
		sc.StartEvery(c.span(c.text("every")), c.words()...)
	case "power":
		if len(c.words()) == 0 {
			sc.PowerLoss()
		}
		s.each(c, sc.KillSilent)
	case "kill":
		s.each(c, sc.Kill)
	case "restart":
		s.each(c, sc.Restart)
	case "shutdown":
		s.each(c, func(name string) { s.say(c.FullCmd(), outcome(sc.Shutdown(name, time.Minute))) })
	case "wipe":
		s.each(c, sc.WipeDisk)
	case "pause":
		s.each(c, sc.Pause)
	case "resume":
		s.each(c, sc.Resume)
	case "suspend":
		s.each(c, sc.Suspend)
	case "wake":
		s.each(c, sc.Wake)
	case "isolate":
		s.each(c, sc.Isolate)
	case "cut":
		s.ways(c, sc.Net.CutOneWay)
	case "slow":
		by := c.span(c.text("by"))
		s.ways(c, func(from, to string) { sc.Net.SetOneWay(from, to, simnet.Link{Delay: by}) })
	case "split":
		sc.Net.Split(c.words(), c.list("from"))
	case "heal":
		sc.Heal()
	case "clock":
		sc.Host(c.word(0)).Clock.Step(c.span(c.text("step")))
	case "advance":
		sc.Advance(c.span(c.word(0)))
	case "settle":
		begun := time.Now()
		sc.AwaitStable(cmp.Or(c.span(c.text("within")), time.Minute))
		s.t.Logf("at rest after %v", time.Since(begun))
	case "holders":
		s.holders(c)
	case "check":
		sc.AwaitCopies()
		s.ledger.Check(sc)
		if !s.t.Failed() {
			s.say(c.FullCmd(), "ok")
		}
	default:
		c.Fatalf(s.t, "unknown command %s", c.Cmd)
	}
}

func (s *script) say(line, what string) { fmt.Fprintf(&s.out, "%s: %s\n", line, what) }

func (s *script) begin(c command) {
	if s.sc != nil {
		s.sc.Close()
	}
	cfg := Config{Idle: c.HasArg("idle")}
	cfg.Policy = choose(c, "policy", []string{"available", "majority"}, []node.PartitionPolicy{node.Available, node.Majority})
	cfg.Disks = choose(c, "disks", []string{"none", "lazy", "synced"}, []Disks{NoDisks, LazyDisks, SyncedDisks})
	c.ScanArgs(s.t, "nodes", &cfg.Nodes)
	c.MaybeScanArgs(s.t, "seed", &cfg.Seed)
	if c.MaybeScanArgs(s.t, "backups", &cfg.Backups) && cfg.Backups == 0 {
		cfg.Backups = -1
	}
	wait := c.span(c.text("orphans"))
	cfg.Adjust = func(_ string, c *node.Config) { c.OrphanWait = cmp.Or(wait, c.OrphanWait) }
	s.sc, s.ledger, s.keys = New(s.t, cfg), &Ledger{}, map[string]string{}
}

func (s *script) name(c command) {
	at, copied := c.text("at"), c.text("copy")
	tag := ""
	if copied != "" {
		tag = s.sc.KeyHeldBy(at, copied)
	} else {
		tag = s.sc.KeyServedBy(at)
	}
	for _, name := range c.words() {
		s.keys[name] = "{" + tag + "}" + name
	}
}

func (s *script) each(c command, f func(name string)) {
	for _, name := range c.words() {
		f(name)
	}
}

// ways calls f for the way from one node to another, and the way back.
func (s *script) ways(c command, f func(from, to string)) {
	a, b := c.word(0), c.word(1)
	f(a, b)
	if !c.HasArg("oneway") {
		f(b, a)
	}
}

func (s *script) call(c command) {
	callers := c.list("from")
	if len(callers) == 0 {
		c.Fatalf(s.t, "%s: from whom?", c.FullCmd())
	}
	run := func() string {
		var said []string
		for _, from := range callers {
			said = append(said, s.callFrom(c, from))
		}
		if len(slices.Compact(slices.Clone(said))) == 1 {
			return said[0]
		}
		return strings.Join(said, ", ")
	}
	if !c.HasArg("later") {
		s.say(c.FullCmd(), run())
		return
	}
	p := pending{c.FullCmd(), make(chan string, 1)}
	s.later = append(s.later, p)
	go func() { p.said <- run() }() // ends with the call
	synctest.Wait()
}

func (s *script) callFrom(c command, from string) string {
	ctx := context.Background()
	if d := c.span(c.text("within")); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	key := cmp.Or(s.keys[c.word(0)], c.word(0))
	switch c.Cmd {
	case "set":
		if ttl := c.span(c.text("ttl")); ttl > 0 {
			call := node.Call{Op: transport.OpSet, Key: key, Value: []byte(c.word(1))}
			call.Flags, call.Expiry = transport.FlagRelative, ttl.Milliseconds()
			_, err := s.sc.Do(ctx, from, call)
			return outcome(err)
		}
		return outcome(s.ledger.Do(ctx, s.sc, from, key, c.word(1)))
	case "delete":
		return outcome(s.ledger.Do(ctx, s.sc, from, key, ""))
	case "incr":
		r, err := s.sc.Do(ctx, from, node.Call{Op: transport.OpIncr, Key: key, Delta: 1})
		if err == nil {
			return fmt.Sprint(r.Int)
		}
		return outcome(err)
	}
	switch r, err := s.sc.Do(ctx, from, node.Call{Op: transport.OpGet, Key: key}); {
	case err != nil:
		return outcome(err)
	case !r.Found:
		return "none"
	default:
		return string(r.Value)
	}
}

// outcome names an error, the same one whatever it was wrapped in.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, known := range []struct {
		err  error
		name string
	}{
		{node.ErrUnknownOutcome, "unknown outcome"},
		{node.ErrNoPrimary, "no primary"},
		{node.ErrClosed, "closed"},
		{context.DeadlineExceeded, "time is up"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return err.Error()
}

func (s *script) fill(c command) {
	n, prefix := 0, cmp.Or(c.text("as"), "fill")
	if _, err := fmt.Sscan(c.word(0), &n); err != nil {
		c.Fatalf(s.t, "%v", err)
	}
	failed, first := 0, error(nil)
	for _, from := range c.list("from") {
		for i := range n {
			s.filled++
			key := fmt.Sprint(prefix, i)
			if err := s.ledger.Do(context.Background(), s.sc, from, key, fmt.Sprint(key, " by ", from, " ", s.filled)); err != nil {
				failed++
				first = cmp.Or(first, err)
			}
		}
	}
	if failed > 0 {
		s.t.Errorf("%s: %d calls failed: %v", c.FullCmd(), failed, first)
	}
	s.say(c.FullCmd(), outcome(first))
}

func (s *script) holders(c command) {
	key := cmp.Or(s.keys[c.word(0)], c.word(0))
	up := s.sc.Up()
	name := func(id shard.NodeID) string {
		for _, h := range up {
			if h.Node().Self().ID == id {
				return h.Name
			}
		}
		return "one that is gone"
	}
	var views []string // and who has them
	by := map[string][]string{}
	for _, h := range up {
		view := "nobody"
		if cl := h.Node().Table().Claim(hashtag.Slot(key)); cl != nil {
			view = name(cl.Primary)
			for _, id := range cl.Backups {
				view += ", copy " + name(id)
			}
		}
		if by[view] = append(by[view], h.Name); len(by[view]) == 1 {
			views = append(views, view)
		}
	}
	if len(views) == 1 {
		s.say(c.FullCmd(), views[0])
		return
	}
	for _, view := range views {
		s.say(c.FullCmd(), view+", says "+strings.Join(by[view], ","))
	}
}
