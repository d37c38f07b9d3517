//go:build !race

package store

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// On amd64, whose loads and stores other processors see in order, Get reads
// without a lock: it notes the slot's count of writes, reads, and has read well
// if the count is even and still the same then (Lamport's "concurrent reading
// and writing", known as a seqlock). So reads of a popular slot share its cache
// line, and wait for nobody. What is read meanwhile may be anything: every
// offset is checked before it is used, and slabs are kept by the garbage
// collector while someone looks at them.
//
// The race detector does not know of such reads, and weaker processors would
// need a fence that Go does not have: they take the lock, see unlocked_other.go.

// gate is a slot's lock. Few lock it to read, so it does not tell them apart.
// All gates together are small enough to stay in a near cache.
type gate struct {
	sync.Mutex
	writes uint64 // begun and ended: odd while somebody writes
	// root is the slot's current table: the ref of its root, the count of its
	// entries where that is a page, and the depth of its directory.
	root uint64
}

const (
	gateCountShift = refBits
	gateDepthShift = gateCountShift + 16
)

func (g *gate) RLock()   { g.Lock() }
func (g *gate) RUnlock() { g.Unlock() }

// begin and end stand around everything that changes the slot; the caller holds
// the lock. Their stores are atomic so that the compiler leaves them where they
// are.

func (g *gate) begin() { atomic.StoreUint64(&g.writes, g.writes+1) }

func (g *gate) end(t *table) {
	root := uint64(t.root) | uint64(t.depth)<<gateDepthShift
	if t.depth == 0 {
		root |= uint64(uint16(t.count)) << gateCountShift
	}
	g.root = root
	atomic.StoreUint64(&g.writes, g.writes+1)
}

// readTries is how often Get reads without a lock before it takes it.
const readTries = 3

// read is Get without a lock, of an address without a field. It reports false
// where that cannot be done. It is one function, and sets it in place, since
// handing an Item on costs as much as finding it.
func (m *Memory) read(it *Item, dst []byte, slot uint16, a *addr, now int64) bool {
	if m.closed.Load() {
		return false
	}
	g := &m.gates[slot]
	tag := a.hash >> tagShift
tries:
	for range readTries {
		writes := atomic.LoadUint64(&g.writes)
		if writes&1 != 0 {
			continue
		}
		// Not before: a list that was replaced since may name slabs that were as well.
		slabs := *m.arena.slabs.Load()
		p, ok := glance(slabs, g.root, a.hash)
		if !ok {
			return false
		}
		for i := p.search(a.hash); i < p.count; i++ {
			e := p.at(i)
			if e.tag() != tag {
				break
			}
			r := e.ref()
			if int(r>>slabShift) >= len(slabs) || slabs[r>>slabShift] == nil {
				continue tries
			}
			c := slabs[r>>slabShift].mem[(r&(1<<slabShift-1))<<3:]
			if len(c) < fixedSize {
				continue tries
			}
			flags := c[12]
			if flags&^(flagTombstone|flagExpiry|flagOrigin|flagSchema) != 0 {
				return false
			}
			from := int(headSizes[flags])
			values := from + int(binary.LittleEndian.Uint16(c[14:]))
			end := values + int(binary.LittleEndian.Uint16(c[16:]))
			if end > len(c) {
				continue tries
			}
			if c[13] != a.kind || string(c[from:values]) != a.key {
				continue
			}
			it.State, it.Version = Found, binary.LittleEndian.Uint64(c)
			if flags != 0 {
				h := head{version: it.Version, flags: flags}
				parseMore(c[:cap(c)], &h)
				*it = h.item(now)
			}
			if it.State == Found {
				it.Value = append(dst, c[values:end]...)[len(dst):]
			}
			if atomic.LoadUint64(&g.writes) != writes {
				*it = Item{}
				continue tries
			}
			if it.State == Found && e&hitsMask != hitsMask {
				g.hit(writes, p, i, e)
			}
			return true
		}
		if atomic.LoadUint64(&g.writes) == writes {
			return !m.closed.Load() // Close empties the slots
		}
	}
	return false
}

// hit counts a read of the entry at i, unless somebody is writing.
func (g *gate) hit(writes uint64, p indexPage, i int, e entry) {
	if !g.TryLock() {
		return
	}
	if g.writes == writes {
		p.touch(i, e)
	}
	g.Unlock()
}

// glance is pageAt for a table that may be changing. It reports false for what
// makes no sense.
func glance(slabs []*slab, root, hash uint64) (p indexPage, ok bool) {
	p.ref, p.count = ref(root&refMask), int(root>>gateCountShift&0xFFFF)
	if p.ref == 0 {
		return p, true
	}
	if p.words = glanceWords(slabs, p.ref); p.words == nil {
		return p, false
	}
	if depth := root >> gateDepthShift; depth != 0 {
		at := hash >> (64 - depth)
		if at >= uint64(len(p.words)) {
			return p, false
		}
		p.ref = ref(atomic.LoadUint64(&p.words[at]) & refMask)
		if p.words = glanceWords(slabs, p.ref); p.words == nil {
			return p, false
		}
		head := atomic.LoadUint64(&p.words[0])
		p.count, p.depth = int(head&0xFFFF), uint8(head>>32)
	}
	return p, p.count < len(p.words)
}

// glanceWords is arena.words for a ref that may be nonsense.
func glanceWords(slabs []*slab, r ref) []uint64 {
	if int(r>>slabShift) >= len(slabs) || slabs[r>>slabShift] == nil {
		return nil
	}
	return slabs[r>>slabShift].words(r)
}
