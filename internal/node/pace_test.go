package node

import (
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/meter"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

func TestFixedBudgetIsKept(t *testing.T) {
	p := newPacer(10 << 20)
	now := int64(0)
	for range 100 {
		now += int64(p.reserve(now, 1<<20, false))
	}
	if took := time.Duration(now); took < 9*time.Second || took > 11*time.Second {
		t.Errorf("100 MiB at 10 MiB/s took %v, want 10s", took)
	}
	if wait := p.reserve(now, 1<<20, true); wait != 0 {
		t.Errorf("what is urgent waits %v", wait)
	}
}

// Copies slow down while the calls of any node take longer than twice as long as
// before, and recover.
func TestPaceFollowsTheCalls(t *testing.T) {
	p := newPacer(0)
	caller, other := shard.NewNodeID(1, 1), shard.NewNodeID(2, 1)
	now := int64(0)
	ticks := func(n int, took time.Duration, copying bool) float64 {
		for range n {
			if took > 0 {
				p.hear(now, caller, float64(took))
				p.hear(now, other, float64(time.Millisecond)) // never suffers
			}
			if copying {
				p.reserve(now, 1<<20, false)
			}
			now += int64(houseTick)
			p.tick(now, houseTick)
		}
		_, rate := p.perSecond()
		return rate
	}
	before := ticks(20, 400*time.Microsecond, false)
	slow := ticks(20, 4*time.Millisecond, true)
	if slow != paceLeast || slow >= before {
		t.Errorf("with slow calls the pace is %.0f bytes/s after %.0f, want %d", slow, before, paceLeast)
	}
	if fast := ticks(20, 400*time.Microsecond, true); fast < before {
		t.Errorf("with fast calls the pace is %.0f bytes/s, want at least %.0f", fast, before)
	}
	if idle := ticks(60, 0, true); idle != paceMost {
		t.Errorf("with calls at rest the pace is %.0f bytes/s, want %d", idle, int64(paceMost))
	}
}

// What calls take while slots change hands elsewhere, as on a deploy, is no measure of
// quiet times: the copies that follow would go on at full speed.
func TestPaceLearnsFromQuietTimesAlone(t *testing.T) {
	p := newPacer(0)
	caller := shard.NewNodeID(1, 1)
	now := int64(0)
	ticks := func(n int, took time.Duration, before func()) {
		for range n {
			before()
			p.hear(now, caller, float64(took))
			now += int64(houseTick)
			p.tick(now, houseTick)
		}
	}
	ticks(20, time.Millisecond, func() {})
	ticks(60, 30*time.Millisecond, func() { p.stir(now) })
	ticks(20, 3*time.Millisecond, func() { p.reserve(now, 1<<20, false) })
	if _, rate := p.perSecond(); rate != paceLeast {
		t.Errorf("three times as slow as in quiet times the pace is %.0f bytes/s, want %d", rate, paceLeast)
	}
}

// Slots that move for balance get their turns together.
func TestTurnsComeInBursts(t *testing.T) {
	p := newPacer(0)
	p.hear(int64(time.Second), shard.NewNodeID(1, 1), float64(time.Millisecond))
	p.rate = paceLeast
	const cost = slotCost * time.Second / paceLeast
	var given []time.Duration
	for now := time.Second; now < 2*time.Second; now += time.Millisecond {
		for p.turn(int64(now)) {
			given = append(given, now)
		}
	}
	bursts := 1
	for i := 1; i < len(given); i++ {
		if given[i] != given[i-1] {
			bursts++
		}
	}
	if most := int((time.Second+burst)/cost) + 1; len(given) < most*9/10 || len(given) > most {
		t.Errorf("%d turns in a second, want %d", len(given), most)
	}
	if most := int(time.Second/burst) + 1; bursts > most {
		t.Errorf("in %d bursts, want %d", bursts, most)
	}
}

// Copies that take all of the pace leave some to slots that have nothing to send.
func TestTurnsBesideCopies(t *testing.T) {
	for _, chunk := range []int{chunkBytes, 8 << 20} {
		p := newPacer(0)
		p.hear(int64(time.Second), shard.NewNodeID(1, 1), float64(time.Millisecond))
		p.rate = paceLeast
		sent, turns, next := 0, 0, time.Second
		const took = 10 * time.Second
		for now := time.Second; now < time.Second+took; now += time.Millisecond {
			p.callsAt = int64(now)
			if now >= next {
				next = now + p.reserve(int64(now), chunk, false)
				sent += chunk
			}
			for p.turn(int64(now)) {
				if now > 2*time.Second { // the first burst came before the chunks
					turns++
				}
			}
		}
		if least := int(took / longestRest / 2); turns < least {
			t.Errorf("%d turns in %v beside chunks of %d bytes, want at least %d", turns, took, chunk, least)
		}
		if least := paceLeast * int(took/time.Second) / 2; sent < least {
			t.Errorf("%d bytes sent in %v in chunks of %d, want at least %d", sent, took, chunk, least)
		}
	}
}

func TestSlowestHundredth(t *testing.T) {
	var h meter.Histogram
	h.Add(time.Millisecond, 9899)
	h.Add(40*time.Millisecond, 101)
	s := h.Snapshot()
	if got := time.Duration(slowestHundredth(&s)); got < 25*time.Millisecond || got > 50*time.Millisecond {
		t.Errorf("slowest hundredth %v, want within the bucket of 40ms", got)
	}
	var none meter.Snapshot
	if got := slowestHundredth(&none); got != 0 {
		t.Errorf("slowest hundredth of nothing %v", got)
	}
}

// Those that call need not be those that copy: a peer's word slows copies down.
func TestPeersTellHowTheirCallsFare(t *testing.T) {
	e := env.System()
	n := &Node{env: e, start: e.Now(), pacer: newPacer(0)}
	_, before := n.pacer.perSecond()
	tell := func(took time.Duration) {
		n.Control(&transport.Peer{}, body(ctlFare, uint64(took)))
		n.pacer.tick(n.now(), houseTick)
	}
	tell(time.Millisecond) // while nothing is copied
	n.pacer.reserve(n.now(), 1<<20, true)
	tell(5 * time.Millisecond)
	if _, after := n.pacer.perSecond(); after >= before {
		t.Errorf("the pace is %.0f bytes/s after a peer's calls took five times as long, and was %.0f", after, before)
	}
	n.Control(&transport.Peer{}, []byte{ctlFare}) // cut short: ignored
}
