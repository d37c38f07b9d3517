package shard_test

import (
	"encoding/hex"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh/shard"
)

var record = flag.Bool("record", false, "write the recorded bytes that are missing; those there are kept for good")

// recorded returns the bytes of a file of testdata/protocol1: what a release of
// protocol 1 sent, and has on its disks. They are never written anew.
func recorded(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "protocol1", name+".hex")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && *record {
		b = []byte(hex.EncodeToString(now) + "\n")
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	was, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return was
}

// What protocol 1 sent and saved means what it meant.
func TestRecordedBytesAreRead(t *testing.T) {
	claims := wireClaims()
	if got, err := shard.DecodeClaims(recorded(t, "claims", shard.AppendClaims(nil, claims)), 100); err != nil || !reflect.DeepEqual(got, claims) {
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
	if got, err := shard.DecodeMessages(recorded(t, "messages", shard.AppendMessages(nil, messages))); err != nil || !reflect.DeepEqual(got, messages) {
		t.Errorf("messages: %+v, %v\nwant %+v", got, err, messages)
	}
	var none *shard.Settings
	s := must(none.WithPins([]uint16{1, 2, 3, 9}, "n1", n1))
	s = must(s.WithAway([]uint16{2}, "n2", n2))
	s = must(s.WithPins([]uint16{9}, "", n2))
	s = must(s.WithWeight("n2", 0, n1))
	s = must(s.WithPause(true, n1))
	got, err := shard.DecodeSettings(recorded(t, "settings", s.Append(nil)))
	if err != nil || !reflect.DeepEqual(got.Append(nil), s.Append(nil)) || !got.Paused() || len(got.Pins()) != 2 || got.Aways()[2] != "n2" {
		t.Errorf("settings: %v pinned, %v away, %v; want 1 and 3 to n1, 2 away from n2, paused", got.Pins(), got.Aways(), err)
	}
}
