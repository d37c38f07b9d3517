package slotmesh

// Stats counts what this node has done since Open. All but the gauges only
// grow.
type Stats struct {
	Local      uint64 // calls made here and answered here
	Forwarded  uint64 // calls made here and answered by another node
	Redirected uint64 // those of them that needed a second hop, because the slot had moved
	Served     uint64 // calls answered here for other nodes

	Hits, Misses        uint64 // reads answered here
	StaleReads          uint64 // those of them answered by a backup, see AllowStale
	Evictions, Expiries uint64

	Promotions     uint64 // slots taken over from a primary
	Forks          uint64 // slots that went on here without a majority
	Heals          uint64 // forks merged again
	Orphans        uint64 // slots founded anew after all their holders were lost
	BackupsDropped uint64 // backups left out because they did not answer
	BytesCopied    uint64 // sent to fill new copies

	// Gauges: slots held here as primary, as in-sync backup and as a copy that
	// is still being filled.
	Primaries, Backups, Learners int
	// Gauges: records held here with all copies, and the memory they take with
	// index and overhead, and its limit.
	Records     int
	MemoryBytes int64
	MemoryLimit int64
}

// Stats returns this node's counters. It is cheap enough for once a second.
func (c *Cache) Stats() Stats {
	s := c.n.Stats()
	return Stats{
		Local:          s.Local,
		Forwarded:      s.Forwarded,
		Redirected:     s.Redirected,
		Served:         s.Served,
		Hits:           s.Hits,
		Misses:         s.Misses,
		StaleReads:     s.StaleReads,
		Evictions:      s.Evictions,
		Expiries:       s.Expiries,
		Promotions:     s.Promotions,
		Forks:          s.Forks,
		Heals:          s.Heals,
		Orphans:        s.Orphans,
		BackupsDropped: s.BackupsDropped,
		BytesCopied:    s.BytesCopied,
		Primaries:      s.Primaries,
		Backups:        s.Backups,
		Learners:       s.Learners,
		Records:        s.Store.Records,
		MemoryBytes:    s.Store.Bytes,
		MemoryLimit:    s.Store.Limit,
	}
}
