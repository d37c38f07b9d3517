package node

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// jammed is an engine whose disk is behind: a write would hang.
type jammed struct {
	*store.Memory
	on     atomic.Bool
	writes atomic.Int32 // made meanwhile
}

func (j *jammed) Jammed() bool { return j.on.Load() }

func (j *jammed) Apply(slot uint16, recs []store.Record) error {
	if j.on.Load() {
		j.writes.Add(1)
	}
	return j.Memory.Apply(slot, recs)
}

func (j *jammed) Purge(slot uint16, floor uint64) error {
	if j.on.Load() {
		j.writes.Add(1)
	}
	return j.Memory.Purge(slot, floor)
}

func (j *jammed) Drop(slot uint16) error {
	if j.on.Load() {
		j.writes.Add(1)
	}
	return j.Memory.Drop(slot)
}

// Writers wait for a slow disk within their deadlines, and without the lock
// that readers of the slot need.
func TestWritersWaitForASlowDiskWithinTheirDeadlines(t *testing.T) {
	j := &jammed{Memory: store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}
	n := start(t, "a", func(c *Config) { c.Engine, c.OpTimeout = j, 5*time.Minute })
	set := func(timeout time.Duration, value string) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := n.Do(ctx, &Call{Op: transport.OpSet, Slot: 7, Key: "a", Value: []byte(value)})
		return err
	}
	if err := set(10*time.Second, "before"); err != nil {
		t.Fatal(err)
	}
	j.on.Store(true)
	began := time.Now()
	if err := set(200*time.Millisecond, "meanwhile"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrOverloaded) {
		t.Errorf("Set = %v, want DeadlineExceeded or ErrOverloaded", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("Set with a deadline of 200ms took %v", took)
	}
	if w := j.writes.Load(); w != 0 {
		t.Errorf("%d writes reached the engine", w)
	}
	r, err := n.Do(t.Context(), &Call{Op: transport.OpGet, Slot: 7, Key: "a"})
	if err != nil || string(r.Value) != "before" {
		t.Errorf("Get = %q, %v, want what was there before", r.Value, err)
	}
	j.on.Store(false)
	if err := set(10*time.Second, "after"); err != nil {
		t.Errorf("Set once the disk has caught up = %v", err)
	}
}

// Nor does the control loop wait for a slow disk to drop what nobody asks for.
func TestLeftoversStayWhileADiskIsBehind(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	j := &jammed{Memory: store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}
	n.engine, n.jam = j, j
	if err := j.Apply(5, []store.Record{{Key: "left", Version: firstVersion(1) + 1}}); err != nil {
		t.Fatal(err)
	}
	s := &n.slots[5]
	s.view.Known = &shard.Claim{Slot: 5, Epoch: 2}
	s.leftAt.Store(1)
	j.on.Store(true)
	n.dropLeftovers(10)
	if j.writes.Load() != 0 || j.SlotStats(5).Records != 1 {
		t.Error("dropped while the disk is behind")
	}
	j.on.Store(false)
	n.dropLeftovers(11)
	if j.SlotStats(5).Records != 0 {
		t.Error("not dropped when the disk has caught up")
	}
}

// What a copy is told to purge would wait for a slow disk too, under the slot's lock. The
// next floor does for both.
func TestCopiesPurgeNothingWhileADiskIsBehind(t *testing.T) {
	n := newMetaDisk().started(shard.NewNodeID(1, 1))
	j := &jammed{Memory: store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}
	n.engine, n.jam = j, j
	pos := firstVersion(1) + 1
	if err := j.Apply(5, []store.Record{{Key: "gone", Version: pos, Tombstone: true}}); err != nil {
		t.Fatal(err)
	}
	n.slots[5].stream = stream{epoch: 1, pos: pos}
	floor := transport.Append{Slot: 5, Epoch: 1, Prev: pos, Version: pos, Mark: pos, Cause: causeFloor}
	j.on.Store(true)
	n.Append(new(transport.Peer), &floor)
	if w := j.writes.Load(); w != 0 {
		t.Errorf("%d purges reached the engine", w)
	}
	j.on.Store(false)
	n.Append(new(transport.Peer), &floor)
	if left := j.SlotStats(5).Tombstones; left != 0 {
		t.Errorf("%d tombstones are left", left)
	}
}

// crowded is an engine with no room, and a disk that is behind.
type crowded struct {
	jammed
	asked atomic.Int32
}

func (f *crowded) Short(int64) bool { return f.on.Load() }

func (f *crowded) Victims(dst []store.Candidate, n int, _ func(uint16) bool) []store.Candidate {
	f.asked.Add(1)
	for i := range n {
		dst = append(dst, store.Candidate{Address: store.Address{Slot: 7, Key: strconv.Itoa(i)}, Version: 1})
	}
	return dst
}

// Evictions wait for a slow disk like other writes, and don't take all of a processor
// meanwhile.
func TestEvictionGivesWayToASlowDisk(t *testing.T) {
	f := &crowded{jammed: jammed{Memory: store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}}
	n := start(t, "a", func(c *Config) { c.Engine = f })
	_, err := n.Do(t.Context(), &Call{Op: transport.OpSet, Slot: 7, Key: "a"}) // once the slot is served
	if err != nil {
		t.Fatal(err)
	}
	f.on.Store(true)
	defer f.on.Store(false)
	began := time.Now()
	awaitNode(t, "three looks for victims", func() bool { return f.asked.Load() >= 3 })
	if took := time.Since(began); took < houseTick {
		t.Errorf("three looks for victims, which cannot be evicted, in %v", took)
	}
}

// broken is an engine whose disk has failed.
type broken struct{ *store.Memory }

func (broken) Close() error { return store.ErrParked }

func (broken) Apply(uint16, []store.Record) error { return store.ErrParked }

// The node says that its disk has failed; each slot's copy does not.
func TestCopiesOnAFailedDiskSayNothing(t *testing.T) {
	var j journal
	n := start(t, "a", func(c *Config) {
		c.Engine, c.Logger = broken{store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}, j.logger()
	})
	for no := range uint16(100) {
		if n.takeInLocked(&n.slots[no], &transport.Append{Slot: no}) {
			t.Fatal("stored")
		}
	}
	awaitNode(t, "the disk counts as failed", func() bool { return j.count(eventLostDisk) == 1 })
	if c := j.count("cannot store"); c > 0 {
		t.Errorf("%d lines about copies", c)
	}
}

func TestCloseTellsOfAFailedDisk(t *testing.T) {
	n := start(t, "a", func(c *Config) { c.Engine = broken{store.NewMemory(store.MemoryOptions{Limit: 64 << 20})} })
	if err := n.Close(); !errors.Is(err, ErrDisk) || !errors.Is(err, store.ErrParked) {
		t.Errorf("Close = %v, want ErrDisk by the engine's", err)
	}
}
