package node

// window is how many copies of empty slots may be under way at once, of others
// an eighth of that. It halves when copies are given up and grows by one with
// each that succeeds, so that a starved machine ends the copies it has begun
// instead of beginning them all again and again. Control loop only.
type window struct {
	size   int
	shrunk int64 // when it last did
}

const (
	windowLeast = 8 * emptyFactor
	windowFirst = 64 * emptyFactor
	windowMost  = maxCopies * emptyFactor
)

// lost takes in that copies were given up. Those begun together fall
// together, and count once.
func (w *window) lost(now int64) {
	if now-w.shrunk >= int64(copyStall)/2 {
		w.size, w.shrunk = max(w.size/2, windowLeast), now
	}
}

func (w *window) done() { w.size = min(w.size+1, windowMost) }
