package node

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
)

// Event is a state change that was logged, or would have been if there were a
// logger.
type Event struct {
	Time  time.Time
	Level slog.Level
	Name  string // fixed: see docs/observability.md
	Attrs string // name=value, with blanks between
}

const (
	maxEventsKept = 256
	maxEventText  = 512 // bytes of an event's attributes that are kept
)

// Recorder is a slog.Handler that keeps what it is given at level info and
// above, and passes it on.
type Recorder struct {
	next   slog.Handler
	ring   *meter.Ring[Event]
	prefix string // attributes given before
	group  string
}

// NewRecorder returns a Recorder in front of next.
func NewRecorder(next slog.Handler) *Recorder {
	return &Recorder{next: next, ring: meter.NewRing[Event](maxEventsKept)}
}

// Events returns what was recorded last, oldest first.
func (r *Recorder) Events() []Event { return r.ring.All() }

// Events returns what happened on this node last, oldest first.
func (n *Node) Events() []Event {
	if n.cfg.Recorder == nil {
		return nil
	}
	return n.cfg.Recorder.Events()
}

// Enabled implements slog.Handler.
func (r *Recorder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || r.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (r *Recorder) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Level >= slog.LevelInfo && rec.Message != eventSlow { // slow calls have a ring of their own
		var b strings.Builder
		b.WriteString(r.prefix)
		rec.Attrs(func(a slog.Attr) bool {
			writeAttr(&b, r.group, a)
			return b.Len() < maxEventText
		})
		text := strings.TrimSpace(b.String())
		r.ring.Add(Event{rec.Time, rec.Level, rec.Message, strings.ToValidUTF8(text[:min(len(text), maxEventText)], "")})
	}
	if !r.next.Enabled(ctx, rec.Level) {
		return nil
	}
	return r.next.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (r *Recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(r.prefix)
	for _, a := range attrs {
		writeAttr(&b, r.group, a)
	}
	with := *r
	with.next, with.prefix = r.next.WithAttrs(attrs), b.String()
	return &with
}

// WithGroup implements slog.Handler.
func (r *Recorder) WithGroup(name string) slog.Handler {
	with := *r
	with.next, with.group = r.next.WithGroup(name), r.group+name+"."
	return &with
}

func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve().String()
	if a.Key == "" || v == "" {
		return
	}
	b.WriteString(group)
	b.WriteString(a.Key)
	b.WriteByte('=')
	b.WriteString(v[:min(len(v), maxEventText)])
	b.WriteByte(' ')
}

// Names of events of a node's own. They stay as they are: people search for
// them. Those of connections, gossip and disks are with their packages.
const (
	eventOpened     = "node opened"
	eventLeaves     = "node leaves"
	eventStepsDown  = "node steps down"
	eventClosed     = "node closed"
	eventLostDisk   = "this node's disk has failed"
	eventSuperseded = "a newer start of this node's name is alive"
	eventLaterID    = "peers know a later ID of this node's name"
	eventJoinFailed = "join failed, trying on"

	eventJoined   = "member joined"
	eventLeft     = "member left"
	eventChanged  = "member changed"
	eventDead     = "node counts as dead"
	eventReturned = "member is back"
	eventCutOff   = "link to a member is down"
	eventLinkBack = "link to a member is back"

	eventSlotsOpened  = "slots opened"
	eventPromoted     = "slots claimed"
	eventDropped      = "backups dropped"
	eventAdded        = "backups added"
	eventCopyStopped  = "copies given up"
	eventHandedOver   = "slots handed over"
	eventForked       = "slots went on without a majority"
	eventHealed       = "forks healed"
	eventOrphaned     = "slots without a holder started anew"
	eventAwaited      = "slots wait for the disks of others"
	eventUnheard      = "slots are served though not all disks were heard"
	eventUncovered    = "slots have no living primary"
	eventCovered      = "all slots have a primary"
	eventMoving       = "slots are on their way"
	eventAtRest       = "slots are where they should be"
	eventEvicting     = "memory is short: records are evicted"
	eventEvicted      = "memory suffices again"
	eventLeasesMissed = "calls waited for leases"
	eventSlow         = "slow call"
)

// tellEvery is how often at most changes of slots are logged: thousands of
// them come at a time.
const tellEvery = int64(250 * time.Millisecond)

// told is what the log knows.
type told struct {
	at        int64
	was       counts
	uncovered bool
	moving    bool
	evicting  int64 // when the last eviction was seen; 0: none lately
}

// counts are the counters whose changes are logged.
type counts struct {
	core                                                                     shard.CoreStats
	copiesDone, copiesStopped, handedOver, heals, evictions, lease, openings uint64
}

// tell logs what has changed since it was called last. Control loop only.
func (n *Node) tell(now int64) {
	t := &n.told
	if now-t.at < tellEvery {
		return
	}
	t.at = now
	c := &n.stats
	is := counts{
		copiesDone: c.copiesDone.Load(), copiesStopped: c.copiesStopped.Load(), handedOver: c.handoversDone.Load(),
		heals: c.heals.Load(), evictions: c.evictions.Load(), lease: c.leaseRefusals.Load(), openings: uint64(n.opened),
	}
	n.coreMu.Lock()
	is.core = n.core.Stats()
	n.coreMu.Unlock()
	was := t.was
	t.was = is
	say := func(level slog.Level, name string, count uint64) {
		if count > 0 {
			n.log.Log(n.ctx, level, name, "count", count)
		}
	}
	if opened := is.openings - was.openings; opened > 0 {
		n.log.Info(eventSlotsOpened, "count", opened, "settling", len(n.settling))
	}
	say(slog.LevelInfo, eventPromoted, is.core.Promotions-was.core.Promotions)
	say(slog.LevelWarn, eventDropped, is.core.Drops-was.core.Drops)
	say(slog.LevelWarn, eventForked, is.core.Forks-was.core.Forks)
	say(slog.LevelWarn, eventOrphaned, is.core.Orphans-was.core.Orphans)
	say(slog.LevelInfo, eventAdded, is.copiesDone-was.copiesDone)
	say(slog.LevelInfo, eventCopyStopped, is.copiesStopped-was.copiesStopped)
	say(slog.LevelInfo, eventHandedOver, is.handedOver-was.handedOver)
	say(slog.LevelInfo, eventHealed, is.heals-was.heals)
	say(slog.LevelWarn, eventLeasesMissed, is.lease-was.lease)

	if uncovered := n.uncovered.Load(); (uncovered > 0) != t.uncovered {
		if t.uncovered = uncovered > 0; t.uncovered {
			n.log.Warn(eventUncovered, "count", uncovered)
		} else {
			n.log.Info(eventCovered)
		}
	}
	moving := n.reconciling()
	if (moving || n.moved) && !t.moving {
		a := &n.agenda
		n.log.Info(eventMoving, "copying", a.counts[copying], "handing", a.counts[handing], "waiting", a.counts[toRepair]+a.counts[toMove])
	}
	if (t.moving || n.moved) && !moving {
		n.log.Info(eventAtRest)
	}
	t.moving, n.moved = moving, false
	switch evicted := is.evictions - was.evictions; {
	case evicted > 0:
		if t.evicting == 0 {
			n.log.Info(eventEvicting)
		}
		t.evicting = now
	case t.evicting > 0 && now-t.evicting > int64(10*time.Second):
		n.log.Info(eventEvicted)
		t.evicting = 0
	}
}

// Who is the name of a node, also of one that is no member any more; its ID
// where nobody remembers it.
func (n *Node) Who(id shard.NodeID) string { return n.who(id) }

func (n *Node) who(id shard.NodeID) string {
	if id == n.id {
		return n.cfg.Name
	}
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	if m, ok := n.members[id]; ok {
		return m.Name
	}
	if m, ok := n.vanished[id]; ok {
		return m.Name
	}
	if name := n.past.names[id]; name != "" {
		return name
	}
	return id.String()
}
