package node

import "github.com/slotmesh/slotmesh/store"

// Guess reads keys of a slot from a copy in sync on this node, all as they are at
// one moment. Every acknowledged write is in it while the copy is in sync, but
// whether it still is, and what is acknowledged, only the primary knows: what was
// guessed is to be confirmed there, by the versions. ok is false where there is no
// such copy, or it cannot tell.
func (n *Node) Guess(slot uint16, keys []string) (reads []Result, ok bool) {
	s := &n.slots[slot]
	s.mu.Lock()
	defer s.mu.Unlock()
	st, known := &s.stream, s.view.Known
	if known == nil || s.view.Primary || !known.Holds(n.id) || s.duty != nil || st.filling || st.primary != known.Primary || st.epoch != known.Epoch {
		return nil, false
	}
	now := n.slotTime(n.env.Now())
	reads = make([]Result, len(keys))
	size := 0
	for i, key := range keys {
		it, err := n.engine.Get(nil, slot, 0, key, "", now)
		if size += len(it.Value); err != nil || it.State == store.NotResident || it.State == store.Expired || size > maxTxnReads {
			return nil, false
		}
		if exists(&it) {
			reads[i] = Result{Found: true, Value: it.Value, Version: it.Version, Expiry: it.Expiry, Schema: it.Schema}
		}
	}
	return reads, true
}
