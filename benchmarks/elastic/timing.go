package main

import (
	"errors"
	"time"

	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
)

const (
	unthrottled = 4 << 30 // bytes a second: more than there can be
	movedValue  = 1 << 10
	pollTime    = 25 * time.Millisecond
)

// timed is what one timing gave.
type timed struct {
	System   string  `json:"system"`
	Scenario string  `json:"scenario"`
	Keys     int     `json:"keys"`
	Seconds  float64 `json:"seconds"`
	Moved    uint64  `json:"bytes_moved"`
	// Rate is how many million bytes a second were copied, from the first to
	// the last; 0 where that is not asked.
	Rate float64 `json:"mb_per_second,omitempty"`
}

// timing is how long something takes that nobody calls meanwhile.
type timing struct {
	name string
	run  func(keys int, verbose bool) (timed, error)
}

var timings = []timing{
	{"unthrottled_move", move},
	{"shutdown_in_sync", shutdown},
}

// filled starts replicas without a budget and a guest that fills them.
func filled(replicas, keys, size int, verbose bool) (*mesh.Fleet, error) {
	f, err := mesh.StartBudget(replicas, backups, verbose, unthrottled)
	if err != nil {
		return nil, err
	}
	guest, err := f.Join(true)
	if err == nil {
		err = f.AwaitBalance(changeTime)
	}
	if err == nil {
		err = f.Replicas[guest].Call(fillTime, "Load.Fill", FillArgs{keys, size}, &struct{}{})
	}
	if err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

// move has a second replica join a first one, and so get a copy of everything:
// of a fifth of the keys, with values of 1 KiB.
func move(keys int, verbose bool) (l timed, err error) {
	l.Keys = keys / 5
	f, err := filled(1, l.Keys, movedValue, verbose)
	if err != nil {
		return l, err
	}
	defer f.Stop()
	before, err := f.BytesCopied()
	if err != nil {
		return l, err
	}
	if _, err := f.Join(false); err != nil {
		return l, err
	}
	want := uint64(l.Keys) * recordBytes(movedValue)
	var first time.Time
	for deadline := time.Now().Add(changeTime); l.Moved < want; time.Sleep(pollTime) {
		now, err := f.BytesCopied()
		if err != nil {
			return l, err
		}
		if l.Moved = now - before; l.Moved > 0 && first.IsZero() {
			first = time.Now()
		}
		if time.Now().After(deadline) {
			return l, errors.New("the copies take too long")
		}
	}
	l.Seconds = time.Since(first).Seconds()
	l.Rate = float64(l.Moved) / 1e6 / l.Seconds
	return l, f.AwaitBalance(changeTime)
}

// shutdown has one of two replicas leave, whose slots are all in sync on the other.
func shutdown(keys int, verbose bool) (l timed, err error) {
	l.Keys = keys
	f, err := filled(2, keys, valueBytes, verbose)
	if err != nil {
		return l, err
	}
	defer f.Stop()
	before, err := f.BytesCopied()
	if err != nil {
		return l, err
	}
	begun := time.Now()
	err = f.Leave(0, changeTime)
	l.Seconds = time.Since(begun).Seconds()
	if err != nil {
		return l, err
	}
	after, err := f.BytesCopied()
	l.Moved = after - before
	return l, err
}
