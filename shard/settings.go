package shard

import (
	"cmp"
	"errors"
	"maps"
	"slices"
)

// Settings are what people decided about a cluster at run time: pins, weights
// in the place of those that nodes were started with, and whether balance is
// paused. They are never changed once made; nil has none.
//
// Each pin of a slot, each weight and the pause is a register of its own. Of
// two that were set the one with the later stamp counts, so that Merge is
// commutative, idempotent and associative: settings may arrive in any order,
// twice, by any road, and after a cut both sides come to the same ones.
type Settings struct {
	pins    *[Slots]register[place]  // nil: none was ever set
	weights map[string]register[int] // by node name; NoWeight is no setting
	paused  register[bool]
	highest uint64 // of all stamps
}

// NoWeight as a weight lets a node's own weight count again.
const NoWeight = -1

// Bounds of settings. What breaks them is refused.
const (
	MaxSettings  = 4 << 20 // bytes of their wire form
	maxWeights   = 4096    // nodes that have had a weight set; of more the latest
	maxPinName   = 96      // bytes
	maxStamp     = 1 << 60
	settingsWire = 1 // version of the wire form
)

// A register is a value and when, and by whom, it was set.
type register[T comparable] struct {
	at    uint64 // counts: above every stamp that its writer knew; 0: never set
	by    NodeID
	value T
}

// before reports whether o was set later than r. Two of one stamp are the same,
// unless somebody lies; cmp then decides, so that all nodes still agree.
func (r register[T]) before(o register[T], compare func(a, b T) int) bool {
	return cmp.Or(cmp.Compare(r.at, o.at), r.by.Compare(o.by), compare(r.value, o.value)) < 0
}

// place says where a slot is to be, or not to be. The zero place says nothing.
type place struct {
	name string // of a node
	away bool   // any of its holders but this one is to be primary
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.name, o.name), compareBools(p.away, o.away))
}

// ErrSettings means that settings would exceed their bounds.
var ErrSettings = errors.New("shard: settings exceed their bounds")

// Pins returns the pins in force, by slot.
func (s *Settings) Pins() map[uint16]string {
	pins := map[uint16]string{}
	if s == nil || s.pins == nil {
		return pins
	}
	for slot := range s.pins {
		if p := s.pins[slot].value; p.name != "" && !p.away {
			pins[uint16(slot)] = p.name
		}
	}
	return pins
}

// Aways returns, by slot, the names of the nodes that are to hold slots as
// backups only, though a plan makes them primary: see Assignment.Yield.
func (s *Settings) Aways() map[uint16]string {
	aways := map[uint16]string{}
	if s == nil || s.pins == nil {
		return aways
	}
	for slot := range s.pins {
		if p := s.pins[slot].value; p.away {
			aways[uint16(slot)] = p.name
		}
	}
	return aways
}

// Placed reports whether somebody decided where slot is to be.
func (s *Settings) Placed(slot uint16) bool {
	return s != nil && s.pins != nil && slot < Slots && s.pins[slot].value.name != ""
}

// Weight returns the weight set for a node; false: its own counts.
func (s *Settings) Weight(name string) (weight int, set bool) {
	if s == nil {
		return 0, false
	}
	r, ok := s.weights[name]
	return r.value, ok && r.value != NoWeight
}

// Weights returns all weights that are set, by node name.
func (s *Settings) Weights() map[string]int {
	set := map[string]int{}
	if s != nil {
		for name, r := range s.weights {
			if r.value != NoWeight {
				set[name] = r.value
			}
		}
	}
	return set
}

// Paused reports whether balance is paused.
func (s *Settings) Paused() bool { return s != nil && s.paused.value }

// edit returns a copy to be changed and the stamp of the change.
func (s *Settings) edit() (*Settings, uint64, error) {
	c := &Settings{}
	if s != nil {
		*c = *s
	}
	if c.highest >= maxStamp {
		return nil, 0, ErrSettings
	}
	c.highest++
	return c, c.highest, nil
}

// WithPins returns settings in which slots are pinned to a node name; "" undoes
// it. by is who decides.
func (s *Settings) WithPins(slots []uint16, name string, by NodeID) (*Settings, error) {
	return s.withPlace(slots, place{name: name}, by)
}

// WithAway returns settings in which another holder than the node of that name
// is to be primary of slots. It takes the place of their pins.
func (s *Settings) WithAway(slots []uint16, name string, by NodeID) (*Settings, error) {
	return s.withPlace(slots, place{name: name, away: name != ""}, by)
}

func (s *Settings) withPlace(slots []uint16, p place, by NodeID) (*Settings, error) {
	if len(p.name) > maxPinName {
		return nil, ErrSettings
	}
	c, at, err := s.edit()
	if err != nil {
		return nil, err
	}
	pins := [Slots]register[place]{}
	if c.pins != nil {
		pins = *c.pins
	}
	for _, slot := range slots {
		if slot >= Slots {
			return nil, ErrSettings
		}
		pins[slot] = register[place]{at, by, p}
	}
	c.pins = &pins
	return c, c.check()
}

// WithWeight returns settings in which a node has a weight, or, with NoWeight,
// its own one again. Where too many names have had one it takes the place of the
// weight that was set the longest ago.
func (s *Settings) WithWeight(name string, weight int, by NodeID) (*Settings, error) {
	if len(name) > maxPinName || weight < NoWeight || weight > MaxWeight {
		return nil, ErrSettings
	}
	c, at, err := s.edit()
	if err != nil {
		return nil, err
	}
	c.weights = mergeWeights(c.weights, map[string]register[int]{name: {at, by, weight}})
	return c, c.check()
}

// WithPause returns settings in which balance is paused, or is not.
func (s *Settings) WithPause(paused bool, by NodeID) (*Settings, error) {
	c, at, err := s.edit()
	if err != nil {
		return nil, err
	}
	c.paused = register[bool]{at, by, paused}
	return c, nil
}

func (s *Settings) check() error {
	if s.pins != nil && len(s.Append(nil)) > MaxSettings {
		return ErrSettings
	}
	return nil
}

// Merge returns the later of each setting of both, and whether that differs
// from s.
func (s *Settings) Merge(o *Settings) (merged *Settings, changed bool) {
	if o == nil {
		return s, false
	}
	c := &Settings{}
	if s != nil {
		*c = *s
	}
	if c.paused.before(o.paused, compareBools) {
		c.paused, changed = o.paused, true
	}
	if weights := mergeWeights(c.weights, o.weights); !maps.Equal(weights, c.weights) {
		c.weights, changed = weights, true
	}
	if o.pins != nil {
		pins := [Slots]register[place]{}
		if c.pins != nil {
			pins = *c.pins
		}
		for slot := range pins {
			if pins[slot].before(o.pins[slot], place.compare) {
				pins[slot], changed = o.pins[slot], true
			}
		}
		c.pins = &pins
	}
	if !changed {
		return s, false
	}
	c.highest = max(c.highest, o.highest)
	return c, true
}

// mergeWeights forgets the oldest beyond the bound: the same ones on every node
// that knows the same.
func mergeWeights(a, b map[string]register[int]) map[string]register[int] {
	merged := map[string]register[int]{}
	for _, weights := range []map[string]register[int]{a, b} {
		for name, r := range weights {
			if old, ok := merged[name]; !ok || old.before(r, cmp.Compare) {
				merged[name] = r
			}
		}
	}
	if len(merged) > maxWeights {
		names := slices.SortedFunc(maps.Keys(merged), func(x, y string) int {
			return cmp.Or(cmp.Compare(merged[y].at, merged[x].at), merged[y].by.Compare(merged[x].by), cmp.Compare(x, y))
		})
		for _, name := range names[maxWeights:] {
			delete(merged, name)
		}
	}
	return merged
}

func compareBools(a, b bool) int {
	number := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	return number(a) - number(b)
}
