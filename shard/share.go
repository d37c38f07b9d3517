package shard

// shares returns how many copies each seat should have of n of every slot. As
// long as there are zones for n copies, none has two of a slot: a zone that by
// its weight would have more copies than there are slots has that many, and the
// others have more.
func (d *draft) shares(n int) []int {
	shares := make([]int, len(d.seats))
	open := make([]int, len(d.seats)) // places of the seats that share total
	for i := range open {
		open[i] = i
	}
	total := n * Slots
	d.divide(shares, open, total)
	for n <= len(d.zones) {
		inZone := make([]int, len(d.zones))
		full, most := nobody, Slots
		for _, i := range open {
			zone := d.seats[i].zone
			if inZone[zone] += shares[i]; inZone[zone] > most {
				full, most = zone, inZone[zone]
			}
		}
		if full == nobody {
			break
		}
		var in, out []int
		for _, i := range open {
			if d.seats[i].zone == full {
				in = append(in, i)
			} else {
				out = append(out, i)
			}
		}
		open, total = out, total-Slots
		d.divide(shares, in, Slots)
		d.divide(shares, open, total)
	}
	return shares
}

// divide divides total among the seats at places in proportion to their
// weights, each within its bounds: at least what it holds, at most Slots, as no
// node has two copies of a slot. The sum is total, which the bounds must allow.
//
// It is water rising at the same level in vessels as wide as the weights: level
// is found by bisection, and what one more step of it would be too much goes to
// the first seats that the step would have given to.
func (d *draft) divide(shares, places []int, total int) {
	share := func(i int, level uint64) int {
		// Rounded, as rounding down favours the heavy. Nothing overflows: a
		// level is below 2^39, a weight at most 2^16.
		water := (level*d.seats[i].weight + 1<<(levelBits-1)) >> levelBits
		return max(d.held[i], int(min(water, Slots)))
	}
	low, high := uint64(0), uint64(Slots)<<levelBits // even weight 1 is full at high
	for low+1 < high {
		level := (low + high) / 2
		sum := 0
		for _, i := range places {
			sum += share(i, level)
		}
		if sum <= total {
			low = level
		} else {
			high = level
		}
	}
	for _, i := range places {
		shares[i] = share(i, low)
		total -= shares[i]
	}
	for _, i := range places {
		if more := min(total, share(i, high)-shares[i]); more > 0 {
			shares[i] += more
			total -= more
		}
	}
}

// levelBits is the number of bits after the point of a level: so many that a
// step adds less than one slot to the heaviest seat.
const levelBits = 24
