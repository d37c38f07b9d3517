package store

import (
	"math/bits"
	"sync/atomic"
)

// entry is one word of an index:
//
//	tag 24 | stamp 4 | main 1 | hits 2 | ref 33
//
// tag is the top of the address's hash, so entries in numeric order of their
// tags are in the order of Range. The middle is the eviction policy's; see
// evict.go. Readers that hold the slot's lock shared change it with atomic
// operations, nothing else.
type entry uint64

const (
	tagShift   = 40
	stampShift = 36
	mainBit    = 1 << 35
	hitsShift  = 33
	hitsMask   = 3 << hitsShift
	refMask    = 1<<refBits - 1
	policyMask = 1<<tagShift - 1<<refBits
)

func (e entry) ref() ref    { return ref(e & refMask) }
func (e entry) tag() uint64 { return uint64(e) >> tagShift }

// An index page is a cell: a head word (depth 8, capacity 16, count 16, from
// the top), then its entries in order. A slot of up to maxEntries entries is
// one page; then pages split by the next bit of the hash, and a directory
// indexed by the first depth bits names them (extendible hashing). So an
// insert moves at most a page, however large the slot.
const (
	maxEntries = 256
	maxDepth   = 13 // above it pages grow instead
	maxPage    = maxCell/8 - 1
)

type indexPage struct {
	ref   ref
	words []uint64
	count int   // as of when it was looked up
	depth uint8 // bits of the hash that its entries share
}

func (p indexPage) limit() int { return int(p.words[0] >> 16 & 0xFFFF) }
func (p indexPage) at(i int) entry {
	return entry(atomic.LoadUint64(&p.words[1+i]))
}

func headWord(count, limit int, depth uint8) uint64 {
	return uint64(depth)<<32 | uint64(limit)<<16 | uint64(count)
}

// search returns the first entry whose tag is not below hash's. Tags are
// evenly spread, so it looks where the tag should be and walks from there.
func (p indexPage) search(hash uint64) int {
	n := p.count
	tag := hash >> tagShift
	i, _ := bits.Mul64(hash<<p.depth, uint64(n))
	at := int(i)
	if at < n && p.at(at).tag() < tag {
		for at++; at < n && p.at(at).tag() < tag; at++ {
		}
		return at
	}
	for at > 0 && p.at(at-1).tag() >= tag {
		at--
	}
	return at
}

// table is one generation of a slot: an index and its sums. It has no pointers,
// and with the slot's lock it fills a cache line.
type table struct {
	root  ref // the page, or the directory where depth is not 0
	sum   uint64
	max   uint64 // version
	count int32
	tombs int32
	units uint32 // of 8 bytes, of all cells
	depth uint8
}

func (t *table) bytes() int64 { return int64(t.units) * 8 }

// pageAt returns the page that hash belongs to; no page: its ref is 0.
func (m *Memory) pageAt(t *table, hash uint64) indexPage {
	r := t.root
	if r == 0 {
		return indexPage{}
	}
	if t.depth == 0 { // the page's head need not be read: a cache line less
		return indexPage{r, m.arena.words(r), int(t.count), 0}
	}
	r = ref(m.arena.words(r)[hash>>(64-t.depth)])
	words := m.arena.words(r)
	return indexPage{r, words, int(words[0] & 0xFFFF), uint8(words[0] >> 32)}
}

// find returns the page and position of an address and its decoded cell.
func (m *Memory) find(t *table, a *addr) (p indexPage, i int, h head, ok bool) {
	p = m.pageAt(t, a.hash)
	if p.ref == 0 {
		return p, 0, h, false
	}
	tag, n := a.hash>>tagShift, p.count
	for i = p.search(a.hash); i < n; i++ {
		e := p.at(i)
		if e.tag() != tag {
			break
		}
		c := m.arena.cell(e.ref())
		ahead := c[min(a.ahead, len(c)-1)]
		h = parse(c)
		if h.is(m, c, a) {
			h.ahead = ahead
			return p, i, h, true
		}
	}
	return p, i, h, false
}

// newPage returns an index page for n entries.
func (m *Memory) newPage(t *table, slot uint16, n int, depth uint8) indexPage {
	r := m.index.alloc(min(8*(n+1), maxCell), slot)
	size := m.index.size(r)
	t.units += uint32(size / 8)
	p := indexPage{ref: r, words: m.arena.words(r), depth: depth}
	p.words[0] = headWord(0, size/8-1, depth)
	return p
}

func (m *Memory) freeIndex(t *table, r ref) {
	t.units -= uint32(m.index.size(r) / 8)
	m.index.free(r)
}

// setPage makes p the page of all hashes that share hash's first bits.
func (m *Memory) setPage(t *table, hash uint64, p indexPage) {
	if t.depth == 0 {
		t.root = p.ref
		return
	}
	dir, depth := m.arena.words(t.root), p.depth
	from := hash >> (64 - depth) << (t.depth - depth) // a shift by 64 gives 0
	for i := range uint64(1) << (t.depth - depth) {
		dir[from+i] = uint64(p.ref)
	}
}

// packing finds out whether new addresses fit: a page that can neither split nor grow
// may be full. Keys that happen to have so many bits of their hashes in common are more
// than fit into memory; keys may be made to, though.
type packing struct {
	m    *Memory
	t    *table
	more int            // addresses that are asked for at most
	new  map[uint64]int // by the bits of a hash that the deepest pages share
}

// full reports whether there is no room for the address of a hash beside the ones asked
// for before. It asks known, whether the table has it, where that may be so.
func (k *packing) full(hash uint64, known func() bool) bool {
	if int(k.t.count)+k.more <= k.m.most {
		return false
	}
	n := k.m.pageAt(k.t, hash).count
	if n+k.more <= k.m.most || known() {
		return false
	}
	if k.new == nil {
		k.new = map[uint64]int{}
	}
	crowd := hash >> (64 - maxDepth)
	k.new[crowd]++
	return n+k.new[crowd] > k.m.most
}

// packed reports whether there is no room for some records, all in all.
func (m *Memory) packed(t *table, recs ...prepared) bool {
	if int(t.count)+len(recs) <= m.most {
		return false
	}
	k := packing{m: m, t: t, more: len(recs)}
	for i := range recs {
		a := &recs[i].addr
		if k.full(a.hash, func() bool { _, _, _, ok := m.find(t, a); return ok }) {
			return true
		}
	}
	return false
}

// insert adds the entry of an address that is not in the table.
func (m *Memory) insert(t *table, slot uint16, a *addr, e entry) {
	p := m.pageAt(t, a.hash)
	switch {
	case p.ref == 0:
		p = m.newPage(t, slot, 3, 0)
		t.root = p.ref
	case p.count == p.limit():
		p = m.grow(t, slot, a.hash, p)
	}
	n, i := p.count, p.search(a.hash)
	for ; i < n && p.at(i).tag() == e.tag(); i++ {
		c := m.arena.cell(p.at(i).ref())
		h := parse(c)
		if b := h.addr(c, p.at(i)); a.compare(&b) < 0 {
			break
		}
	}
	copy(p.words[2+i:2+n], p.words[1+i:1+n])
	p.words[1+i] = uint64(e)
	p.words[0]++
	t.count++
}

// grow makes room in a full page and returns the page of hash.
func (m *Memory) grow(t *table, slot uint16, hash uint64, p indexPage) indexPage {
	n, depth := p.count, p.depth
	if n < m.split || depth == maxDepth {
		return m.resize(t, slot, hash, p, n+n/8+2)
	}
	if depth == t.depth {
		m.growDirectory(t, slot)
	}
	bit := uint64(1) << (63 - depth)
	mid := p.search(hash&^(bit-1) | bit)
	low := m.newPage(t, slot, max(mid+mid/8, 4), depth+1)
	high := m.newPage(t, slot, max(n-mid+(n-mid)/8, 4), depth+1)
	copy(low.words[1:], p.words[1:1+mid])
	copy(high.words[1:], p.words[1+mid:1+n])
	low.words[0] += uint64(mid)
	high.words[0] += uint64(n - mid)
	m.setPage(t, hash&^bit, low)
	m.setPage(t, hash|bit, high)
	m.freeIndex(t, p.ref)
	p = m.pageAt(t, hash)
	if p.count == p.limit() { // all went one way
		return m.grow(t, slot, hash, p)
	}
	return p
}

func (m *Memory) growDirectory(t *table, slot uint16) {
	r := m.index.alloc(8<<(t.depth+1), slot)
	t.units += uint32(m.index.size(r) / 8)
	dir := m.arena.words(r)
	if t.depth == 0 {
		dir[0], dir[1] = uint64(t.root), uint64(t.root)
	} else {
		old := m.arena.words(t.root)
		for i := range uint64(1) << t.depth {
			dir[2*i], dir[2*i+1] = old[i], old[i]
		}
		m.freeIndex(t, t.root)
	}
	t.root = r
	t.depth++
}

// resize moves a page to a cell for n entries.
func (m *Memory) resize(t *table, slot uint16, hash uint64, p indexPage, n int) indexPage {
	q := m.newPage(t, slot, n, p.depth)
	copy(q.words[1:], p.words[1:1+p.count])
	q.words[0] += uint64(p.count)
	q.count = p.count
	m.setPage(t, hash, q)
	m.freeIndex(t, p.ref)
	return q
}

// cut takes the entry at i out of its page.
func (m *Memory) cut(t *table, slot uint16, hash uint64, p indexPage, i int) {
	copy(p.words[1+i:p.count], p.words[2+i:1+p.count])
	p.words[0]--
	p.count--
	t.count--
	switch n := p.count; {
	case n == 0 && t.depth == 0:
		m.freeIndex(t, p.ref)
		t.root = 0
	case n*4 < p.limit() && p.limit() > 15:
		m.resize(t, slot, hash, p, n+n/8+2)
	}
}

// eachPage calls fn for the pages from hash on, each with the last hash it
// covers, until fn returns false.
func (m *Memory) eachPage(t *table, hash uint64, fn func(p indexPage, last uint64) bool) {
	for t.root != 0 {
		p := m.pageAt(t, hash)
		last := hash | ^uint64(0)>>p.depth
		if !fn(p, last) || last == ^uint64(0) {
			return
		}
		hash = last + 1
	}
}
