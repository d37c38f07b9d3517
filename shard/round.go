package shard

import (
	"math/bits"
	"slices"
)

// A round gives each slot one more copy, within the room that seats have.
//
// Slots choose one after another, each the seat of least cost that still has
// room. The order is fixed and has nothing to do with seats. So most slots get
// their first choice whoever else is there, and only the last few, which find
// seats full, move when shares change a little. (It is the stable matching in
// which all seats like slots in the same order. Seats that prefer the slots of
// least cost moved 1 % more on a join at up to 20 nodes, and took a heap each.)
type round struct {
	*draft
	room   []int
	slots  []uint16 // in the order in which they choose
	chosen []int    // by slot: a place in seats, or nobody
	prices []uint64 // of seats, tuned
	nth    int      // 1 for primaries
}

// choosing returns all slots in the order in which they choose.
func choosing() []uint16 {
	slots, keys := make([]uint16, Slots), make([]uint64, Slots)
	shift := 65 - bits.Len(Slots) // what is left is below Slots, a power of two
	var starts [Slots + 1]uint16  // of the keys that begin with the same bits, in slots
	for i := range keys {
		keys[i] = mix(^uint64(i)) // mix is a bijection: never equal
		starts[keys[i]>>shift+1]++
	}
	for i := range Slots {
		starts[i+1] += starts[i]
	}
	for i, key := range keys {
		at := &starts[key>>shift]
		slots[*at] = uint16(i)
		*at++
	}
	// Now each is at most a few places from its own.
	for i := range slots {
		for ; i > 0 && keys[slots[i-1]] > keys[slots[i]]; i-- {
			slots[i-1], slots[i] = slots[i], slots[i-1]
		}
	}
	return slots
}

// settle chooses, and finds a place for slots that found no room.
func (r *round) settle() {
	r.tune()
	left := r.swap(r.choose())
	for tries := 0; tries < maxWiden && len(left) > len(r.seats); tries++ {
		// Shares cannot be kept to, where zones ask for more.
		r.widen(left)
		left = r.swap(r.choose())
	}
	r.force(left)
}

// Bounds of the work in a round.
const (
	maxWiden  = 8
	maxFailed = 16
)

// tune makes the seats that more slots want than they have room for dearer, and
// the others cheaper, by part of what would even them. Fewer slots then choose
// among the last seats that have room, whose moves depend on all others. To even
// seats by prices alone moves more, though: each price that changes a little
// moves slots to and from all other seats.
//
// Without it one join in a hundred at 20 seats moves 1.15 times the minimum or
// more, and two copies of each slot move 1.10 times it on average; with it one
// in some thousand does, and copies move 1.085 times.
func (r *round) tune() {
	if len(r.seats) > exactSeats {
		return // they have slack
	}
	wanted := make([]int, len(r.seats))
	for _, slot := range r.slots {
		if i := r.cheapest(slot, r.room); i != nobody {
			wanted[i]++
		}
	}
	for i, room := range r.room {
		if room <= 0 {
			continue
		}
		step := r.prices[i] / uint64(tuneBy*r.nth*room)
		if more := min(wanted[i]-room, room); more >= 0 {
			r.prices[i] += step * uint64(more)
		} else {
			r.prices[i] -= step * uint64(-more)
		}
	}
}

// A seat whose first copies are wanted by a tenth too many is a twentieth dearer.
// Second copies take half of that, and so on: those of a slot that turns away
// from one seat meet prices of their own.
const tuneBy = 2

// choose lets all slots choose anew and returns those that found no room.
func (r *round) choose() (left []uint16) {
	free := slices.Clone(r.room)
	for _, slot := range r.slots {
		i := r.cheapest(slot, free)
		r.chosen[slot] = i
		if i == nobody {
			left = append(left, slot)
		} else {
			free[i]--
		}
	}
	return left
}

// cheapest returns the seat of least cost for slot of those that it may have
// and that have room, or nobody.
func (r *round) cheapest(slot uint16, room []int) int {
	best, least := nobody, uint64(0)
	c := r.choice(slot)
	for i, free := range room {
		if free <= 0 || !c.allows(i) {
			continue
		}
		if cost := r.cost(slot, i); best == nobody || cost < least {
			best, least = i, cost
		}
	}
	return best
}

func (r *round) cost(slot uint16, i int) uint64 {
	if r.logs != nil {
		return cost(r.logs[int(slot)*len(r.seats)+i], r.prices[i])
	}
	return cost(r.seats[i].log(slot), r.prices[i])
}

// free returns the room that is left.
func (r *round) free() []int {
	free := slices.Clone(r.room)
	for _, slot := range r.slots {
		if i := r.chosen[slot]; i != nobody {
			free[i]--
		}
	}
	return free
}

// swap finds room for those of left that it can, and returns the others. All
// room that remains is at seats that they may not have, such as their own
// primary's: another slot gives way to them and goes there. The last to choose
// are asked first, since those move most in any case. It gives up when several
// slots found nothing.
func (r *round) swap(left []uint16) []uint16 {
	free := r.free()
	at, failed := len(r.slots), 0
	return slices.DeleteFunc(left, func(slot uint16) bool {
		if failed == maxFailed {
			return false
		}
		c := r.choice(slot)
		for range r.slots {
			// Go on where the one before found something, and round.
			at = (at + len(r.slots) - 1) % len(r.slots)
			other := r.slots[at]
			from := r.chosen[other]
			if from == nobody || !c.allows(from) {
				continue
			}
			if to := r.cheapest(other, free); to != nobody {
				r.chosen[slot], r.chosen[other] = from, to
				free[to]--
				return true
			}
		}
		failed++
		return false
	})
}

// widen makes room for slots that were left over, at the seats that they may
// have, in proportion to the weights.
func (r *round) widen(left []uint16) {
	wanted := make([]bool, len(r.seats))
	var weights uint64
	for _, slot := range left {
		c := r.choice(slot)
		for i := range r.seats {
			if !wanted[i] && c.allows(i) {
				wanted[i] = true
				weights += r.seats[i].weight
			}
		}
	}
	for i := range r.seats {
		if wanted[i] {
			more := (uint64(len(left))*r.seats[i].weight + weights - 1) / weights
			r.room[i] += int(more)
		}
	}
}

// force gives slots that were left over to the seats least above their room.
func (r *round) force(left []uint16) {
	free := r.free()
	for _, slot := range left {
		best, least := nobody, uint64(0)
		c := r.choice(slot)
		for i := range r.seats {
			if !c.allows(i) {
				continue
			}
			cost := r.cost(slot, i)
			if best == nobody || free[i] > free[best] || free[i] == free[best] && cost < least {
				best, least = i, cost
			}
		}
		r.chosen[slot] = best
		free[best]--
	}
}
