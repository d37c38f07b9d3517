// Package metrics lists what a node measures, for adapters to systems that
// collect it: metrics/prometheus and metrics/otel are modules of their own. It
// imports nothing but slotmesh.
package metrics

import (
	"time"

	"github.com/slotmesh/slotmesh"
)

// Kind says how a metric behaves.
type Kind uint8

const (
	Counter   Kind = iota // only grows while the node lives
	Gauge                 // goes up and down
	Histogram             // of durations
)

// Metric describes a metric. Labels are the names of what its samples are told
// apart by.
type Metric struct {
	Name   string // as in "calls"; adapters add prefix and unit
	Unit   string // "", "seconds" or "bytes"
	Help   string
	Kind   Kind
	Labels []string
}

// Sample is a value of a metric. Of a histogram Histogram is set instead.
type Sample struct {
	Metric    *Metric
	Labels    []string // values of Metric.Labels
	Value     float64
	Histogram slotmesh.Histogram
}

// PrometheusName is the metric's name as Prometheus knows it, such as
// slotmesh_calls_total.
func (m *Metric) PrometheusName() string {
	name := "slotmesh_" + m.Name
	if m.Unit != "" {
		name += "_" + m.Unit
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

// All lists every metric.
func All() []*Metric {
	all := []*Metric{
		info, calls, failures, durations, gossipPackets, gossipBytes, gossipEvents, members, slots, clusterSlots,
		peerUp, peerRoundTrip, peerQueued, peerDurations,
	}
	for i := range plain {
		all = append(all, &plain[i].Metric)
	}
	return all
}

var (
	info          = &Metric{Name: "info", Help: "Is 1, and tells the node's name and zone.", Kind: Gauge, Labels: []string{"node", "zone"}}
	calls         = &Metric{Name: "calls", Help: "Calls by operation and source: local (made and answered here), remote (made here, answered elsewhere), served (answered here for other nodes), none (made here, answered by nobody in time).", Kind: Counter, Labels: []string{"op", "source"}}
	failures      = &Metric{Name: "call_failures", Help: "Calls that gave an error other than that a key is missing or a condition does not hold.", Kind: Counter, Labels: []string{"op", "source"}}
	durations     = &Metric{Name: "call_duration", Unit: "seconds", Help: "Durations of calls. Those answered here at once are estimated from a sample.", Kind: Histogram, Labels: []string{"op", "source"}}
	gossipPackets = &Metric{Name: "gossip_packets", Help: "Datagrams of gossip.", Kind: Counter, Labels: []string{"direction"}}
	gossipBytes   = &Metric{Name: "gossip", Unit: "bytes", Help: "Bytes of datagrams of gossip.", Kind: Counter, Labels: []string{"direction"}}
	gossipEvents  = &Metric{Name: "member_changes", Help: "Other members that joined, left, failed or returned.", Kind: Counter, Labels: []string{"change"}}
	members       = &Metric{Name: "members", Help: "Members by state, this node included.", Kind: Gauge, Labels: []string{"state"}}
	slots         = &Metric{Name: "slots", Help: "Slots of this node by state: primary, backup, learner; of the primaries copying, handing_over, waiting (for their turn), pending (with writes not on all copies); owed (to the winner of a fork).", Kind: Gauge, Labels: []string{"state"}}
	clusterSlots  = &Metric{Name: "cluster_slots", Help: "Slots of the cluster that are not at rest, as this node sees them: no_primary, short_backups, moving, forked, unclaimed.", Kind: Gauge, Labels: []string{"state"}}
	peerUp        = &Metric{Name: "peer_up", Help: "Is 1 where calls can be sent to the peer.", Kind: Gauge, Labels: []string{"peer"}}
	peerRoundTrip = &Metric{Name: "peer_round_trip", Unit: "seconds", Help: "Round trip of the last heartbeat to the peer.", Kind: Gauge, Labels: []string{"peer"}}
	peerQueued    = &Metric{Name: "peer_queued", Unit: "bytes", Help: "Bytes that wait to be sent to the peer.", Kind: Gauge, Labels: []string{"peer"}}
	peerDurations = &Metric{Name: "peer_call_duration", Unit: "seconds", Help: "Durations of calls that the peer answered at the first attempt.", Kind: Histogram, Labels: []string{"peer"}}
)

// plain are the metrics with one value.
var plain = []plainMetric{
	counter("detours", "Attempts of calls that went by way of a third node, since the link to the slot's primary is down.", func(s *slotmesh.Stats) uint64 { return s.Detours }),
	counter("redirects", "Calls that needed a second hop, since the slot had moved.", func(s *slotmesh.Stats) uint64 { return s.Redirected }),
	counter("slow_calls", "Calls made here that took longer than WithSlowCalls says.", func(s *slotmesh.Stats) uint64 { return s.SlowCalls }),
	counter("hits", "Reads answered here that found something.", func(s *slotmesh.Stats) uint64 { return s.Hits }),
	counter("misses", "Reads answered here that found nothing.", func(s *slotmesh.Stats) uint64 { return s.Misses }),
	counter("stale_reads", "Reads answered from a backup's copy.", func(s *slotmesh.Stats) uint64 { return s.StaleReads }),
	counter("near_hits", "Reads answered from the near cache.", func(s *slotmesh.Stats) uint64 { return s.NearHits }),
	counter("near_rejected", "Values that the near cache did not keep, for others that are read more.", func(s *slotmesh.Stats) uint64 { return s.NearRejected }),
	counter("near_evicted", "Values that the near cache let go of.", func(s *slotmesh.Stats) uint64 { return s.NearEvicted }),
	counter("revocations", "Rights to answer reads that were taken back here, for writes and moves.", func(s *slotmesh.Stats) uint64 { return s.Revocations }),
	counter("evictions", "Records deleted for want of memory.", func(s *slotmesh.Stats) uint64 { return s.Evictions }),
	counter("expiries", "Records deleted for their age.", func(s *slotmesh.Stats) uint64 { return s.Expiries }),
	counter("promotions", "Slots that this node became the primary of.", func(s *slotmesh.Stats) uint64 { return s.Promotions }),
	counter("forks", "Slots that went on here without a majority.", func(s *slotmesh.Stats) uint64 { return s.Forks }),
	counter("heals", "Forks merged again.", func(s *slotmesh.Stats) uint64 { return s.Heals }),
	counter("orphans", "Slots started anew after all their holders were lost.", func(s *slotmesh.Stats) uint64 { return s.Orphans }),
	counter("backups_dropped", "Backups left out because they did not answer.", func(s *slotmesh.Stats) uint64 { return s.BackupsDropped }),
	counter("lease_refusals", "Calls that this primary did not answer before it had its leases again.", func(s *slotmesh.Stats) uint64 { return s.LeaseRefusals }),
	counter("fence_refusals", "Claims of other nodes refused for a promise given to a third.", func(s *slotmesh.Stats) uint64 { return s.FenceRefusals }),
	counter("copies", "Copies of slots begun for other nodes.", func(s *slotmesh.Stats) uint64 { return s.Copies }),
	counter("copies_done", "Copies of slots that became backups.", func(s *slotmesh.Stats) uint64 { return s.CopiesDone }),
	counter("copies_stopped", "Copies of slots that were given up.", func(s *slotmesh.Stats) uint64 { return s.CopiesStopped }),
	unit("bytes", counter("copied", "Bytes sent to fill copies.", func(s *slotmesh.Stats) uint64 { return s.BytesCopied })),
	counter("handovers", "Hand-overs of slots to other nodes begun.", func(s *slotmesh.Stats) uint64 { return s.Handovers }),
	counter("handovers_done", "Hand-overs of slots to other nodes done.", func(s *slotmesh.Stats) uint64 { return s.HandoversDone }),
	counter("loads_granted", "Leases to load a key given out.", func(s *slotmesh.Stats) uint64 { return s.LoadsGranted }),
	counter("loads_waited", "Calls that waited for somebody else's load.", func(s *slotmesh.Stats) uint64 { return s.LoadsWaited }),
	counter("loads_failed", "Loads whose loader gave an error, or took too long.", func(s *slotmesh.Stats) uint64 { return s.LoadsFailed }),
	gauge("load_leases", "", "Leases to load that are held.", func(s *slotmesh.Stats) float64 { return float64(s.LoadLeases) }),
	gauge("near_entries", "", "Values in the near cache.", func(s *slotmesh.Stats) float64 { return float64(s.NearEntries) }),
	gauge("near", "bytes", "Bytes of values in the near cache.", func(s *slotmesh.Stats) float64 { return float64(s.NearBytes) }),
	gauge("near_grants", "", "Keys served here that others may answer reads of.", func(s *slotmesh.Stats) float64 { return float64(s.NearGrants) }),
	gauge("guests", "", "Calls that wait here for a load, a lock or news.", func(s *slotmesh.Stats) float64 { return float64(s.Guests) }),
	gauge("replication_lag", "seconds", "How long the oldest write has waited for its copies.", func(s *slotmesh.Stats) float64 { return s.ReplicationLag.Seconds() }),
	gauge("records", "", "Records held, all copies.", func(s *slotmesh.Stats) float64 { return float64(s.Records) }),
	gauge("tombstones", "", "Marks of deleted keys held.", func(s *slotmesh.Stats) float64 { return float64(s.Tombstones) }),
	gauge("memory", "bytes", "Memory that records take, with index and overhead.", func(s *slotmesh.Stats) float64 { return float64(s.MemoryBytes) }),
	gauge("memory_limit", "bytes", "The limit of that memory.", func(s *slotmesh.Stats) float64 { return float64(s.MemoryLimit) }),
	gauge("ring", "bytes", "Recent writes kept for copies that fall behind.", func(s *slotmesh.Stats) float64 { return float64(s.RingBytes) }),
	gauge("disk", "bytes", "Bytes on disk.", func(s *slotmesh.Stats) float64 { return float64(s.DiskBytes) }),
	gauge("dirty", "bytes", "Bytes not written to disk yet.", func(s *slotmesh.Stats) float64 { return float64(s.DirtyBytes) }),
}

type plainMetric struct {
	Metric
	value func(*slotmesh.Stats) float64
}

func counter(name, help string, value func(*slotmesh.Stats) uint64) plainMetric {
	return plainMetric{Metric{Name: name, Help: help, Kind: Counter}, func(s *slotmesh.Stats) float64 { return float64(value(s)) }}
}

func gauge(name, unit, help string, value func(*slotmesh.Stats) float64) plainMetric {
	return plainMetric{Metric{Name: name, Unit: unit, Help: help, Kind: Gauge}, value}
}

func unit(name string, m plainMetric) plainMetric {
	m.Unit = name
	return m
}

// Read samples every metric of a node. It costs about a millisecond.
func Read(c *slotmesh.Cache) []Sample {
	s, self, h := c.Stats(), c.Cluster().Self(), c.Cluster().Health()
	list := make([]Sample, 0, len(plain)+3*len(s.Calls)+4*len(s.Peers)+24)
	add := func(m *Metric, value float64, labels ...string) {
		list = append(list, Sample{Metric: m, Labels: labels, Value: value})
	}
	add(info, 1, self.Name, self.Zone)
	for i := range plain {
		add(&plain[i].Metric, plain[i].value(&s))
	}
	for _, k := range s.Calls {
		add(calls, float64(k.Count), k.Op, k.Source)
		add(failures, float64(k.Failed), k.Op, k.Source)
		list = append(list, Sample{Metric: durations, Labels: []string{k.Op, k.Source}, Histogram: k.Latency})
	}
	for _, v := range []struct {
		m     *Metric
		label string
		value float64
	}{
		{slots, "primary", float64(s.Primaries)}, {slots, "backup", float64(s.Backups)}, {slots, "learner", float64(s.Learners)},
		{slots, "copying", float64(s.Copying)}, {slots, "handing_over", float64(s.HandingOver)}, {slots, "waiting", float64(s.Waiting)},
		{slots, "pending", float64(s.PendingSlots)}, {slots, "owed", float64(s.Owed)},
		{clusterSlots, "no_primary", float64(h.NoPrimary)}, {clusterSlots, "short_backups", float64(h.ShortBackups)},
		{clusterSlots, "moving", float64(h.Moving)}, {clusterSlots, "forked", float64(h.Forked)}, {clusterSlots, "unclaimed", float64(h.Unclaimed)},
		{gossipPackets, "in", float64(s.Gossip.PacketsIn)}, {gossipPackets, "out", float64(s.Gossip.PacketsOut)},
		{gossipBytes, "in", float64(s.Gossip.BytesIn)}, {gossipBytes, "out", float64(s.Gossip.BytesOut)},
		{gossipEvents, "joined", float64(s.Gossip.Joined)}, {gossipEvents, "left", float64(s.Gossip.Left)},
		{gossipEvents, "failed", float64(s.Gossip.Failed)}, {gossipEvents, "returned", float64(s.Gossip.Returned)},
		{members, "alive", float64(s.Gossip.Alive)}, {members, "suspect", float64(s.Gossip.Suspect)}, {members, "leaving", float64(s.Gossip.Leaving)},
	} {
		add(v.m, v.value, v.label)
	}
	named := map[string]bool{} // a name that lives twice for a moment is told once
	for _, p := range s.Peers {
		if named[p.Name] {
			continue
		}
		named[p.Name] = true
		up := 0.0
		if p.Connected {
			up = 1
		}
		add(peerUp, up, p.Name)
		add(peerRoundTrip, p.RoundTrip.Seconds(), p.Name)
		add(peerQueued, float64(p.QueuedBytes), p.Name)
		list = append(list, Sample{Metric: peerDurations, Labels: []string{p.Name}, Histogram: p.Latency})
	}
	return list
}

// Bounds are the upper bounds of the buckets of every histogram, in seconds.
func Bounds() []float64 {
	bounds := make([]float64, 0, 32)
	for _, b := range slotmesh.LatencyBounds() {
		bounds = append(bounds, float64(b)/float64(time.Second))
	}
	return bounds
}
