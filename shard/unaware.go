package shard

import (
	"maps"
	"slices"
)

// unaware holds the slots in which a claim is in force that succeeds a primary
// without its leave, and of which that has not said that it knows.
type unaware struct {
	slots  map[uint16]bool
	passed int    // how many times Resend since deaths
	deaths uint64 // Core.deaths when it was last looked at
}

func (u *unaware) of(slot uint16) bool { return u != nil && u.slots[slot] }

// tellUnaware sends a primary the claim that succeeds it.
func (c *Core) tellUnaware(old NodeID, slot uint16, s *slotState) {
	u := c.unaware[old]
	if u == nil {
		u = &unaware{slots: map[uint16]bool{}, deaths: c.deaths}
		c.unaware[old] = u
	}
	again := u.slots[slot]
	u.slots[slot] = true
	c.post(old, Message{Kind: MsgInForce, Slot: slot, Epoch: s.known.Epoch, Seat: old, Known: s.known}, again)
}

// aware takes note that a primary knows that it was succeeded in slot.
func (c *Core) aware(old NodeID, slot uint16) {
	u := c.unaware[old]
	if !u.of(slot) {
		return
	}
	if delete(u.slots, slot); len(u.slots) == 0 {
		delete(c.unaware, old)
	}
	if a := c.at(slot).attempt; a == nil || !slices.Contains(a.against, old) {
		c.lent.release(old, slot)
	}
}

// tellAllUnaware tells those again that have not answered, all their slots.
func (c *Core) tellAllUnaware() {
	// In order, so that a walk of a simulation can be repeated.
	for _, old := range slices.SortedFunc(maps.Keys(c.unaware), NodeID.Compare) {
		u := c.unaware[old]
		if u.deaths != c.deaths {
			u.deaths, u.passed = c.deaths, 0
		}
		u.passed++
		now := len(u.slots) < crowd || u.passed&(u.passed-1) == 0 || u.passed%(1<<seldom) == 0
		for _, slot := range slices.Sorted(maps.Keys(u.slots)) {
			if s := c.at(slot); c.gone[old] || s.known.Primary == old {
				c.aware(old, slot)
			} else if now && !c.IsDown(old) {
				c.tellUnaware(old, slot, s)
			}
		}
	}
}
