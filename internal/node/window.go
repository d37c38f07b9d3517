package node

// window is how many slots may be on their way at once. It halves when some do
// not arrive and grows by one with each that does, as TCP's does, so that a
// starved machine ends what it has begun instead of beginning it all again and
// again. It counts empty slots; of those with records an eighth is allowed. Control
// loop only.
type window struct {
	size, least, most int
	shrunk            int64 // when it last did
}

// newWindow makes a window for at most so many slots with records.
func newWindow(most int) window {
	return window{size: most * emptyFactor / 8, least: most * emptyFactor / 64, most: most * emptyFactor}
}

// lost takes in that some did not arrive. Those begun together fall together, and
// count once.
func (w *window) lost(now int64) {
	if now-w.shrunk >= int64(copyStall)/2 {
		w.size, w.shrunk = max(w.size/2, w.least), now
	}
}

func (w *window) done() { w.size = min(w.size+1, w.most) }

// atOnce is how many slots like s may be on their way at once, most being the
// limit for those with records.
func (n *Node) atOnce(w *window, most int, s *slot) int {
	if st := n.engine.SlotStats(s.no); st.Records == 0 {
		return min(w.size, most*emptyFactor)
	}
	return min(w.size/emptyFactor, most)
}
