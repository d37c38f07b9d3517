package store

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// wheel names records by the time at which to look whether they have expired.
// Its buckets are the wider the further away they are, so that there are some
// hundred at most; what comes up too early is filed again, a few times in all.
// A bucket is a list of cells of one word per record: its slot and the first 50
// bits of its hash. The record carries the mark of its bucket; a word whose
// record has another mark is stale, so nothing is ever searched for in here.
// Stale words are swept out when all words have doubled.
type wheel struct {
	heap  *heap
	now   atomic.Int64 // slot time, as of the last look
	words atomic.Int64
	goal  atomic.Int64 // words above which the wheel is swept
	few   int64        // words that are not worth a sweep

	mu      sync.Mutex // guards all below and the cells
	closed  bool
	buckets map[int64]ref // by start, in milliseconds
	swept   int64         // start of the bucket that a sweep is at; 0: before the first
	rest    ref           // of that bucket, taken out
}

const (
	chunkSize  = 512
	tick       = 1 << 10 // milliseconds; the width of the nearest buckets
	hashBits   = 50
	chunkCount = 1<<16 - 1
	fewWords   = 1 << 14
)

// start returns the start of the bucket that an expiry belongs to.
func (w *wheel) start(expiry int64) int64 {
	width := int64(tick)
	if d := expiry - w.now.Load(); d > 0 {
		width = max(width, 1<<bits.Len64(uint64(d))>>5)
	}
	return expiry &^ (width - 1)
}

// markOf returns the mark of the bucket that starts at start, never 0.
func markOf(start int64) uint16 { return uint16(mix(uint64(start))) | 1 }

func word(slot uint16, hash uint64) uint64 { return uint64(slot)<<hashBits | hash>>(64-hashBits) }

func unword(v uint64) (slot uint16, hash uint64) {
	return uint16(v >> hashBits), v << (64 - hashBits)
}

// file adds a record to the bucket that starts at start. A chunk's first word
// is the ref of the next one and the count of its words.
func (w *wheel) file(start int64, slot uint16, hash uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fileLocked(start, word(slot, hash))
}

func (w *wheel) fileLocked(start int64, v uint64) {
	if w.closed {
		return
	}
	if w.buckets == nil {
		w.buckets = map[int64]ref{}
	}
	r := w.buckets[start]
	var chunk []uint64
	if r != 0 {
		chunk = w.heap.arena.words(r)
		if chunk[chunk[0]&chunkCount] == v { // one stands for all records that it names
			return
		}
	}
	if r == 0 || chunk[0]&chunkCount == chunkSize/8-1 {
		next := w.heap.alloc(chunkSize, 0)
		chunk = w.heap.arena.words(next)
		chunk[0] = uint64(r) << 16
		w.buckets[start] = next
	}
	n := chunk[0] & chunkCount
	chunk[1+n] = v
	chunk[0]++
	w.words.Add(1)
}

// due takes up to n words that are due at w.now, each with its bucket's mark.
func (w *wheel) due(dst []dueWord, n int) []dueWord {
	w.mu.Lock()
	defer w.mu.Unlock()
	want, now := len(dst)+n, w.now.Load()
	if w.swept <= now {
		dst, w.rest = w.popLocked(dst, want, w.rest, w.swept)
	}
	for start, r := range w.buckets {
		if len(dst) == want {
			break
		}
		if start > now {
			continue
		}
		if dst, r = w.popLocked(dst, want, r, start); r == 0 {
			delete(w.buckets, start)
		} else {
			w.buckets[start] = r
		}
	}
	return dst
}

// popLocked takes words of a bucket until dst has want of them, and returns the rest.
func (w *wheel) popLocked(dst []dueWord, want int, r ref, start int64) ([]dueWord, ref) {
	before := len(dst)
	for r != 0 && len(dst) < want {
		chunk := w.heap.arena.words(r)
		for chunk[0]&chunkCount > 0 && len(dst) < want {
			dst = append(dst, dueWord{chunk[chunk[0]&chunkCount], markOf(start)})
			chunk[0]--
		}
		if chunk[0]&chunkCount == 0 {
			next := ref(chunk[0] >> 16)
			w.heap.free(r)
			r = next
		}
	}
	w.words.Add(int64(before - len(dst)))
	return dst, r
}

// pick takes words to look at in a sweep, which goes from bucket to bucket. After the
// last one those that are left may double.
func (w *wheel) pick(dst []dueWord) []dueWord {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rest == 0 {
		next := int64(math.MaxInt64)
		for start := range w.buckets {
			if start > w.swept {
				next = min(next, start)
			}
		}
		if w.rest = w.buckets[next]; w.rest == 0 {
			w.swept = 0
			w.goal.Store(2*w.words.Load() + w.few)
			return dst
		}
		delete(w.buckets, next)
		w.swept = next
		w.goal.Store(0)
	}
	dst, w.rest = w.popLocked(dst, cap(dst), w.rest, w.swept)
	return dst
}

// first returns a slot of the bucket that comes first.
func (w *wheel) first() (slot uint16, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	least, r := w.swept, w.rest
	for start, head := range w.buckets {
		if r == 0 || start < least {
			least, r = start, head
		}
	}
	if r == 0 {
		return 0, false
	}
	slot, _ = unword(w.heap.arena.words(r)[1])
	return slot, true
}

func (w *wheel) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.buckets, w.rest = true, nil, 0
}

type dueWord struct {
	word uint64
	mark uint16
}
