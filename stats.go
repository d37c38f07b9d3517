package slotmesh

import (
	"encoding/hex"
	"time"

	"github.com/slotmesh/slotmesh/internal/meter"
)

// Stats counts what this node has done since Open. All but the gauges only
// grow.
type Stats struct {
	Local      uint64 // calls made here and answered here
	Forwarded  uint64 // calls made here and answered by another node
	Redirected uint64 // those of them that needed a second hop, because the slot had moved
	Detours    uint64 // attempts that went by way of a third node, because no other way led to the slot's primary
	Served     uint64 // calls answered here for other nodes

	SlowCalls uint64 // calls made here that took longer than WithSlowCalls says

	// Calls are all of them by operation and source, those that occurred.
	Calls []CallStats

	Hits, Misses        uint64 // reads answered here
	StaleReads          uint64 // those of them answered by a backup, see AllowStale
	Evictions, Expiries uint64

	NearHits     uint64 // reads answered from the near cache, see WithNearCache
	NearRejected uint64 // values it did not keep, for others that are read more
	NearEvicted  uint64 // values it let go of
	Revocations  uint64 // rights to answer reads that were taken back here, for writes and moves

	Promotions     uint64 // slots that this node became the primary of: founded, handed to it or taken over
	Forks          uint64 // slots that went on here without a majority
	Heals          uint64 // forks merged again
	Orphans        uint64 // slots founded anew after all their holders were lost
	BackupsDropped uint64 // backups left out because they did not answer
	LeaseRefusals  uint64 // calls that this primary did not answer before it had its leases again
	FenceRefusals  uint64 // claims of other nodes refused for a promise given to a third

	Copies        uint64 // begun, to give other nodes a copy of a slot
	CopiesDone    uint64 // those of them that became backups
	CopiesStopped uint64 // those of them that were given up
	BytesCopied   uint64 // sent to fill new copies
	Handovers     uint64 // of slots served here to other nodes, begun
	HandoversDone uint64

	LoadsGranted uint64 // leases to load a key given out by this primary
	LoadsWaited  uint64 // calls that waited for somebody else's load
	LoadsFailed  uint64 // keys that loaders run here did not load: they gave an error other than ErrNotFound, panicked, or took too long

	// Gauges: slots held here as primary, as in-sync backup and as a copy that
	// is still being filled.
	Primaries, Backups, Learners int
	// Gauges: of the slots served here, those being copied, those being handed
	// over and those that wait for their turn to be moved or repaired.
	Copying, HandingOver, Waiting int
	// Gauge: slots held here whose records the winner of a fork still lacks.
	Owed int

	// Gauges: slots served here with writes that not all copies have
	// acknowledged, and how long the oldest of these writes has waited.
	PendingSlots   int
	ReplicationLag time.Duration

	// Gauges: leases to load that are held, and calls that wait at this primary
	// for a load, a lock or news.
	LoadLeases, Guests int

	// Gauges: values in the near cache and their bytes, and keys served here that
	// others may answer reads of.
	NearEntries int
	NearBytes   int64
	NearGrants  int

	// Gauges: records held here with all copies, and the memory they take with
	// index and overhead, and its limit.
	Records     int
	MemoryBytes int64
	MemoryLimit int64
	Eviction    Eviction // what happens there: WithEviction
	// Gauges: marks of deleted keys, not yet purged; bytes of recent writes kept
	// for copies that fall behind; bytes on disk, and those not written yet.
	Tombstones int
	RingBytes  int64
	DiskBytes  int64
	DirtyBytes int64

	Gossip GossipStats
	// Peers are the other members, by name.
	Peers []PeerStats

	// HotSlots and HotKeys are the twenty that were asked for most of this node
	// in the last ten seconds or so. They are estimated from
	// a sample of the calls.
	HotSlots []HotSlot
	HotKeys  []HotKey
}

// CallStats counts the calls of one operation from one source.
type CallStats struct {
	Op string // "get", "set", "txn" and so on
	// Source is "local" for calls made here and answered here, "remote" for
	// those made here and answered by another node, "served" for those answered
	// here for another node, and "none" for those made here that nobody
	// answered in time.
	Source string
	Count  uint64
	Failed uint64 // those that gave an error; that a key is missing or a condition does not hold is none
	// Latency is that of all calls that waited for another node. Of those
	// answered here at once it is a sample, in which each stands for many: one
	// look-up in 64 and one other call in 8.
	Latency Histogram
}

// PeerStats says how it goes with another node.
type PeerStats struct {
	Name, ID    string
	Connected   bool
	RoundTrip   time.Duration // of the last heartbeat
	QueuedBytes int           // that wait to be sent to it
	Latency     Histogram     // of calls it answered that were not redirected
}

// GossipStats counts what membership costs and what it found.
type GossipStats struct {
	Joined, Left, Failed, Returned uint64 // other members
	PacketsIn, PacketsOut          uint64
	BytesIn, BytesOut              uint64
	// Gauges: members, this node included.
	Alive, Suspect, Leaving int
}

// HotSlot is a slot that is asked for much.
type HotSlot struct {
	Slot uint16
	Rate float64 // calls a second
}

// HotKey is a key that is asked for much.
type HotKey struct {
	Key  string // at most the first 256 bytes
	Slot uint16
	Rate float64 // calls a second
}

// Histogram counts durations. Buckets[i] is the number of those above
// LatencyBounds()[i-1] and up to LatencyBounds()[i]; the last one that of those
// above all bounds. Where nothing was counted there are none.
type Histogram struct {
	Buckets []uint64
	Count   uint64
	Sum     time.Duration
}

// LatencyBounds returns the bounds of every Histogram: 1, 2.5 and 5 of each
// decade from 100ns to 10s.
func LatencyBounds() []time.Duration {
	bounds := meter.Bounds
	return bounds[:]
}

// Quantile returns a duration that about a share q of those counted, in [0, 1],
// do not exceed, linearly between bounds; 0 where nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(h.Count)
	below := 0.0
	var low time.Duration
	for i, count := range h.Buckets {
		if i == len(meter.Bounds) {
			break
		}
		if below += float64(count); count > 0 && below >= rank {
			share := 1 - (below-rank)/float64(count)
			return low + time.Duration(share*float64(meter.Bounds[i]-low))
		}
		low = meter.Bounds[i]
	}
	return low
}

// Stats returns this node's counters, after Close and Shutdown as they were then.
// It is cheap enough for once a second: it looks at every slot, without a lock, in
// less than a millisecond.
func (c *Cache) Stats() Stats {
	s := c.n.Stats()
	st := Stats{
		Local:          s.Local,
		Forwarded:      s.Forwarded,
		Redirected:     s.Redirected,
		Detours:        s.Detours,
		Served:         s.Served,
		SlowCalls:      s.Slow,
		Hits:           s.Hits,
		Misses:         s.Misses,
		StaleReads:     s.StaleReads,
		NearHits:       s.NearHits,
		NearRejected:   s.NearRejected,
		NearEvicted:    s.NearEvicted,
		Revocations:    s.Revocations,
		NearEntries:    s.NearEntries,
		NearBytes:      s.NearBytes,
		NearGrants:     s.NearGrants,
		Evictions:      s.Evictions,
		Expiries:       s.Expiries,
		Promotions:     s.Promotions,
		Forks:          s.Forks,
		Heals:          s.Heals,
		Orphans:        s.Orphans,
		BackupsDropped: s.BackupsDropped,
		LeaseRefusals:  s.LeaseRefusals,
		FenceRefusals:  s.FenceRefusals,
		Copies:         s.Copies,
		CopiesDone:     s.CopiesDone,
		CopiesStopped:  s.CopiesStopped,
		BytesCopied:    s.BytesCopied,
		Handovers:      s.Handovers,
		HandoversDone:  s.HandoversDone,
		LoadsGranted:   s.LoadsGranted,
		LoadsWaited:    s.LoadsWaited,
		LoadsFailed:    s.LoadsFailed,
		Primaries:      s.Primaries,
		Backups:        s.Backups,
		Learners:       s.Learners,
		Copying:        s.Copying,
		HandingOver:    s.HandingOver,
		Waiting:        s.Waiting,
		Owed:           s.Owed,
		PendingSlots:   s.Pending,
		ReplicationLag: s.Lag,
		LoadLeases:     s.Leases,
		Guests:         s.Guests,
		Records:        s.Store.Records,
		MemoryBytes:    s.Store.Bytes,
		MemoryLimit:    s.Store.Limit,
		Tombstones:     s.Store.Tombstones,
		RingBytes:      s.RingBytes,
		DiskBytes:      s.Store.DiskBytes,
		DirtyBytes:     s.Store.DirtyBytes,
		Gossip: GossipStats{
			Joined: s.Joins, Left: s.Departures, Failed: s.Failures, Returned: s.Returns,
			PacketsIn: s.GossipIn, PacketsOut: s.GossipOut, BytesIn: s.GossipInBytes, BytesOut: s.GossipOutBytes,
			Alive: s.Alive, Suspect: s.Suspect, Leaving: s.Leaving,
		},
	}
	if s.EvictNone {
		st.Eviction = EvictNone
	}
	for _, call := range s.Calls {
		st.Calls = append(st.Calls, CallStats{
			Op: call.Op, Source: call.Source.String(), Count: call.Count, Failed: call.Failed, Latency: newHistogram(call.Took),
		})
	}
	for _, p := range s.Peers {
		st.Peers = append(st.Peers, PeerStats{
			Name: p.Name, ID: hex.EncodeToString(p.ID[:]), Connected: p.Up,
			RoundTrip: p.RoundTrip, QueuedBytes: p.Queued, Latency: newHistogram(p.Took),
		})
	}
	for _, h := range s.HotSlots {
		st.HotSlots = append(st.HotSlots, HotSlot(h))
	}
	for _, h := range s.HotKeys {
		st.HotKeys = append(st.HotKeys, HotKey(h))
	}
	return st
}

func newHistogram(s meter.Snapshot) Histogram {
	if s.Count == 0 {
		return Histogram{}
	}
	return Histogram{Buckets: s.Counts[:], Count: s.Count, Sum: s.Sum}
}
