package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// Attributes that are each within bounds may be too long together.
func TestTooManyAttributesAreInvalid(t *testing.T) {
	_, err := slotmesh.Open(t.Context(), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithName("n"),
		slotmesh.WithAttribute("a", strings.Repeat("v", 170)), slotmesh.WithAttribute("b", strings.Repeat("v", 170)))
	wantErr(t, "Open", err, slotmesh.ErrInvalid)
}

func TestAttributesReachTheOthers(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithAttribute("version", "7"))
	seen := func(key, want string) func() error {
		return func() error {
			for _, c := range caches {
				for _, n := range c.Cluster().Nodes() {
					if got := n.Attributes[key]; got != want && n.Name == "n1" {
						return fmt.Errorf("%s sees %s=%q", c.Cluster().Self().Name, key, got)
					}
				}
			}
			return nil
		}
	}
	await(t, "the first attribute is known", seen("version", "7"))
	view := caches[0].Cluster()
	if err := view.SetAttribute("resp", "10.0.0.1:6379"); err != nil {
		t.Fatalf("SetAttribute = %v", err)
	}
	await(t, "a new attribute is known", seen("resp", "10.0.0.1:6379"))
	if err := view.SetAttribute("resp", ""); err != nil {
		t.Fatalf("SetAttribute of nothing = %v", err)
	}
	await(t, "it is gone again", seen("resp", ""))

	for _, bad := range [][2]string{{"", "x"}, {strings.Repeat("k", 33), "x"}, {"k", strings.Repeat("v", 257)}, {"k", "\xff"}} {
		if err := view.SetAttribute(bad[0], bad[1]); !errors.Is(err, slotmesh.ErrInvalid) {
			t.Errorf("SetAttribute(%.10q, %.10q) = %v, want ErrInvalid", bad[0], bad[1], err)
		}
	}
	if err := view.SetAttribute("a", strings.Repeat("v", 256)); err != nil {
		t.Errorf("SetAttribute of 256 bytes = %v", err)
	}
	if err := view.SetAttribute("b", strings.Repeat("v", 256)); !errors.Is(err, slotmesh.ErrInvalid) {
		t.Errorf("SetAttribute beyond the room = %v, want ErrInvalid", err)
	}
	if got := view.Self().Attributes["b"]; got != "" {
		t.Errorf("an attribute that was refused is set: %.10q", got)
	}
}

func TestNoForwardNamesTheOwner(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	here, stay := caches[0], slotmesh.NoForward(t.Context())
	for i := range 50 {
		key := fmt.Sprintf("key-%d", i)
		owner, err := here.Cluster().Owner(key)
		if err != nil {
			t.Fatal(err)
		}
		err = here.Set(stay, key, []byte("v"))
		errs := []error{err, here.SetMany(stay, []slotmesh.Entry{{Key: key, Value: []byte("v")}})[0]}
		_, err = here.Get(stay, key)
		errs = append(errs, err, here.Txn(stay, key, func(tx *slotmesh.Tx) error { return tx.Set(key, []byte("v")) }))
		for _, err := range errs {
			moved, ok := errors.AsType[*slotmesh.MovedError](err)
			switch {
			case owner.Self && err != nil:
				t.Errorf("a call for %s, served here: %v", key, err)
			case !owner.Self && (!ok || moved.Node.Name != owner.Name || moved.Slot != here.Cluster().KeySlot(key)):
				t.Errorf("a call for %s, served by %s: %v", key, owner.Name, err)
			}
		}
		if _, err := here.Get(t.Context(), key); !owner.Self && !errors.Is(err, slotmesh.ErrNotFound) {
			t.Errorf("Get(%s) = %v, want ErrNotFound: a call that was refused wrote", key, err)
		}
	}
}

func TestPublishReachesSubscribersOfAllNodes(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	ctx := t.Context()
	var subs []*slotmesh.Subscription
	for _, c := range caches {
		s, err := c.Subscription(slotmesh.SubscribeChannel("news"), slotmesh.SubscribePattern("n*"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	for i, c := range caches {
		n, err := c.Publish(ctx, "news", fmt.Appendf(nil, "message %d", i))
		if err != nil || n != 6 {
			t.Fatalf("Publish = %d, %v, want 6 receivers", n, err)
		}
	}
	for _, s := range subs {
		for i := range 3 {
			for _, pattern := range []string{"", "n*"} {
				m, err := s.Next(ctx)
				if want := fmt.Sprintf("message %d", i); err != nil || string(m.Payload) != want || m.Channel != "news" || m.Pattern != pattern {
					t.Errorf("Next = %+v, %v, want %q by %q", m, err, want, pattern)
				}
			}
		}
		s.Remove("news")
		s.RemovePattern("n*")
	}
	if n, err := caches[0].Publish(ctx, "news", nil); n != 0 || err != nil {
		t.Errorf("Publish after all left = %d, %v", n, err)
	}
	if err := subs[0].AddPattern("*"); err != nil {
		t.Fatal(err)
	}
	if n, err := caches[1].Publish(ctx, "\x00private", nil); n != 0 || err != nil {
		t.Errorf("Publish to a private channel = %d, %v, want 0: no pattern matches it", n, err)
	}
}

func TestSlowSubscriberIsToldWhatItMissed(t *testing.T) {
	c := slotmeshtest.Start(t, 1)[0]
	s, err := c.Subscription(slotmesh.SubscribeChannel("a"), slotmesh.SubscribeBuffer(3))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(text string) {
		if _, err := c.Publish(t.Context(), "a", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(text string, missed uint64) {
		t.Helper()
		if m, err := s.Next(t.Context()); err != nil || string(m.Payload) != text || m.Missed != missed {
			t.Errorf("Next = %q after %d missed, %v; want %q after %d", m.Payload, m.Missed, err, text, missed)
		}
	}
	for i := range 5 {
		publish(fmt.Sprint(i))
	}
	next("0", 0)
	publish("5")
	next("1", 0)
	next("2", 0)
	next("5", 2)
	s.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, slotmesh.ErrClosed) {
		t.Errorf("Next of a closed subscription = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Subscribe(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Subscribe with a done context: %v", err)
		}
	}
}

func TestCursorNumbersLeadThroughASlot(t *testing.T) {
	c := slotmeshtest.Start(t, 1)[0]
	ctx := t.Context()
	want := map[string]bool{}
	for i := range 300 {
		key := fmt.Sprintf("{tag}%d", i)
		want[key] = true
		if err := c.Set(ctx, key, nil); err != nil {
			t.Fatal(err)
		}
	}
	slot := c.Cluster().KeySlot("{tag}")
	if n := c.Cluster().KeysIn(slot); n != len(want) {
		t.Errorf("KeysIn = %d, want %d", n, len(want))
	}
	got := map[string]int{}
	for number, pages := uint64(slot), 0; ; pages++ {
		at, count := slotmesh.CursorAt(number), 0
		for item, err := range c.Scan(ctx, slotmesh.ScanSlot(int(slot)), slotmesh.ScanFrom(&at)) {
			if err != nil {
				t.Fatal(err)
			}
			got[item.Key]++
			if count++; count == 7 {
				break
			}
		}
		if number = at.Number(); at.Slot() != int(slot) || at.Done() || pages > len(want) {
			break
		}
	}
	for key := range want {
		if got[key] != 1 {
			t.Errorf("%s was seen %d times", key, got[key])
		}
	}
}

func TestKeysMayLastForThousandsOfYears(t *testing.T) {
	c := slotmeshtest.Start(t, 1)[0]
	ctx := t.Context()
	for _, year := range []int{6400, 6500, 290000} {
		key := fmt.Sprint(year)
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := c.Set(ctx, key, nil, slotmesh.ExpireAt(at)); err != nil {
			t.Fatal(err)
		}
		if err := c.Txn(ctx, key, func(tx *slotmesh.Tx) error { return tx.Set("{"+key+"}", nil, slotmesh.ExpireAt(at)) }); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{key, "{" + key + "}"} {
			if item, err := c.GetItem(ctx, key); err != nil || item.Expires.Year() != min(year, 6429) {
				t.Errorf("GetItem(%s) = %v, %v", key, item.Expires, err)
			}
		}
	}
}
