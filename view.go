package slotmesh

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slotmesh/slotmesh/shard"
)

// view is what the page shows, and what its address gives as JSON. Rates are
// per second, durations in microseconds.
type view struct {
	Time    time.Time `json:"time"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Version string    `json:"version"`
	// State is "ok", "degraded" (slots move or are short of backups) or
	// "failing" (slots that nobody serves).
	State   string     `json:"state"`
	Health  viewHealth `json:"health"`
	Nodes   []viewNode `json:"nodes"`
	Slots   viewSlots  `json:"slots"`
	Moves   viewMoves  `json:"moves"`
	Rates   viewRates  `json:"rates"`
	Near    viewNear   `json:"near"`
	Calls   []viewCall `json:"calls"`
	Hot     viewHot    `json:"hot"`
	Slow    []viewSlow `json:"slow"`
	Events  []viewNote `json:"events"`
	Records int        `json:"records"`
}

type viewHealth struct {
	NoPrimary    int      `json:"noPrimary"`
	ShortBackups int      `json:"shortBackups"`
	Moving       int      `json:"moving"`
	Forked       int      `json:"forked"`
	Unclaimed    int      `json:"unclaimed"`
	Reasons      []string `json:"reasons"`
}

// viewNode is a member; what it tells of itself is there if Reported.
type viewNode struct {
	Name        string   `json:"name"`
	ID          string   `json:"id"`
	Addr        string   `json:"addr"`
	Zone        string   `json:"zone,omitempty"`
	Weight      int      `json:"weight"`
	State       string   `json:"state"`
	Self        bool     `json:"self,omitempty"`
	Visitor     bool     `json:"visitor,omitempty"`
	Primaries   int      `json:"primaries"`
	Backups     int      `json:"backups"`
	RoundTrip   float64  `json:"roundTrip,omitempty"`
	P99         float64  `json:"p99,omitempty"` // of calls made here to it
	Reported    bool     `json:"reported"`
	Calls       float64  `json:"calls"`    // answered there
	HitRatio    *float64 `json:"hitRatio"` // null: nothing was read
	Memory      int64    `json:"memory"`
	MemoryLimit int64    `json:"memoryLimit"`
	Records     int      `json:"records"`
	OnItsWay    int      `json:"onItsWay"` // slots it copies, hands over or is about to
	Copied      float64  `json:"copied"`   // bytes
}

// viewSlots lists slots as in "0-5,7", by node. Version changes when they do.
type viewSlots struct {
	Version   uint64            `json:"version"`
	Unchanged bool              `json:"unchanged,omitempty"` // and left out
	Primary   map[string]string `json:"primary,omitempty"`
	Backup    map[string]string `json:"backup,omitempty"`
	NoPrimary string            `json:"noPrimary"`
	Short     string            `json:"shortBackups"`
	Moving    string            `json:"moving"`
}

// viewMoves is how far the cluster is on its way to where slots should be.
type viewMoves struct {
	Left     int       `json:"left"`
	Of       int       `json:"of"` // most that were left since it was last at rest
	Since    time.Time `json:"since,omitzero"`
	Seconds  float64   `json:"seconds,omitempty"` // that are left, at the pace so far
	Copied   float64   `json:"copied"`            // bytes, by all nodes that report
	Progress float64   `json:"progress"`          // in [0, 1]
}

type viewRates struct {
	Local     float64  `json:"local"`
	Remote    float64  `json:"remote"`
	Served    float64  `json:"served"`
	Unserved  float64  `json:"unanswered"`
	HitRatio  *float64 `json:"hitRatio"` // null: nothing was read
	Evictions float64  `json:"evictions"`
	Expiries  float64  `json:"expiries"`
	Lag       float64  `json:"replicationLag"`
}

// viewNear is this node's near cache, and what it granted to those of others.
// Without WithNearCache all but the grants is 0. Counts are since it was opened.
type viewNear struct {
	Hits        uint64  `json:"hits"`
	HitRate     float64 `json:"hitRate"` // hits per second
	Entries     int     `json:"entries"`
	Bytes       int64   `json:"bytes"`
	Rejected    uint64  `json:"rejected"`
	Evicted     uint64  `json:"evicted"`
	Grants      int     `json:"grants"`      // keys served here that others may answer reads of
	Revocations uint64  `json:"revocations"` // of those
	RevokeRate  float64 `json:"revokeRate"`  // revocations per second
}

type viewCall struct {
	Op     string  `json:"op"`
	Source string  `json:"source"`
	Count  uint64  `json:"count"`
	Failed uint64  `json:"failed"`
	Rate   float64 `json:"rate"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
}

type viewHot struct {
	Slots []viewHotSlot `json:"slots"`
	Keys  []viewHotKey  `json:"keys"`
}

type viewHotSlot struct {
	Slot uint16  `json:"slot"`
	Rate float64 `json:"rate"`
}

type viewHotKey struct {
	Key  string  `json:"key"`
	Slot uint16  `json:"slot"`
	Rate float64 `json:"rate"`
}

type viewSlow struct {
	Time     time.Time `json:"time"`
	Op       string    `json:"op"`
	Slot     uint16    `json:"slot"`
	Source   string    `json:"source"`
	Peer     string    `json:"peer,omitempty"`
	Took     float64   `json:"took"`
	Attempts int       `json:"attempts"`
	Err      string    `json:"err,omitempty"`
}

type viewNote struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Name  string    `json:"name"`
	Attrs string    `json:"attrs,omitempty"`
}

const (
	observeEvery = 500 * time.Millisecond // a view is kept for so long
	reportEvery  = 2 * time.Second
	maxReporters = 64 // nodes that are asked for a report
	reportersAt  = 8  // so many at a time
)

// observer makes views, and keeps the last one for those who ask together.
type observer struct {
	c *Cache

	mu      sync.Mutex // guards below; held while a view is made
	last    view
	stats   sample            // of this node
	reports map[string]sample // of others by ID
	asked   time.Time
	left    viewMoves
}

// sample is what a node counted, and its rates since the sample before.
type sample struct {
	at            time.Time
	s             Stats
	calls, copied float64
	hits          *float64
}

func newObserver(c *Cache) *observer { return &observer{c: c, reports: map[string]sample{}} }

// view returns the present view. Where the slots are still those of version
// seen they are left out.
func (o *observer) view(ctx context.Context, seen uint64) view {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.last.Time) > observeEvery {
		o.observe(ctx)
	}
	v := o.last
	if v.Slots.Version == seen {
		v.Slots = viewSlots{Version: seen, Unchanged: true}
	}
	return v
}

func (o *observer) observe(ctx context.Context) {
	now, cluster := time.Now(), o.c.Cluster()
	before := o.stats
	o.stats = before.next(now, o.c.Stats())
	h, s := cluster.Health(), &o.stats.s
	members := cluster.Nodes()
	o.ask(ctx, now, members)
	v := view{
		Time: now, Cluster: o.c.name, Node: cluster.Self().Name, Version: buildVersion(), State: "ok", Records: s.Records,
		Health: viewHealth{h.NoPrimary, h.ShortBackups, h.Moving, h.Forked, h.Unclaimed, append([]string{}, h.Reasons...)},
		Slots:  o.slots(), Calls: callRates(before, o.stats), Slow: []viewSlow{}, Events: []viewNote{},
		Hot: viewHot{[]viewHotSlot{}, []viewHotKey{}},
	}
	switch {
	case h.NoPrimary+h.Unclaimed > 0 || o.c.live() != nil:
		v.State = "failing"
	case h.ShortBackups+h.Moving+h.Forked > 0 || h.State != "ok":
		v.State = "degraded"
	}
	v.Nodes = o.nodes(members, s)
	v.Rates, v.Near = rates(before, o.stats), near(before, o.stats)
	o.left = o.left.next(now, h.Moving)
	for _, n := range v.Nodes {
		o.left.Copied += n.Copied
	}
	v.Moves = o.left
	for _, hot := range s.HotSlots {
		v.Hot.Slots = append(v.Hot.Slots, viewHotSlot(hot))
	}
	for _, hot := range s.HotKeys {
		if !utf8.ValidString(hot.Key) {
			hot.Key = escape(hot.Key)
		}
		v.Hot.Keys = append(v.Hot.Keys, viewHotKey(hot))
	}
	for _, call := range slices.Backward(o.c.SlowCalls()) {
		v.Slow = append(v.Slow, viewSlow{call.Time, call.Op, call.Slot, call.Source, call.Peer, micros(call.Took), call.Attempts, call.Err})
	}
	for _, e := range slices.Backward(o.c.Events()) {
		v.Events = append(v.Events, viewNote{e.Time, e.Level.String(), e.Name, e.Attrs})
	}
	o.last = v
}

// escape writes bytes that are no text.
func escape(s string) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 4*len(s))
	for _, c := range []byte(s) {
		if c >= ' ' && c < 0x7f && c != '\\' {
			b = append(b, c)
		} else {
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// next returns the sample after m.
func (m sample) next(at time.Time, s Stats) sample {
	n := sample{at: at, s: s}
	if seconds := at.Sub(m.at).Seconds(); !m.at.IsZero() && seconds > 0 {
		n.calls = float64(s.Local+s.Served-m.s.Local-m.s.Served) / seconds
		n.copied = float64(s.BytesCopied-m.s.BytesCopied) / seconds
	}
	n.hits = ratio(s.Hits-m.s.Hits, s.Misses-m.s.Misses)
	return n
}

func ratio(hits, misses uint64) *float64 {
	if hits+misses == 0 {
		return nil
	}
	r := float64(hits) / float64(hits+misses)
	return &r
}

func rates(a, b sample) viewRates {
	seconds := b.at.Sub(a.at).Seconds()
	if a.at.IsZero() || seconds <= 0 {
		return viewRates{HitRatio: b.hits, Lag: micros(b.s.ReplicationLag)}
	}
	per := func(was, is uint64) float64 { return float64(is-was) / seconds }
	none := func(s Stats) (sum uint64) {
		for _, c := range s.Calls {
			if c.Source == "none" {
				sum += c.Count
			}
		}
		return sum
	}
	return viewRates{
		Local: per(a.s.Local, b.s.Local), Remote: per(a.s.Forwarded, b.s.Forwarded), Served: per(a.s.Served, b.s.Served),
		Unserved: per(none(a.s), none(b.s)), HitRatio: b.hits,
		Evictions: per(a.s.Evictions, b.s.Evictions), Expiries: per(a.s.Expiries, b.s.Expiries), Lag: micros(b.s.ReplicationLag),
	}
}

func near(a, b sample) viewNear {
	s := &b.s
	v := viewNear{
		Hits: s.NearHits, Entries: s.NearEntries, Bytes: s.NearBytes, Rejected: s.NearRejected, Evicted: s.NearEvicted,
		Grants: s.NearGrants, Revocations: s.Revocations,
	}
	if seconds := b.at.Sub(a.at).Seconds(); !a.at.IsZero() && seconds > 0 {
		v.HitRate = float64(s.NearHits-a.s.NearHits) / seconds
		v.RevokeRate = float64(s.Revocations-a.s.Revocations) / seconds
	}
	return v
}

func callRates(a, b sample) []viewCall {
	type key struct{ op, source string }
	was := map[key]uint64{}
	for _, c := range a.s.Calls {
		was[key{c.Op, c.Source}] = c.Count
	}
	calls := []viewCall{}
	for _, c := range b.s.Calls {
		v := viewCall{
			Op: c.Op, Source: c.Source, Count: c.Count, Failed: c.Failed,
			P50: micros(c.Latency.Quantile(0.5)), P99: micros(c.Latency.Quantile(0.99)),
		}
		if seconds := b.at.Sub(a.at).Seconds(); !a.at.IsZero() && seconds > 0 {
			v.Rate = float64(c.Count-was[key{c.Op, c.Source}]) / seconds
		}
		calls = append(calls, v)
	}
	slices.SortStableFunc(calls, func(a, b viewCall) int { return cmp.Compare(b.Count, a.Count) })
	return calls
}

// next returns how far it is when so many slots are left.
func (m viewMoves) next(now time.Time, left int) viewMoves {
	m.Copied = 0
	if m.Left = left; left == 0 {
		return viewMoves{Progress: 1}
	}
	if m.Since.IsZero() {
		m.Since = now
	}
	m.Of = max(m.Of, left)
	m.Progress = 1 - float64(left)/float64(m.Of)
	m.Seconds = 0
	if done := m.Of - left; done > 0 {
		m.Seconds = now.Sub(m.Since).Seconds() / float64(done) * float64(left)
	}
	return m
}

// ask gets the reports of other nodes, where the last ones are old.
func (o *observer) ask(ctx context.Context, now time.Time, members []Node) {
	if now.Sub(o.asked) < reportEvery {
		return
	}
	o.asked = now
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // others see this view too
	defer cancel()
	var (
		mu    sync.Mutex // guards fresh
		fresh = map[string]sample{}
		wg    sync.WaitGroup
		turns = make(chan struct{}, reportersAt)
	)
	for i, m := range members {
		if m.Self || m.Visitor || m.State == "suspect" || i >= maxReporters {
			continue
		}
		turns <- struct{}{}
		wg.Go(func() { // ends within the second
			defer func() { <-turns }()
			if r, err := o.c.Cluster().Report(ctx, m.Name); err == nil && r.Node.ID == m.ID {
				mu.Lock()
				fresh[m.ID] = o.reports[m.ID].next(r.Clock, r.Stats)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	o.reports = fresh
}

func (o *observer) nodes(members []Node, s *Stats) []viewNode {
	peers := map[string]PeerStats{}
	for _, p := range s.Peers {
		peers[p.ID] = p
	}
	primaries, backups := map[string]int{}, map[string]int{}
	for claim := range o.c.n.Table().All() {
		primaries[hex.EncodeToString(claim.Primary[:])]++
		for _, id := range claim.Backups {
			backups[hex.EncodeToString(id[:])]++
		}
	}
	nodes := []viewNode{}
	for _, m := range members {
		n := viewNode{
			Name: m.Name, ID: m.ID, Addr: m.Addr, Zone: m.Zone, Weight: m.Weight, State: m.State, Self: m.Self, Visitor: m.Visitor,
			Primaries: primaries[m.ID], Backups: backups[m.ID],
			RoundTrip: micros(peers[m.ID].RoundTrip), P99: micros(peers[m.ID].Latency.Quantile(0.99)),
		}
		r, ok := o.reports[m.ID]
		if m.Self {
			r, ok = o.stats, true
		}
		if n.Reported = ok; ok {
			n.Calls, n.HitRatio, n.Copied = r.calls, r.hits, r.copied
			n.Memory, n.MemoryLimit, n.Records = r.s.MemoryBytes, r.s.MemoryLimit, r.s.Records
			n.OnItsWay = r.s.Copying + r.s.HandingOver + r.s.Waiting
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// slots lists the slots; their version goes on where they have changed.
func (o *observer) slots() viewSlots {
	primary, backup := map[string][]uint16{}, map[string][]uint16{}
	names := map[shard.NodeID]string{} // also of those that are no members any more
	name := func(id shard.NodeID) string {
		if _, ok := names[id]; !ok {
			names[id] = o.c.n.Who(id)
		}
		return names[id]
	}
	for claim := range o.c.n.Table().All() {
		primary[name(claim.Primary)] = append(primary[name(claim.Primary)], claim.Slot)
		for _, id := range claim.Backups {
			backup[name(id)] = append(backup[name(id)], claim.Slot)
		}
	}
	noPrimary, short, moving := o.c.n.Places()
	v := viewSlots{
		Primary: map[string]string{}, Backup: map[string]string{},
		NoPrimary: ranges(noPrimary), Short: ranges(short), Moving: ranges(moving),
	}
	for name, slots := range primary {
		v.Primary[name] = ranges(slots)
	}
	for name, slots := range backup {
		v.Backup[name] = ranges(slots)
	}
	was := &o.last.Slots
	v.Version = was.Version
	if v.Version == 0 || v.NoPrimary != was.NoPrimary || v.Short != was.Short || v.Moving != was.Moving ||
		!maps.Equal(v.Primary, was.Primary) || !maps.Equal(v.Backup, was.Backup) {
		v.Version++
	}
	return v
}
