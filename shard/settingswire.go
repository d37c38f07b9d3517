package shard

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Settings on the wire and on disk, numbers as unsigned varints unless said
// otherwise:
//
//	version, one byte
//	number of writers; each 16 bytes
//	number of names; each length and bytes
//	the pause: stamp, writer, 0 or 1
//	number of weights; each: name, stamp, writer, weight+1
//	number of runs of pins; each: slots since the run before, slots in it,
//	  stamp, writer, 0 for no pin, 2*name+1 for a pin, 2*name+2 for away from it
//
// Writers and names are referred to by their places. A later release appends
// fields; this one skips them.

// Append appends the wire form of s to dst.
func (s *Settings) Append(dst []byte) []byte {
	if s == nil {
		s = &Settings{}
	}
	var writers, names index
	runs := s.runs()
	writers.add(string(s.paused.by[:]))
	sorted := slices.Sorted(maps.Keys(s.weights))
	for _, name := range sorted {
		names.add(name)
		by := s.weights[name].by
		writers.add(string(by[:]))
	}
	for _, r := range runs {
		writers.add(string(r.by[:]))
		if r.value.name != "" {
			names.add(r.value.name)
		}
	}
	num := func(vs ...uint64) {
		for _, v := range vs {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	dst = append(dst, settingsWire)
	num(uint64(len(writers.list)))
	for _, w := range writers.list {
		dst = append(dst, w...)
	}
	num(uint64(len(names.list)))
	for _, name := range names.list {
		num(uint64(len(name)))
		dst = append(dst, name...)
	}
	pause := uint64(0)
	if s.paused.value {
		pause = 1
	}
	num(s.paused.at, writers.at[string(s.paused.by[:])], pause)
	num(uint64(len(sorted)))
	for _, name := range sorted {
		r := s.weights[name]
		num(names.at[name], r.at, writers.at[string(r.by[:])], uint64(r.value+1))
	}
	num(uint64(len(runs)))
	end := 0
	for _, r := range runs {
		name := uint64(0)
		if r.value.name != "" {
			name = 2*names.at[r.value.name] + 1
		}
		if r.value.away {
			name++
		}
		num(uint64(r.first-end), uint64(r.count), r.at, writers.at[string(r.by[:])], name)
		end = r.first + r.count
	}
	return dst
}

// index gives strings numbers.
type index struct {
	list []string
	at   map[string]uint64
}

func (x *index) add(s string) {
	if _, ok := x.at[s]; ok {
		return
	}
	if x.at == nil {
		x.at = map[string]uint64{}
	}
	x.at[s] = uint64(len(x.list))
	x.list = append(x.list, s)
}

// run is neighbouring slots of one register.
type run struct {
	register[place]
	first, count int
}

func (s *Settings) runs() (runs []run) {
	if s.pins == nil {
		return nil
	}
	for slot := range s.pins {
		r := s.pins[slot]
		last := len(runs) - 1
		switch {
		case r.at == 0:
		case last >= 0 && runs[last].register == r && runs[last].first+runs[last].count == slot:
			runs[last].count++
		default:
			runs = append(runs, run{r, slot, 1})
		}
	}
	return runs
}

// DecodeSettings reads what Append wrote. The result shares no memory with b.
func DecodeSettings(b []byte) (*Settings, error) {
	if len(b) > MaxSettings {
		return nil, fmt.Errorf("decode settings: %w", ErrSettings)
	}
	s, err := decodeSettings(b)
	if err != nil {
		return nil, fmt.Errorf("decode settings: %w", err)
	}
	return s, nil
}

func decodeSettings(b []byte) (*Settings, error) {
	if len(b) == 0 {
		return nil, errTruncated
	}
	if b[0] != settingsWire {
		return nil, fmt.Errorf("version %d, not %d", b[0], settingsWire)
	}
	d := settingsDecoder{decoder: decoder{b: b[1:]}, s: &Settings{}}
	d.readWriters()
	d.readNames()
	d.s.paused.at, d.s.paused.by = d.stamp()
	d.s.paused.value = d.number(1) == 1
	d.readWeights()
	d.readPins()
	if d.err != nil {
		return nil, d.err
	}
	return d.s, nil
}

// settingsDecoder reads settings, part by part. After an error the rest reads nothing.
type settingsDecoder struct {
	decoder
	s       *Settings
	writers []NodeID
	names   []string
}

func (d *settingsDecoder) readWriters() {
	d.writers = make([]NodeID, d.count(len(NodeID{})))
	for i := range d.writers {
		d.b = d.b[copy(d.writers[i][:], d.b):]
	}
}

func (d *settingsDecoder) readNames() {
	d.names = make([]string, d.count(1))
	for i := range d.names {
		size := int(d.number(maxPinName))
		if d.err == nil && size > len(d.b) {
			d.err = errTruncated
		}
		if d.err != nil {
			return
		}
		d.names[i], d.b = string(d.b[:size]), d.b[size:]
	}
}

// stamp reads when, and by whom, a register was set.
func (d *settingsDecoder) stamp() (at uint64, by NodeID) {
	at = d.number(maxStamp)
	i := d.number(math.MaxUint32)
	if d.err == nil && i >= uint64(len(d.writers)) {
		d.err = errNumber
	}
	if d.err != nil {
		return 0, NodeID{}
	}
	d.s.highest = max(d.s.highest, at)
	return at, d.writers[i]
}

func (d *settingsDecoder) readWeights() {
	for range d.count(4) {
		i := d.number(math.MaxUint32)
		at, by := d.stamp()
		weight := int(d.number(MaxWeight+1)) - 1
		if d.err == nil && (i >= uint64(len(d.names)) || at == 0 || len(d.s.weights) >= maxWeights) {
			d.err = errNumber
		}
		if d.err != nil {
			return
		}
		if d.s.weights == nil {
			d.s.weights = map[string]register[int]{}
		}
		d.s.weights[d.names[i]] = register[int]{at, by, weight}
	}
}

func (d *settingsDecoder) readPins() {
	end := 0
	for range d.count(5) {
		first := end + int(d.number(Slots))
		end = first + int(d.number(Slots))
		at, by := d.stamp()
		i := d.number(math.MaxUint32)
		if d.err == nil && (end > Slots || at == 0 || i > 2*uint64(len(d.names))) {
			d.err = errNumber
		}
		if d.err != nil {
			return
		}
		p := place{}
		if i > 0 {
			p = place{name: d.names[(i-1)/2], away: i%2 == 0}
			p.away = p.away && p.name != ""
		}
		if d.s.pins == nil {
			d.s.pins = new([Slots]register[place])
		}
		for slot := first; slot < end; slot++ {
			d.s.pins[slot] = register[place]{at, by, p}
		}
	}
}

// count reads how many things of at least so many bytes follow.
func (d *decoder) count(size int) int {
	n := d.number(uint64(len(d.b)))
	if d.err == nil && n*uint64(size) > uint64(len(d.b)) {
		d.err = errTruncated
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}
