package transport

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSlotOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		enc := newEncoder(testSender)
		slot := rapid.OneOf(rapid.Uint16Range(1, 300), rapid.Uint16Min(1)).Draw(t, "slot")
		wanted := true
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			r := drawRequest(t)
			r.Slot, r.Op = slot, Op(rapid.Uint8Range(0, 40).Draw(t, "op"))
			wanted = r.Op != OpGet
			enc.request(&r)
		case 1:
			a := drawAppend(t)
			a.Slot = slot
			enc.append(&a)
		case 2:
			a := drawAck(t)
			a.Slot = slot
			enc.ack(&a)
		}
		k, msg, _, err := next(enc.buf)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := slotOf(k, msg); ok != wanted || ok && got != slot {
			t.Errorf("slotOf = %d, %v, want %d, %v", got, ok, slot, wanted)
		}
		for n := range msg { // cut short: whatever, but no panic
			slotOf(k, msg[:n])
		}
	})
}

// The handler hears of what a batch holds before the first of it.
func TestHandlerIsToldAhead(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		const n = 100
		ahead := map[uint16]int{} // by slot: how many appends to come
		told, most := 0, 0
		done := make(chan struct{})
		ha, hb := newHandler(), newHandler()
		hb.ahead = func(slots []uint16) {
			most = max(most, len(slots))
			for _, slot := range slots {
				ahead[slot]++
			}
		}
		hb.append_ = func(_ *Peer, a *Append) {
			if ahead[a.Slot] > 0 {
				ahead[a.Slot]--
				told++
			}
			if a.Version == n {
				close(done)
			}
		}
		a, b := startNode(t, nw, 1, ha, nil), startNode(t, nw, 2, hb, nil)
		ab, _ := connect(t, a, b)
		a.Hold() // so that they leave together
		for i := uint64(1); i <= n; i++ {
			if err := ab.SendAppend(&Append{Slot: uint16(i), Version: i}); err != nil {
				t.Fatal(err)
			}
		}
		a.Release()
		receive(t, done)
		if told != n || most != aheadMost {
			t.Errorf("%d of %d appends were told ahead, %d at a time, want all, %d", told, n, most, aheadMost)
		}
	})
}
