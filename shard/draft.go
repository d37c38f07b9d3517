package shard

import "slices"

// A draft is a plan in the making.
type draft struct {
	seats  []seat // who may hold slots
	zones  []int  // how many seats each zone has
	width  int    // copies a slot is to have
	copies []int  // width for each slot: places in seats, primary first
	held   []int  // by seat: copies given so far
	// logs are what seat.log says, by slot and then by seat, or nil where
	// there are more than exactSeats.
	logs []uint64
}

const nobody = -1

// A seat takes its share exactly up to exactSeats seats. With more of them
// shares are small, one that is full sends its slots far, and a slack of a
// twentieth and slackSlots saves moves that a perfect balance is not worth:
// without slackSlots a join moves up to 1.5 times the minimum at 200 nodes, with
// it 1.2 times.
const (
	exactSeats = 32
	slackPart  = 20
	slackSlots = 4
)

func newDraft(members []Member, copies int) *draft {
	d := new(draft)
	zones := make(map[string]int)
	taken := make(map[string]bool)
	for i := range members {
		m := &members[i]
		name := m.seat()
		if !m.holds() {
			continue
		}
		if taken[name] {
			// A seat is for one. Who asked for another's waits for it to leave, and
			// then takes over its slots: in a rollout each moves once. Who comes
			// back and finds its own taken is scored by a name that nobody has.
			if m.Seat != "" && m.Seat != m.Name {
				continue
			}
			name += "\x00" + m.Name
		}
		taken[name] = true
		zone, known := zones[m.Zone]
		if !known {
			zone = len(d.zones)
			zones[m.Zone] = zone
			d.zones = append(d.zones, 0)
		}
		d.zones[zone]++
		weight := uint64(min(m.Weight, MaxWeight))
		d.seats = append(d.seats, seat{
			Member: m, hash: hashString(name), weight: weight, price: onePrice / weight, zone: zone,
			keys: dealer(hashString(name)),
		})
	}
	d.width = min(copies, len(d.seats))
	d.copies = slices.Repeat([]int{nobody}, Slots*d.width)
	d.held = make([]int, len(d.seats))
	if len(d.seats) <= exactSeats {
		d.logs = make([]uint64, 0, Slots*len(d.seats))
		for slot := range uint16(Slots) {
			for i := range d.seats {
				d.logs = append(d.logs, d.seats[i].log(slot))
			}
		}
	}
	return d
}

// of returns where the copies of slot are, as far as they are given.
func (d *draft) of(slot uint16) []int {
	all := d.copies[int(slot)*d.width:][:d.width]
	if n := slices.Index(all, nobody); n >= 0 {
		return all[:n]
	}
	return all
}

// give adds a copy of slot at seat i.
func (d *draft) give(slot uint16, i int) {
	d.copies[int(slot)*d.width+len(d.of(slot))] = i
	d.held[i]++
}

// copy gives every slot its nth copy, which some may have got by a pin.
func (d *draft) copy(n int, order []uint16) {
	r := &round{
		draft: d, room: d.shares(n), chosen: slices.Repeat([]int{nobody}, Slots),
		prices: make([]uint64, len(d.seats)), nth: n,
	}
	for i, share := range r.room {
		r.prices[i] = d.seats[i].price
		if len(d.seats) > exactSeats {
			share = min(Slots, share+(share+slackPart-1)/slackPart+n*slackSlots)
		}
		r.room[i] = share - d.held[i]
	}
	for _, slot := range order {
		if len(d.of(slot)) < n {
			r.slots = append(r.slots, slot)
		}
	}
	r.settle()
	for _, slot := range r.slots {
		d.give(slot, r.chosen[slot])
	}
}

// A choice says which seats may have the next copy of a slot.
type choice struct {
	*draft
	held   []int
	spread spread
}

// A spread is how far from the other copies the next one is to be.
type spread int

const (
	newZone  spread = iota // in a zone that has no copy
	offZone                // in another zone than the primary's
	anywhere               // on another node
)

// choice finds the widest spread that any seat allows; a narrower one is not
// taken for the sake of balance.
func (d *draft) choice(slot uint16) choice {
	c := choice{draft: d, held: d.of(slot)}
	if len(c.held) == 0 || len(d.zones) == 1 {
		c.spread = anywhere
		return c
	}
	home, used, away := d.seats[c.held[0]].zone, 0, 0
	for n, i := range c.held {
		zone := d.seats[i].zone
		if !slices.ContainsFunc(c.held[:n], func(j int) bool { return d.seats[j].zone == zone }) {
			used++
		}
		if zone != home {
			away++
		}
	}
	switch {
	case used < len(d.zones):
		c.spread = newZone
	case away < len(d.seats)-d.zones[home]:
		c.spread = offZone
	default:
		c.spread = anywhere
	}
	return c
}

func (c *choice) allows(i int) bool {
	for n, j := range c.held {
		sameZone := c.seats[i].zone == c.seats[j].zone
		if i == j || sameZone && (c.spread == newZone || c.spread == offZone && n == 0) {
			return false
		}
	}
	return true
}
