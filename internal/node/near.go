package node

import (
	"bytes"
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// nearCache keeps values of other nodes' slots under read leases (grant.go), so
// that reads of hot keys need no network and are linearizable all the same. An
// entry is good while the lease of its slot is, which grants and renewals make
// longer; when that has run out, or another primary grants, all entries of the
// slot are void, whatever is granted later.
//
// A value on its way here may have been revoked before it arrives. So a request
// carries a ticket, and a revocation makes the tickets of its key void, with those
// of the few others that share a counter.
//
// While a request for a key's lease is under way, other reads of the key wait for
// it, and then look here: what it brought they may use, as any read that begins
// then.
type nearCache struct {
	seed   maphash.Seed
	limit  int64       // bytes of a shard
	shards []nearShard // a power of two

	hits, rejected, evicted atomic.Uint64

	mu     sync.Mutex // guards writes to leases; inside nearShard.mu
	leases [shard.Slots]nearLease
}

const (
	minNearShards  = 16
	maxNearShards  = 128
	bytesNearShard = 512 << 10 // at least, where there are more than the fewest
	nearVoids      = 64        // counters of a shard's revocations
	sketchSize     = 1024      // counters of a shard's reads
	nearEntryOf    = 200       // bytes that an entry takes beside key and value

	// nearWait bounds how long a read waits for another one's request.
	nearWait = 50 * time.Millisecond
)

type nearShard struct {
	mu      sync.Mutex // guards all below
	entries map[string]*nearEntry
	bytes   int64
	voided  [nearVoids]uint64 // revocations so far, by hash of the key
	flights map[string]*nearFlight
	sketch  [sketchSize]uint8
	counted int
}

// nearLease is what the primary of a slot lets this node answer, by both clocks.
type nearLease struct {
	gen        atomic.Uint64 // entries of other generations are void
	mono, wall atomic.Int64
	from       *peer // guarded by nearCache.mu
}

type nearEntry struct {
	gen        uint64
	mono, wall int64 // at the latest
	freq       uint8
	res        Result // never changed, and so read without the lock
}

// nearFlight is a request for a read lease under way. Its shard's mu guards it.
type nearFlight struct {
	landed chan struct{} // nil until somebody waits
}

// nearTicket is what a request for a read lease remembers.
type nearTicket struct {
	wanted     bool
	voided     uint64
	gen        uint64
	from       *peer
	mono, wall int64 // when it was sent
}

func newNearCache(bytes int64) *nearCache {
	if bytes <= 0 {
		return nil
	}
	count := minNearShards
	for count < maxNearShards && int64(2*count)*bytesNearShard <= bytes {
		count *= 2
	}
	nc := &nearCache{seed: maphash.MakeSeed(), limit: bytes / int64(count), shards: make([]nearShard, count)}
	for i := range nc.shards {
		nc.shards[i].entries = map[string]*nearEntry{}
		nc.shards[i].flights = map[string]*nearFlight{}
	}
	return nc
}

func (nc *nearCache) shard(key string) (sh *nearShard, hash uint64) {
	hash = maphash.String(nc.seed, key)
	return &nc.shards[hash%uint64(len(nc.shards))], hash
}

// void is the counter of the revocations of keys with a hash.
func (sh *nearShard) void(hash uint64) *uint64 { return &sh.voided[hash>>24%nearVoids] }

// board has a read of a key that was read before wait for a request for the same
// key that is under way, if there is one, and look here again. Where that does not
// answer it, it is this read's request that others wait for, until land; nil: nobody
// does.
func (nc *nearCache) board(ctx context.Context, n *Node, c *Call, r *Result) (f *nearFlight, answered bool) {
	if c.Op != transport.OpGet || c.Kind != 0 || c.Field != "" {
		return nil, false
	}
	if cl := n.table.Load().Claim(c.Slot); cl == nil || cl.Primary == n.id {
		return nil, false
	}
	sh, hash := nc.shard(c.Key)
	var timer *time.Timer
	for {
		sh.mu.Lock()
		if min(*sh.count(hash >> 8), *sh.count(hash >> 32)) == 0 {
			sh.mu.Unlock()
			return nil, false // it asks for no lease
		}
		other := sh.flights[c.Key]
		if other == nil {
			f = &nearFlight{}
			sh.flights[strings.Clone(c.Key)] = f
			sh.mu.Unlock()
			return f, false
		}
		if other.landed == nil {
			other.landed = make(chan struct{})
		}
		landed := other.landed
		sh.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(nearWait)
			defer timer.Stop()
		}
		select {
		case <-landed:
		case <-timer.C:
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
		if nc.read(n, c, r) {
			return nil, true
		}
	}
}

// land ends what board began.
func (nc *nearCache) land(key string, f *nearFlight) {
	sh, _ := nc.shard(key)
	sh.mu.Lock()
	delete(sh.flights, key)
	if f.landed != nil {
		close(f.landed)
	}
	sh.mu.Unlock()
}

func (sh *nearShard) count(hash uint64) *uint8 { return &sh.sketch[hash%sketchSize] }

// touch counts a read of a key and returns about how many there were lately.
func (sh *nearShard) touch(hash uint64) uint8 {
	a, b := sh.count(hash>>8), sh.count(hash>>32)
	least := min(*a, *b)
	if least < 255 {
		if *a == least {
			*a++
		}
		if a != b && *b == least {
			*b++
		}
		least++
	}
	if sh.counted++; sh.counted >= 8*sketchSize {
		sh.counted = 0
		for i := range sh.sketch {
			sh.sketch[i] /= 2
		}
	}
	return least
}

// read answers Get and Peek where this node holds a read lease.
func (nc *nearCache) read(n *Node, c *Call, r *Result) bool {
	if c.Kind != 0 || c.Field != "" {
		return false
	}
	now := n.env.Now()
	at, wall := int64(now.Sub(n.start)), now.UnixNano()
	l := &nc.leases[c.Slot]
	untilWall := l.wall.Load() // before the other, as in lends
	if passed(l.mono.Load(), untilWall, at, wall) {
		return false
	}
	gen := l.gen.Load() // after the times: see extend
	sh, hash := nc.shard(c.Key)
	sh.mu.Lock()
	e := sh.entries[c.Key]
	if e == nil || e.gen != gen || passed(e.mono, e.wall, at, wall) {
		sh.mu.Unlock()
		return false
	}
	e.freq = sh.touch(hash)
	sh.mu.Unlock()
	res := &e.res
	if res.Expiry > 0 && res.Expiry <= n.slotTime(now) {
		return false
	}
	*r = Result{Version: res.Version, Expiry: res.Expiry, Schema: res.Schema, Found: res.Found, Near: true, Local: true}
	if res.Expiry > 0 {
		r.Int = max(res.Expiry-n.slotTime(now), 1)
	}
	if res.Found && c.Op == transport.OpGet {
		r.Value = append(c.Value[len(c.Value):], res.Value...)
	}
	nc.hits.Add(1)
	n.looked(SourceLocal, c, r.Found, at)
	return true
}

// ticket says whether a read that goes to another node asks for a lease: from
// its second time on.
func (nc *nearCache) ticket(c *Call) (t nearTicket) {
	if c.Op != transport.OpGet || c.Kind != 0 || c.Field != "" {
		return t
	}
	sh, hash := nc.shard(c.Key)
	sh.mu.Lock()
	t.wanted, t.voided = sh.touch(hash) >= 2, *sh.void(hash)
	sh.mu.Unlock()
	t.gen = nc.leases[c.Slot].gen.Load()
	return t
}

// send notes when and to whom a request leaves.
func (t *nearTicket) send(n *Node, to *transport.Peer) {
	now := n.env.Now()
	t.from, t.mono, t.wall = n.peer(shard.NodeID(to.ID())), int64(now.Sub(n.start)), now.UnixNano()
}

// fill keeps what a request that asked for a lease was answered with one.
func (nc *nearCache) fill(n *Node, t *nearTicket, c *Call, res *Result, lease time.Duration) {
	lease = min(lease, 10*n.cfg.Lease)
	if lease <= 0 || t.from == nil {
		return
	}
	use := int64(nearUse)
	if res.Found && res.Expiry > 0 {
		use = min(res.Int, use/int64(time.Millisecond)) * int64(time.Millisecond)
	}
	e := &nearEntry{mono: t.mono + use, wall: t.wall + use}
	e.res = Result{Value: bytes.Clone(res.Value), Version: res.Version, Expiry: res.Expiry, Schema: res.Schema, Found: res.Found}
	sh, hash := nc.shard(c.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	size := entryBytes(c.Key, e)
	if *sh.void(hash) != t.voided || size > nc.limit/2 {
		return
	}
	e.freq = min(*sh.count(hash >> 8), *sh.count(hash >> 32))
	if old := sh.entries[c.Key]; old != nil {
		sh.remove(c.Key, old)
	}
	if !nc.makeRoom(sh, size, e.freq) {
		nc.rejected.Add(1)
		return
	}
	now := n.env.Now()
	nc.mu.Lock()
	defer nc.mu.Unlock()
	l := &nc.leases[c.Slot]
	if l.gen.Load() != t.gen {
		return // the slot's grants were revoked meanwhile, or begun anew
	}
	l.extend(t.from, t.mono+int64(lease), t.wall+int64(lease), int64(now.Sub(n.start)), now.UnixNano(), true)
	e.gen = l.gen.Load()
	sh.entries[strings.Clone(c.Key)] = e
	sh.bytes += size
}

// extend makes a lease longer. One that has run out, or is of another primary,
// begins anew if anew is set. A reader loads the times before the generation, so
// the generation is stored first.
func (l *nearLease) extend(from *peer, mono, wall, nowMono, nowWall int64, anew bool) {
	if l.from != from || passed(l.mono.Load(), l.wall.Load(), nowMono, nowWall) {
		if !anew {
			return
		}
		l.from = from
		l.gen.Add(1)
		l.mono.Store(mono)
		l.wall.Store(wall)
		return
	}
	l.mono.Store(max(mono, l.mono.Load()))
	l.wall.Store(max(wall, l.wall.Load()))
}

func entryBytes(key string, e *nearEntry) int64 {
	return int64(len(key)+len(e.res.Value)) + nearEntryOf
}

func (sh *nearShard) remove(key string, e *nearEntry) {
	delete(sh.entries, key)
	sh.bytes -= entryBytes(key, e)
}

// makeRoom lets go of entries that are read less than one of freq; false: there
// are none.
func (nc *nearCache) makeRoom(sh *nearShard, size int64, freq uint8) bool {
	for sh.bytes+size > nc.limit {
		var victim string
		var least *nearEntry
		looked := 0
		for key, e := range sh.entries { // in random order
			if least == nil || e.freq < least.freq {
				victim, least = key, e
			}
			if looked++; looked == 8 {
				break
			}
		}
		if least == nil || least.freq > freq {
			if least != nil {
				least.freq /= 2 // nobody stays for ever
			}
			return false
		}
		sh.remove(victim, least)
		nc.evicted.Add(1)
	}
	return true
}

// revoke drops a key, or with all a slot.
func (nc *nearCache) revoke(slot uint16, key string, all bool) {
	if all {
		nc.mu.Lock()
		l := &nc.leases[slot]
		l.gen.Add(1)
		l.mono.Store(0)
		l.wall.Store(0)
		nc.mu.Unlock()
		return
	}
	sh, hash := nc.shard(key)
	sh.mu.Lock()
	*sh.void(hash)++
	if e := sh.entries[key]; e != nil {
		sh.remove(key, e)
	}
	sh.mu.Unlock()
}

// onRevoke drops what a primary takes back, and tells it.
func (n *Node) onRevoke(p *transport.Peer, a *transport.Append) {
	if nc := n.near; nc != nil {
		nc.revoke(a.Slot%shard.Slots, "", len(a.Records) == 0)
		for i := range a.Records {
			nc.revoke(a.Slot%shard.Slots, a.Records[i].Key, false)
		}
	}
	// Each by itself, and so under an epoch of its own: of those that are alike but for
	// the version the last stands for all, and a revocation may have been lost.
	_ = p.SendAck(&transport.AppendAck{Slot: a.Slot, Session: nearSession, Epoch: a.Version, Version: a.Version})
}

// onRenew makes the leases of slots longer, counted from the heartbeat that the
// renewal answers.
func (n *Node) onRenew(from shard.NodeID, f *fields) {
	number, lease := f.num(), f.num()
	nc := n.near
	if f.bad || nc == nil || lease > uint64(10*n.cfg.Lease) {
		return
	}
	p := n.peer(from)
	p.mu.Lock()
	b := p.beats[number%uint64(len(p.beats))]
	p.mu.Unlock()
	if b.number != number {
		return
	}
	now := n.env.Now()
	mono, wall := int64(now.Sub(n.start)), now.UnixNano()
	nc.mu.Lock()
	defer nc.mu.Unlock()
	for slot := uint64(0); f.more(); {
		slot += f.num()
		if f.bad || slot >= shard.Slots {
			return
		}
		nc.leases[slot].extend(p, b.mono+int64(lease), b.wall+int64(lease), mono, wall, false)
	}
}

// stats counts what is kept.
func (nc *nearCache) stats(st *Stats) {
	if nc == nil {
		return
	}
	st.NearHits, st.NearRejected, st.NearEvicted = nc.hits.Load(), nc.rejected.Load(), nc.evicted.Load()
	for i := range nc.shards {
		sh := &nc.shards[i]
		sh.mu.Lock()
		st.NearEntries += len(sh.entries)
		st.NearBytes += sh.bytes
		sh.mu.Unlock()
	}
}
