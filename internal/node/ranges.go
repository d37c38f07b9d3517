package node

import (
	"encoding/binary"
	"math"

	"github.com/slotmesh/slotmesh/store"
)

// A learner that has most of a slot already, from its disk, is sent the digests
// of ranges of the hash space first, and then the records of those ranges alone
// that it has not got. Ranges are so narrow that most hold one record at most:
// where one record in ten was rewritten, about one in eight is sent again.
const (
	rangesPerRecord = 3
	maxRanges       = 4096 // of one list; a large slot takes several lists
	skipRecords     = 256  // gaps of about so many records are skipped rather than read
)

// span is the hashes from lo to hi, both included.
type span struct{ lo, hi uint64 }

var wholeSlot = []span{{0, math.MaxUint64}}

// rangeList is a part of a slot's hash space, cut into ranges of one width,
// and the digest of each.
type rangeList struct {
	span
	digests []store.Digest
}

// at is the range of an index. The last one takes what is left over.
func (l *rangeList) at(i int) span {
	n := len(l.digests)
	width := (l.hi - l.lo) / uint64(n)
	r := span{l.lo + uint64(i)*width, l.hi}
	if i < n-1 {
		r.hi = r.lo + width - 1
	}
	return r
}

// pack appends the digests: their number of records, and their sums where that
// is not 0.
func (l *rangeList) pack(b []byte) []byte {
	for _, d := range l.digests {
		b = binary.AppendUvarint(b, uint64(d.Records))
		if d.Records > 0 {
			b = binary.BigEndian.AppendUint64(b, d.Sum)
		}
	}
	return b
}

// unpackRanges reads a list of n ranges within s; ok is false where there is
// no such list.
func unpackRanges(s span, n uint64, b []byte) (l rangeList, ok bool) {
	if n == 0 || n > maxRanges || n > uint64(len(b)) || s.lo > s.hi || s.hi-s.lo < n {
		return l, false
	}
	l = rangeList{s, make([]store.Digest, n)}
	f := fields{b: b}
	for i := range l.digests {
		count := f.num()
		if f.bad || count > math.MaxInt32 {
			return l, false
		}
		if count == 0 {
			continue
		}
		if len(f.b) < 8 {
			return l, false
		}
		l.digests[i] = store.Digest{Sum: binary.BigEndian.Uint64(f.b), Records: int(count)}
		f.b = f.b[8:]
	}
	return l, len(f.b) == 0
}

// spans merges the ranges that bits names, of which those that are missing are
// 0, into as few spans as there can be. Ranges without records are left out.
func (l *rangeList) spans(bits []byte) (spans []span) {
	for i, d := range l.digests {
		if i/8 >= len(bits) || bits[i/8]>>(i%8)&1 == 0 || d.Records == 0 {
			continue
		}
		r := l.at(i)
		if k := len(spans); k > 0 && spans[k-1].hi+1 == r.lo {
			spans[k-1].hi = r.hi
			continue
		}
		spans = append(spans, r)
	}
	return spans
}

// confirm takes over into an open generation what e has of the ranges, and
// returns the bits of the ranges that have to be sent; nil if none has. Ranges
// side by side are taken over at once.
func (l *rangeList) confirm(e store.Engine, slot uint16, gen store.Generation) (wanted []byte, err error) {
	want := func(i int) {
		if wanted == nil {
			wanted = make([]byte, (len(l.digests)+7)/8)
		}
		wanted[i/8] |= 1 << (i % 8)
	}
	first, sum := 0, store.Digest{} // the ranges since first are the same, and have this digest
	take := func(end int) error {
		if sum.Records > 0 {
			same, err := e.Confirm(slot, gen, l.at(first).lo, l.at(end-1).hi, sum)
			if err != nil {
				return err
			}
			for i := first; i < end && !same; i++ { // it changed meanwhile
				want(i)
			}
		}
		first, sum = end+1, store.Digest{}
		return nil
	}
	for i, d := range l.digests {
		r := l.at(i)
		own, err := e.Digest(slot, r.lo, r.hi)
		if err != nil {
			return nil, err
		}
		if own == d {
			sum.Sum, sum.Records = sum.Sum+d.Sum, sum.Records+d.Records
			continue
		}
		if err := take(i); err != nil {
			return nil, err
		}
		if d.Records > 0 {
			want(i)
		}
	}
	return wanted, take(len(l.digests))
}

// rangeWalk is how far a primary has got with the lists of a slot.
type rangeWalk struct {
	list  rangeList // the latest
	total uint64    // ranges of all lists
	next  uint64    // of them were listed
}

// newWalk begins to list a slot of so many records.
func newWalk(records int) *rangeWalk {
	return &rangeWalk{total: rangesPerRecord * uint64(max(1, records))}
}

func (w *rangeWalk) over() bool { return w.next == w.total }

// advance makes the next list.
func (w *rangeWalk) advance(e store.Engine, slot uint16) error {
	n := min(maxRanges, w.total-w.next)
	width := math.MaxUint64 / w.total
	s := span{w.next * width, (w.next+n)*width - 1}
	if w.next += n; w.over() {
		s.hi = math.MaxUint64
	}
	w.list = rangeList{s, make([]store.Digest, n)}
	for i := range w.list.digests {
		r := w.list.at(i)
		d, err := e.Digest(slot, r.lo, r.hi)
		if err != nil {
			return err
		}
		w.list.digests[i] = d
	}
	return nil
}

// placeBefore is a place in a slot's order with all records of the hash, and
// of higher ones, behind it.
func placeBefore(hash uint64) store.Cursor {
	if hash == 0 {
		return store.Cursor{}
	}
	return store.Cursor{Hash: hash - 1, Kind: math.MaxUint8, Started: true}
}
