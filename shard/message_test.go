package shard

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sampleMessages() []Message {
	id := func(n uint64) NodeID { return NewNodeID(n, 0) }
	cl := &Claim{Slot: 7, Epoch: 3, Rev: 2, Primary: id(1), Backups: []NodeID{id(2)}, Witnesses: []NodeID{id(3)}, Base: []NodeID{id(4)}, Lineage: []uint64{1, 9}}
	return []Message{
		{Kind: MsgFence, Slot: 7, Epoch: 4, Seat: id(2), Known: cl},
		{Kind: MsgFenceReply, Slot: 7, Epoch: 4, Seat: id(2), OK: true, Promised: Ballot{4, id(1)}, Claim: cl, Known: cl},
		{Kind: MsgAccept, Slot: 7, Epoch: 3, Rev: 2, Seat: id(2), Claim: cl},
		{Kind: MsgAcceptReply, Slot: 7, Epoch: 3, Rev: 2, Seat: id(2), NoSeat: true, Busy: true},
		{Kind: MsgInvite, Slot: Slots - 1, Epoch: MaxEpoch, Seat: id(2)},
	}
}

func TestMessagesSurviveTheirWireForm(t *testing.T) {
	want := sampleMessages()
	got, err := DecodeMessages(AppendMessages(nil, want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("DecodeMessages = %+v, %v, want %+v", got, err, want)
	}
}

func TestDecodeMessagesRefusesEveryCut(t *testing.T) {
	b := AppendMessages(nil, sampleMessages())
	for n := range b {
		if _, err := DecodeMessages(b[:n]); !errors.Is(err, ErrMessage) {
			t.Errorf("DecodeMessages of the first %d of %d bytes: %v, want ErrMessage", n, len(b), err)
		}
	}
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add(AppendMessages(nil, sampleMessages()))
	f.Add(AppendMessages(nil, sampleMessages()[:1]))
	f.Add([]byte{0})
	// One Core for all inputs: making one costs more than feeding it.
	c := NewCore(CoreConfig{Self: NewNodeID(2, 0), Rand: func() uint64 { return 1 }, Resend: 1, Failure: 1, Settle: 1, PartitionWait: 1, OrphanWait: 1, CanList: func(*Claim) bool { return true }})
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := DecodeMessages(b)
		if err != nil {
			return
		}
		one := AppendMessages(nil, ms)
		again, err := DecodeMessages(one)
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if two := AppendMessages(nil, again); !bytes.Equal(one, two) {
			t.Fatalf("wire forms differ: %x, %x", one, two)
		}
		for i, m := range ms[:min(len(ms), 20)] {
			c.Receive(NewNodeID(uint64(i%3)+1, 0), m, int64(i))
			c.Tick(int64(i))
			c.Take()
		}
	})
}

// An epoch above MaxEpoch would overflow the version it becomes part of.
func TestDecodeMessagesRefusesHugeEpochs(t *testing.T) {
	m := Message{Kind: MsgFence, Epoch: MaxEpoch + 1}
	if _, err := DecodeMessages(AppendMessages(nil, []Message{m})); !errors.Is(err, ErrMessage) {
		t.Errorf("DecodeMessages = %v, want ErrMessage", err)
	}
}
