package shard

import (
	"fmt"
	"testing"
)

// fleet is a few Cores that answer each other at once, each with a data path
// that does nothing but look.
type fleet struct {
	ids     []NodeID
	cores   map[NodeID]*Core
	dead    map[NodeID]bool
	now     int64
	carried int // messages
	saved   int // bytes
}

func newFleet(n int) *fleet {
	f := &fleet{cores: map[NodeID]*Core{}, dead: map[NodeID]bool{}}
	random := uint64(0)
	for i := range n {
		id := NewNodeID(uint64(i+1), 0)
		f.ids = append(f.ids, id)
		f.cores[id] = NewCore(CoreConfig{
			Self: id, Rand: func() uint64 { random++; return mix(random) },
			Resend: 20e6, Failure: 1500e6, Settle: 2000e6, PartitionWait: 3000e6, OrphanWait: 5000e6,
			CanList: func(*Claim) bool { return true },
		})
	}
	return f
}

// found claims every slot: each node is primary of its part, the next one its
// backup, the one after that a witness.
func (f *fleet) found() {
	n := len(f.ids)
	for slot := range uint16(Slots) {
		i := int(slot) % n
		f.cores[f.ids[i]].Found(slot, []NodeID{f.ids[(i+1)%n]}, []NodeID{f.ids[(i+2)%n]}, f.now)
	}
	f.carry()
}

// carry does what Cores want done until there is nothing more.
func (f *fleet) carry() {
	for busy := true; busy; {
		busy = false
		for _, id := range f.ids {
			c := f.cores[id]
			if f.dead[id] {
				continue
			}
			out := c.Take()
			busy = busy || len(out.Touched)+len(out.Messages)+len(out.InForce)+len(out.Persist) > 0
			for _, slot := range out.Persist {
				f.saved += len(c.Save(slot))
			}
			for _, slot := range out.Touched {
				if v := c.View(slot); v.Settling {
					for _, b := range v.Known.Backups {
						c.Settled(slot, v.Known.Epoch, b, f.now)
					}
				}
			}
			f.carried += len(out.Messages)
			for i := range out.Messages {
				if to := out.Messages[i].To; !f.dead[to] {
					f.cores[to].Receive(id, out.Messages[i].Message, f.now)
				}
			}
			for _, other := range f.ids {
				if other != id && !f.dead[other] {
					f.cores[other].Learn(out.InForce, f.now)
				}
			}
		}
	}
}

// pass lets a tick of time go by.
func (f *fleet) pass() {
	f.now += 5e6
	for _, id := range f.ids {
		if !f.dead[id] {
			f.cores[id].Tick(f.now)
		}
	}
	f.carry()
}

// kill ends a node, of which the others have proof.
func (f *fleet) kill(id NodeID) {
	f.dead[id] = true
	for _, other := range f.ids {
		if !f.dead[other] {
			f.cores[other].Down(id, true, f.now)
		}
	}
}

// open counts the slots that somebody serves.
func (f *fleet) open() (n int) {
	for slot := range uint16(Slots) {
		for _, id := range f.ids {
			if !f.dead[id] && f.cores[id].View(slot).Open {
				n++
			}
		}
	}
	return n
}

func TestFleetFoundsAndFailsOver(t *testing.T) {
	f := newFleet(3)
	f.found()
	if got := f.open(); got != Slots {
		t.Fatalf("%d slots are open after founding, want %d", got, Slots)
	}
	f.kill(f.ids[2])
	for i := 0; f.open() < Slots; i++ {
		if i == 20 {
			t.Fatalf("%d slots are open 100 ms after a death that is proved, want %d", f.open(), Slots)
		}
		f.pass()
	}
}

func BenchmarkFoundAllSlots(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		f := newFleet(3)
		f.found()
		b.ReportMetric(float64(f.carried)/Slots, "messages/slot")
		b.ReportMetric(float64(f.saved)/Slots, "bytes-saved/slot")
	}
}

// A third of all slots change their primary at once, and another third their
// backups.
func BenchmarkNodeDeath(b *testing.B) {
	for _, nodes := range []int{3, 10} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				f := newFleet(nodes)
				f.found()
				b.StartTimer()
				f.kill(f.ids[2])
				f.pass()
				f.pass()
			}
		})
	}
}

// An idle node with an outstanding change ticks.
func BenchmarkTickWithOneBusySlot(b *testing.B) {
	f := newFleet(3)
	f.found()
	for range 3 {
		f.pass()
	}
	c := f.cores[f.ids[0]]
	c.Change(0, nil, []NodeID{f.ids[1], f.ids[2]}, f.now)
	b.ReportAllocs()
	for b.Loop() {
		c.Tick(f.now)
	}
}

func BenchmarkViewOfOpenSlot(b *testing.B) {
	f := newFleet(3)
	f.found()
	c := f.cores[f.ids[0]]
	b.ReportAllocs()
	for b.Loop() {
		c.View(0)
	}
}

// The data path looks at every slot that is touched, thousands at a time.
func TestViewDoesNotAllocate(t *testing.T) {
	f := newFleet(3)
	f.found()
	c := f.cores[f.ids[0]]
	if n := testing.AllocsPerRun(100, func() { c.View(0) }); n != 0 {
		t.Errorf("View allocates %v times, want 0", n)
	}
}
