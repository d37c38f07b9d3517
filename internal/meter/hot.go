package meter

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
)

const (
	hotSets  = 64  // of places for keys
	hotWays  = 8   // places in each of them
	hotKey   = 256 // bytes kept of a key
	hotSpan  = 10  // ticks over which rates are averaged
	hotLeast = 0.5 // weight below which a key is forgotten
)

// Hot finds the slots and keys that are asked for most. It takes about 150 KiB
// once every place is taken by a long key, and 64 KiB for the slots.
//
// Keys have hotWays places in one of hotSets sets, chosen by hash. A key that
// finds its set full takes weight from the lightest one there, and its place
// when nothing is left (after Misra and Gries, set by set): a stream of keys
// that come once never moves one that comes again and again. All weights decay
// from tick to tick, so what was hot is forgotten.
type Hot struct {
	seed maphash.Seed

	mu    sync.Mutex // guards below
	keys  [hotSets][hotWays]hotPlace
	slots []float32
	ticks float64 // how many there were, up to hotSpan
}

type hotPlace struct {
	hash   uint64
	weight float64
	slot   uint16
	key    []byte // its buffer is used again
}

// NewHot returns a Hot for so many slots.
func NewHot(slots int) *Hot {
	return &Hot{seed: maphash.MakeSeed(), slots: make([]float32, slots)}
}

// Touch notes a call for a key, or for a slot alone with an empty one, that
// stands for weight of them. It is for
// samples: it takes a hundred nanoseconds, and notes nothing where another
// goroutine is just in it.
func (h *Hot) Touch(slot uint16, key string, weight float64) {
	hash := maphash.String(h.seed, key) ^ uint64(slot)<<48
	if !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	h.slots[slot] += float32(weight)
	if key == "" {
		return
	}
	set := &h.keys[hash%hotSets]
	least := &set[0]
	for i := range set {
		p := &set[i]
		if p.hash == hash && p.weight > 0 {
			p.weight += weight
			return
		}
		if p.weight < least.weight {
			least = p
		}
	}
	if least.weight > weight {
		least.weight -= weight
		return
	}
	if cap(least.key) > 0 && len(key) > cap(least.key) {
		least.key = nil
	}
	least.hash, least.weight, least.slot = hash, weight, slot
	least.key = append(least.key[:0], key[:min(len(key), hotKey)]...)
}

// Tick lets the weights decay. It is called at equal intervals.
func (h *Hot) Tick() {
	const keep = 1 - 1.0/hotSpan
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = h.ticks*keep + 1
	for i := range h.keys {
		for j := range h.keys[i] {
			if p := &h.keys[i][j]; p.weight > 0 {
				if p.weight *= keep; p.weight < hotLeast {
					p.weight = 0
				}
			}
		}
	}
	for i := range h.slots {
		h.slots[i] *= keep
	}
}

// HotKey and HotSlot are among those asked for most; Rate is how often in a
// tick, about.
type (
	HotKey struct {
		Key  string // its first 256 bytes
		Slot uint16
		Rate float64
	}
	HotSlot struct {
		Slot uint16
		Rate float64
	}
)

// Top returns the n hottest slots and keys, hottest first.
func (h *Hot) Top(n int) (slots []HotSlot, keys []HotKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	over := max(h.ticks, 1) // weights have piled up over so many ticks
	for i := range h.keys {
		for j := range h.keys[i] {
			if p := &h.keys[i][j]; p.weight > 0 {
				keys = append(keys, HotKey{Key: string(p.key), Slot: p.slot, Rate: p.weight / over})
			}
		}
	}
	slices.SortFunc(keys, func(a, b HotKey) int { return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(a.Key, b.Key)) })
	for i, w := range h.slots {
		if w < hotLeast || len(slots) == n && float64(w)/over <= slots[n-1].Rate {
			continue
		}
		s := HotSlot{uint16(i), float64(w) / over}
		at, _ := slices.BinarySearchFunc(slots, s, func(a, b HotSlot) int {
			return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(a.Slot, b.Slot))
		})
		slots = slices.Insert(slots, at, s)
		slots = slots[:min(len(slots), n)]
	}
	return slots, slices.Clone(keys[:min(len(keys), n)])
}
