package node

import (
	"context"
	"reflect"
	"testing"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

func TestFeedQuestionRoundTrips(t *testing.T) {
	want := feedQuestion{token: 1 << 63, answered: 7, keysOnly: true, wait: true, ops: true, end: true, prefix: "p", adopt: []feedAdopt{{1, 0, 0}, {16383, 1 << 50, 1 << 63}}}
	var got feedQuestion
	if !got.unpack(want.pack()) || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if bad := (&feedQuestion{token: 1, adopt: make([]feedAdopt, maxAdopt+1)}); got.unpack(bad.pack()) {
		t.Error("too many slots are taken")
	}
	if full := (&feedQuestion{token: 1<<64 - 1, prefix: string(make([]byte, 64<<10)), adopt: make([]feedAdopt, maxAdopt)}); true {
		for i := range full.adopt {
			full.adopt[i] = feedAdopt{shard.Slots - 1, 1<<64 - 1, 1<<64 - 1}
		}
		if n := len(full.pack()); n > maxQuestion {
			t.Errorf("a question of %d bytes, want at most %d", n, maxQuestion)
		}
	}
}

// FuzzFeed has both sides of a feed read what a peer may send.
func FuzzFeed(f *testing.F) {
	f.Add((&feedQuestion{token: 1, adopt: []feedAdopt{{1, 2, 3}}}).pack())
	f.Add([]byte{feedOK, 1, 0, 1, 5, 9, 9, 0, 0, 1, 5, 10, WatchSet, 1, 'k', 12, 0, 0, 1, 'v'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q feedQuestion
		if q.unpack(b) && len(q.adopt) > maxAdopt {
			t.Errorf("%d slots to adopt", len(q.adopt))
		}
		fo := (&Node{env: env.System()}).Follow(context.Background(), "", false)
		p := &feeding{token: 1}
		for i := range fo.at {
			fo.at[i] = p
		}
		if news := fo.take(&feedAnswer{from: p, q: &q, body: b}); len(news.Events) > len(b) {
			t.Errorf("%d events of %d bytes", len(news.Events), len(b))
		}
		open := 0
		for i := range fo.open {
			if fo.open[i] {
				open++
			}
		}
		if open != fo.opened {
			t.Errorf("%d slots are open, counted %d", open, fo.opened)
		}
		fo.Close()
	})
}

// FuzzNear has both sides of near caches read what a peer may send.
func FuzzNear(f *testing.F) {
	f.Add(body(ctlRenew, 1, 1000, 3, 4)[1:])
	f.Add(body(ctlMarks, 1, 1, 1, 5, 2, 3)[1:])
	f.Fuzz(func(_ *testing.T, b []byte) {
		n := &Node{env: env.System(), near: newNearCache(1 << 20), peers: map[shard.NodeID]*peer{}}
		n.cfg.Lease = 250e6
		n.shadows.Store(new(shadows))
		n.onRenew(shard.NodeID{1}, &fields{b: b})
		n.onMarks(shard.NodeID{1}, &fields{b: b})
	})
}

// A question and its repeat may be answered at once, where the caller of the first has
// given up. What the first has read would be in an answer that nobody takes.
func TestFeedIsGivenUpWhereARepeatWasAnswered(t *testing.T) {
	n, s := openSlot(t)
	ask := func(q *feedQuestion) (answer []byte) {
		c := &Call{Op: transport.OpFeed, Value: q.pack()}
		r := new(Result)
		if err := n.answerFeed(c, &transport.Request{Call: *c}, r, func(error) {}); err != nil {
			t.Error(err)
		}
		return r.Value
	}
	if b := ask(&feedQuestion{token: 1, adopt: []feedAdopt{{slot: 5}}}); b[0] != feedOK || b[1] != 1 {
		t.Fatalf("the first answer is %x", b)
	}
	c := &Call{Op: transport.OpSet, Slot: 5, Key: "k", Value: []byte("v")}
	if err := n.write(c, &transport.Request{Call: *c, Epoch: 1, CallID: transport.CallID{Node: n.id, Number: 1}}, new(Result), func(error) {}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock() // the first question waits with the slot in its hands
	first := make(chan []byte)
	go func() { first <- ask(&feedQuestion{token: 1, answered: 1}) }()
	f := n.feeds.find(1)
	awaitNode(t, "the first question reads", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.noted) == 0
	})
	if b := ask(&feedQuestion{token: 1, answered: 1}); b[0] != feedOK || b[1] != 2 {
		t.Errorf("its repeat is answered by %x", b)
	}
	s.mu.Unlock()
	if b := <-first; b[0] != feedUnknown {
		t.Errorf("the first question is answered by %x", b)
	}
	if b := ask(&feedQuestion{token: 1, answered: 2}); b[0] != feedUnknown {
		t.Errorf("the watcher goes on without what was read: %x", b)
	}
}
