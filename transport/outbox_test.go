package transport

import (
	"errors"
	"testing"
)

// acksIn takes the next batch and returns the acks in it.
func acksIn(t *testing.T, o *outbox) (acks []AppendAck) {
	t.Helper()
	out := batch{pool: o.pool}
	o.take(&out)
	err := readAll(*out.data, func(_ kind, m any) { acks = append(acks, m.(AppendAck)) })
	if err != nil {
		t.Fatal(err)
	}
	return acks
}

func TestAcksOfOneSlotAreMerged(t *testing.T) {
	o := newOutbox(testSender, new(pool), 1<<20)
	for i := uint64(1); i <= 100; i++ {
		for slot := range uint16(3) {
			if err := o.ack(&AppendAck{Slot: slot, Epoch: 1, Version: i, Durable: i - 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	acks := acksIn(t, o)
	if len(acks) != 3 || acks[0] != (AppendAck{Slot: 0, Epoch: 1, Version: 100, Durable: 99}) {
		t.Errorf("acks %+v", acks)
	}
}

func TestAcksThatSayMoreAreNotMergedAway(t *testing.T) {
	o := newOutbox(testSender, new(pool), 1<<20)
	list := []AppendAck{
		{Version: 1},
		{Version: 1, Gap: true},
		{Version: 2},
		{Version: 2, Epoch: 1},
		{Version: 2, Epoch: 1, Session: 1},
		{Version: 2, Epoch: 1, Session: 1, Refused: true},
		{Version: 3, Epoch: 1, Session: 1},
		{Version: 4, Epoch: 1, Session: 1, Short: true},
		{Version: 5, Epoch: 1, Session: 1},
	}
	for i := range list {
		_ = o.ack(&list[i])
	}
	// An ack that follows a plain one of its kind takes its place, Gap and
	// Refused included.
	want := []AppendAck{list[1], list[2], list[3], list[5], list[6], list[7], list[8]}
	got := acksIn(t, o)
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("ack %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestManyAcksStayBounded(t *testing.T) {
	o := newOutbox(testSender, new(pool), 1<<16)
	var err error
	n := 0
	for ; err == nil && n < 1_000_000; n++ {
		err = o.ack(&AppendAck{Slot: uint16(n % 16384), Version: 1 << 41, Durable: 1 << 41})
	}
	if !errors.Is(err, ErrStalled) || n > 2<<16/10 {
		t.Errorf("%d acks queued: %v", n, err)
	}
}

func TestBatchesStaySmallButForOneLargeMessage(t *testing.T) {
	o := newOutbox(testSender, new(pool), 64<<20)
	total := 0
	for _, n := range []int{100, 60_000, 60_000, 1 << 20, 10, softBatch, 100} {
		at, err := o.lock(n+16, normal)
		if err != nil {
			t.Fatal(err)
		}
		o.enc.body(kindControl, make([]byte, n))
		o.unlock(at.off)
		total++
	}
	for total > 0 {
		out := batch{pool: o.pool}
		o.take(&out)
		n := 0
		_ = readAll(*out.data, func(kind, any) { n++ })
		if len(*out.data) > softBatch+16 && n != 1 {
			t.Errorf("%d messages in %d bytes", n, len(*out.data))
		}
		o.mu.Lock()
		o.sentLocked(len(*out.data))
		o.mu.Unlock()
		total -= n
	}
	if o.bytes() != 0 {
		t.Errorf("%d bytes left", o.bytes())
	}
}

// A heartbeat does not wait behind thousands of claims, and what waits can still be
// withdrawn.
func TestHastenedMessagesLeaveBeforeAllThatWaits(t *testing.T) {
	o := newOutbox(testSender, new(pool), 1<<20)
	var last place
	for range 3 {
		at, err := o.lock(softBatch, normal)
		if err != nil {
			t.Fatal(err)
		}
		o.enc.body(kindControl, make([]byte, softBatch-100))
		o.unlock(at.off)
		last = at
	}
	for _, beat := range []string{"first", "second"} {
		if err := o.hasten(kindControl, []byte(beat)); err != nil {
			t.Fatal(err)
		}
	}
	next := func() (bodies []string) {
		out := batch{pool: o.pool}
		o.take(&out)
		err := readAll(*out.data, func(_ kind, m any) {
			if b, ok := m.([]byte); ok { // not void
				bodies = append(bodies, string(b))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		o.sentLocked(len(*out.data))
		o.mu.Unlock()
		return bodies
	}
	for _, want := range []string{"first", "second"} {
		if got := next(); len(got) != 1 || got[0] != want {
			t.Errorf("%d messages left, want %q alone", len(got), want)
		}
	}
	next()
	if !last.withdraw() {
		t.Error("a message that waits can't be withdrawn")
	}
	next()
	if got := next(); len(got) != 0 {
		t.Errorf("%d messages left, want none but what was withdrawn", len(got))
	}
	if n := o.bytes(); n != 0 {
		t.Errorf("%d bytes left", n)
	}
	o.limit = 10
	for range 100 {
		if err := o.hasten(kindControl, []byte("beat")); err != nil {
			if !errors.Is(err, ErrOverloaded) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the queue has no bound")
}
