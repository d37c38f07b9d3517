// Iot keeps the readings of ten thousand devices, which arrive at a fixed rate
// through several replicas. Each reading is kept for a while, and each device's
// last one for as long as the device counts as heard of: who falls silent is
// noticed by that key being gone. All keys of a device share its hash tag, so
// that they are in one slot.
//
//	go run ./examples/iot
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/examples/internal/fleet"
)

const (
	devices = 10_000
	rate    = 8_000           // readings per second, of all devices
	rounds  = 4               // readings of each device, which makes 5 s
	batch   = 100             // devices whose readings arrive together
	keep    = 2 * time.Minute // how long a reading is kept
	heard   = 3 * time.Second // after its last reading a device counts as silent
)

// silent devices send their first reading and no other.
func silent(device int) bool { return device%batch == 7 }

type reading struct {
	Device, Round int
	Celsius       float64
}

func read(device, round int) reading {
	return reading{device, round, 20 + float64((device*7+round*13)%100)/10}
}

func lastKey(device int) string           { return fmt.Sprintf("{device-%05d}:last", device) }
func readingKey(device, round int) string { return fmt.Sprintf("{device-%05d}:%d", device, round) }

func main() { fleet.Run("iot", 3, collect) }

func collect(ctx context.Context, replicas []*slotmesh.Cache) error {
	w, err := receive(ctx, replicas)
	if err != nil {
		return err
	}
	slices.Sort(w.durations)
	fmt.Printf("%d readings of %d devices in %v: %.0f/s, %d/s while none is silent\n",
		w.readings, devices, w.took.Round(time.Millisecond), float64(w.readings)/w.took.Seconds(), rate)
	fmt.Printf("%d of them at a time took %v (median), %v (99 %%), and began at most %v late\n", batch,
		w.durations[len(w.durations)/2].Round(10*time.Microsecond), w.durations[len(w.durations)*99/100].Round(10*time.Microsecond), w.late.Round(time.Millisecond))
	// Each is looked for through a replica that did not receive it.
	return errors.Join(checkReadings(ctx, replicas), checkDevices(ctx, replicas, w))
}

// work is what was received, and when.
type work struct {
	mu        sync.Mutex
	err       error
	readings  int
	took      time.Duration
	durations []time.Duration // of storing a batch
	late      time.Duration   // the most that a batch began after it was due

	// Between these the last reading of each device was stored.
	before, after [devices]time.Time
}

// receive stores every batch at its time. Those of a device all come through
// one replica, one after the other.
func receive(ctx context.Context, replicas []*slotmesh.Cache) (*work, error) {
	w := &work{}
	began := time.Now()
	var wg sync.WaitGroup
	for i, cache := range replicas {
		view := slotmesh.For[reading](cache, "")
		wg.Go(func() {
			for n := range rounds * devices / batch {
				if n%(devices/batch)%len(replicas) != i {
					continue
				}
				due := began.Add(time.Duration(n) * batch * time.Second / rate)
				time.Sleep(time.Until(due))
				late := time.Since(due)
				if err := w.store(ctx, view, n%(devices/batch)*batch, n/(devices/batch), late); err != nil {
					w.mu.Lock()
					w.err = errors.Join(w.err, err)
					w.mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	w.took = max(time.Since(began), rounds*devices*time.Second/rate) // the last batch's time, too
	return w, w.err
}

// store keeps a reading of each of a batch's devices.
func (w *work) store(ctx context.Context, view *slotmesh.Typed[reading], first, round int, late time.Duration) error {
	var readings, last []slotmesh.TypedEntry[reading]
	for device := first; device < first+batch; device++ {
		if round > 0 && silent(device) {
			continue
		}
		r := read(device, round)
		readings = append(readings, slotmesh.TypedEntry[reading]{Key: readingKey(device, round), Value: r})
		last = append(last, slotmesh.TypedEntry[reading]{Key: lastKey(device), Value: r})
	}
	before := time.Now()
	errs := append(view.SetMany(ctx, readings, slotmesh.TTL(keep)), view.SetMany(ctx, last, slotmesh.TTL(heard))...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store readings of devices %d to %d: %w", first, first+batch-1, err)
	}
	after := time.Now()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.readings += len(readings)
	w.durations = append(w.durations, after.Sub(before))
	w.late = max(w.late, late)
	for _, r := range last {
		w.before[r.Value.Device], w.after[r.Value.Device] = before, after
	}
	return nil
}

// other is a view through a replica that did not receive the batch.
func other(replicas []*slotmesh.Cache, first int) *slotmesh.Typed[reading] {
	return slotmesh.For[reading](replicas[(first/batch+1)%len(replicas)], "")
}

// checkReadings wants every reading there, as it was and with its TTL.
func checkReadings(ctx context.Context, replicas []*slotmesh.Cache) error {
	found, want := 0, 0
	var fault error // the first
	for first := 0; first < devices; first += batch {
		var keys []string
		var sent []reading
		for device := first; device < first+batch; device++ {
			for round := range rounds {
				if round == 0 || !silent(device) {
					keys, sent = append(keys, readingKey(device, round)), append(sent, read(device, round))
				}
			}
		}
		want += len(keys)
		for i, r := range other(replicas, first).GetMany(ctx, keys) {
			left := time.Until(r.Expires)
			switch {
			case r.Err == nil && r.Value == sent[i] && left > 0 && left <= keep:
				found++
			case fault == nil:
				fault = fmt.Errorf("%s is %+v, expires in %v (%v), want %+v", r.Key, r.Value, left, r.Err, sent[i])
			}
		}
	}
	fmt.Printf("%d of %d readings are there, each with its TTL\n", found, want)
	if found != want {
		return fmt.Errorf("%d of %d readings are missing or wrong: %w", want-found, want, fault)
	}
	return nil
}

// checkDevices wants the last reading of every device that was heard of, and
// of no other.
func checkDevices(ctx context.Context, replicas []*slotmesh.Cache, w *work) error {
	for device := range devices {
		if silent(device) {
			time.Sleep(time.Until(w.after[device].Add(heard + time.Millisecond))) // TTLs round up
		}
	}
	present, gone, wrong := 0, 0, 0
	var fault error // the first
	for first := 0; first < devices; first += batch {
		var keys []string
		for device := first; device < first+batch; device++ {
			keys = append(keys, lastKey(device))
		}
		asked := time.Now()
		results := other(replicas, first).GetMany(ctx, keys)
		answered := time.Now()
		for i, r := range results {
			device, round := first+i, rounds-1
			if silent(device) {
				round = 0
			}
			switch {
			case r.Err == nil && r.Value == read(device, round) && !asked.After(w.after[device].Add(heard+time.Millisecond)):
				present++
			case errors.Is(r.Err, slotmesh.ErrNotFound) && !answered.Before(w.before[device].Add(heard)):
				gone++
			default:
				if wrong++; fault == nil {
					fault = fmt.Errorf("%s, last stored %v ago, is %+v (%v)", r.Key, asked.Sub(w.before[device]).Round(time.Millisecond), r.Value, r.Err)
				}
			}
		}
	}
	fmt.Printf("%d devices were heard of in the last %v, %d fell silent\n", present, heard, gone)
	if wrong > 0 {
		return fmt.Errorf("%d devices are wrongly there, gone or different: %w", wrong, fault)
	}
	return nil
}
