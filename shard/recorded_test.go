package shard_test

import (
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/internal/recorded"
	"github.com/slotmesh/slotmesh/shard"
)

// What protocol 1 sent and saved means what it meant.
func TestRecordedBytesAreRead(t *testing.T) {
	claims := wireClaims()
	if got, err := shard.DecodeClaims(recorded.Bytes(t, "claims", shard.AppendClaims(nil, claims)), 100); err != nil || !reflect.DeepEqual(got, claims) {
		t.Errorf("claims: %v, %v\nwant %v", got, err, claims)
	}
	n1, n2 := shard.NewNodeID(1, 11), shard.NewNodeID(2, 22)
	messages := []shard.Message{
		{Kind: shard.MsgFence, Slot: claims[0].Slot, Epoch: 7, Seat: n2, Known: claims[0]},
		{Kind: shard.MsgFenceReply, Slot: claims[0].Slot, Epoch: 7, Seat: n2, OK: true, Promised: shard.Ballot{Epoch: 7, To: n1}, Claim: claims[0], Known: claims[0]},
		{Kind: shard.MsgAccept, Slot: claims[1].Slot, Epoch: 8, Rev: 2, Seat: n1, Claim: claims[1]},
		{Kind: shard.MsgAcceptReply, Slot: 6, Epoch: 8, Rev: 2, Seat: n1, NoSeat: true, Busy: true},
		{Kind: shard.MsgInvite, Slot: 7, Epoch: 9, Seat: n2},
		{Kind: shard.MsgInForce, Slot: claims[1].Slot, Epoch: 9, Known: claims[1]},
		{Kind: shard.MsgInForceReply, Slot: 7, Epoch: 9, OK: true},
	}
	if got, err := shard.DecodeMessages(recorded.Bytes(t, "messages", shard.AppendMessages(nil, messages))); err != nil || !reflect.DeepEqual(got, messages) {
		t.Errorf("messages: %+v, %v\nwant %+v", got, err, messages)
	}
	var none *shard.Settings
	s := must(none.WithPins([]uint16{1, 2, 3, 9}, "n1", n1))
	s = must(s.WithAway([]uint16{2}, "n2", n2))
	s = must(s.WithPins([]uint16{9}, "", n2))
	s = must(s.WithWeight("n2", 0, n1))
	s = must(s.WithPause(true, n1))
	got, err := shard.DecodeSettings(recorded.Bytes(t, "settings", s.Append(nil)))
	if err != nil || !reflect.DeepEqual(got.Append(nil), s.Append(nil)) || !got.Paused() || len(got.Pins()) != 2 || got.Aways()[2] != "n2" {
		t.Errorf("settings: %v pinned, %v away, %v; want 1 and 3 to n1, 2 away from n2, paused", got.Pins(), got.Aways(), err)
	}
}
