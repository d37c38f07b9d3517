package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
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

// Messages do not go around a link that is down: Publish says whom they did not reach.
func TestPublishNamesWhomALinkCutsOff(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		n1 := c.Node("n1")
		for _, name := range c.Names() {
			s, err := c.Node(name).Subscription(slotmesh.SubscribeChannel("news"))
			wantErr(t, "Subscription", err, nil)
			defer s.Close()
		}
		c.Cut("n1", "n2")
		c.Await("the link is known to be down", func() error {
			if !slices.ContainsFunc(n1.Events(), func(e slotmesh.NodeEvent) bool { return e.Name == "link to a member is down" }) {
				return errors.New("it is not")
			}
			return nil
		})
		unreached := func() {
			n, err := n1.Publish(t.Context(), "news", nil)
			if n != 2 || err == nil || !strings.Contains(err.Error(), "publish to n2") {
				t.Errorf("Publish = %d, %v, want 2 receivers and an error that names n2", n, err)
			}
		}
		unreached()
		c.Await("the connection has ended", func() error {
			for _, p := range n1.Stats().Peers {
				if p.Name == "n2" && p.Connected {
					return errors.New("it has not")
				}
			}
			return nil
		})
		unreached()
		c.Heal()
		c.AwaitRest()
		if n, err := n1.Publish(t.Context(), "news", nil); n != 3 || err != nil {
			t.Errorf("Publish = %d, %v, want 3 receivers", n, err)
		}
	})
}

// A Publish under way when its cache closes says so, and one that a node does not answer
// names that node.
func TestPublishNamesWhatFailed(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
		for _, to := range []string{"n1", "n2"} {
			c.SetLink("n3", to, slotmeshtest.Link{Delay: 300 * time.Millisecond})
		}
		publish := func(from string) chan error {
			ended := make(chan error, 1)
			node := c.Node(from)
			go func() {
				_, err := node.Publish(t.Context(), "news", nil)
				ended <- err
			}()
			c.Advance(50 * time.Millisecond) // it is on its way
			return ended
		}
		ended := publish("n1")
		c.Kill("n3")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "n3") {
			t.Errorf("Publish = %v, want an error that names n3", err)
		}
		c.SetLink("n1", "n2", slotmeshtest.Link{Delay: 300 * time.Millisecond})
		ended = publish("n1")
		wantErr(t, "Close", c.Node("n1").Close(), nil)
		wantErr(t, "Publish", <-ended, slotmesh.ErrClosed)
	})
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

// everyOtherCall makes what everyCall leaves out, on a cache that is closed or with a
// context that is done.
func everyOtherCall(ctx context.Context, c *slotmesh.Cache, key string) map[string]error {
	errs := map[string]error{}
	for _, err := range c.Scan(ctx) {
		errs["Scan"] = err
		break
	}
	for _, err := range c.Subscribe(ctx, slotmesh.SubscribeChannel("a")) {
		errs["Subscribe"] = err
		break
	}
	for what, seq := range map[string]iter.Seq2[slotmesh.Event, error]{
		"Watch": c.Watch(ctx, slotmesh.WatchKey(key)), "Watch of all slots": c.Watch(ctx, slotmesh.WatchPrefix("")),
	} {
		for _, err := range seq { // it may be live before it ends
			errs[what] = err
		}
	}
	none := func(context.Context, []string) (map[string][]byte, error) { return nil, nil }
	_, errs["Get of a stale value"] = c.Get(ctx, key, slotmesh.AllowStale(time.Hour))
	errs["GetOrLoadMany"] = c.GetOrLoadMany(ctx, []string{key, key}, none)[1].Err
	_, errs["Clear"] = c.Clear(ctx)
	_, errs["DeletePrefix"] = c.DeletePrefix(ctx, "a", nil)
	_, errs["Lock"] = c.Lock(ctx, key, time.Minute)
	_, errs["TryLock"] = c.TryLock(ctx, key, time.Minute)
	_, errs["Publish"] = c.Publish(ctx, "a", nil)
	b := c.Batch()
	b.Get(key)
	errs["Batch.Do"] = b.Do(ctx)

	typed := slotmesh.For[int](c, "typed:")
	errs["Typed.Set"] = typed.Set(ctx, key, 1)
	_, errs["Typed.Get"] = typed.Get(ctx, key)
	_, errs["Typed.Delete"] = typed.Delete(ctx, key)
	_, errs["Typed.Update"] = typed.Update(ctx, key, func(i int) (int, error) { return i, nil })
	_, errs["Typed.GetOrLoad"] = typed.GetOrLoad(ctx, key, func(context.Context, string) (int, error) { return 1, nil })
	errs["Typed.GetMany"] = typed.GetMany(ctx, []string{key, key})[1].Err
	errs["Typed.SetMany"] = typed.SetMany(ctx, []slotmesh.TypedEntry[int]{{Key: key}, {Key: key}})[1]

	view := c.Cluster()
	errs["MoveSlots"] = view.MoveSlots(ctx, []uint16{7}, "n")
	errs["Failover"] = view.Failover(ctx, []uint16{7})
	errs["FailoverNode"] = view.FailoverNode(ctx, "n")
	errs["Unpin"] = view.Unpin(ctx, []uint16{7})
	errs["Unpin of all"] = view.Unpin(ctx, nil)
	errs["PauseRebalance"] = view.PauseRebalance(ctx)
	errs["ResumeRebalance"] = view.ResumeRebalance(ctx)
	errs["Rebalance, dropping pins"] = view.Rebalance(ctx, slotmesh.DropPins(), nil, slotmesh.OnProgress(nil))
	errs["SetWeight"] = view.SetWeight(ctx, "n", 1)
	_, errs["Explain"] = view.Explain(ctx, key)
	_, errs["Report of another"] = view.Report(ctx, "other")
	return errs
}

// timeless are calls that need no time of a context's, or take none.
func timeless(ctx context.Context, c *slotmesh.Cache, dir string) map[string]error {
	errs := map[string]error{
		"Ready": c.Ready(ctx), "Checkpoint": c.Checkpoint(filepath.Join(dir, "a")), "RotateSecret": c.RotateSecret([]byte(strings.Repeat("b", 32))),
		"SetAttribute": c.Cluster().SetAttribute("a", "b"), "Rebalance": c.Cluster().Rebalance(ctx),
	}
	_, errs["Report"] = c.Cluster().Report(ctx, "n")
	_, errs["Cluster.Checkpoint"] = c.Cluster().Checkpoint(ctx, "n", "b")
	sub, err := c.Subscription()
	if errs["Subscription"] = err; err == nil {
		sub.Close()
	}
	return errs
}

// Whatever is called when nothing can come of it gives the error that says so.
func TestWholeSurfaceGivesItsErrors(t *testing.T) {
	c := open(t, slotmesh.WithName("n"), slotmesh.WithDataDir(filepath.Join(t.TempDir(), "data")), slotmesh.WithSecret([]byte(strings.Repeat("a", 32))))
	ctx, view := t.Context(), c.Cluster()
	wantErr(t, "Ready", c.Ready(ctx), nil)
	for what, tt := range map[string]struct{ got, want error }{
		"MoveSlots of none":            {view.MoveSlots(ctx, nil, "n"), slotmesh.ErrInvalid},
		"MoveSlots of a slot too high": {view.MoveSlots(ctx, []uint16{1, 16384}, "n"), slotmesh.ErrInvalid},
		"MoveSlots twice":              {view.MoveSlots(ctx, []uint16{1, 1}, "n"), nil},
		"MoveSlots to nobody":          {view.MoveSlots(ctx, []uint16{1}, ""), slotmesh.ErrUnknownNode},
		"Failover of none":             {view.Failover(ctx, nil), slotmesh.ErrInvalid},
		"Failover of a slot too high":  {view.Failover(ctx, []uint16{65535}), slotmesh.ErrInvalid},
		"Failover without backups":     {view.Failover(ctx, []uint16{1, 1}), slotmesh.ErrNotEnoughBackups},
		"FailoverNode of nobody":       {view.FailoverNode(ctx, ""), slotmesh.ErrUnknownNode},
		"Unpin of none":                {view.Unpin(ctx, []uint16{}), slotmesh.ErrInvalid},
		"Unpin of a slot too high":     {view.Unpin(ctx, []uint16{16384}), slotmesh.ErrInvalid},
		"Unpin of all":                 {view.Unpin(ctx, nil), nil},
		"SetWeight too high":           {view.SetWeight(ctx, "n", 1001), slotmesh.ErrInvalid},
		"SetWeight too low":            {view.SetWeight(ctx, "n", -2), slotmesh.ErrInvalid},
		"SetWeight of nobody":          {view.SetWeight(ctx, "nobody", slotmesh.OwnWeight), slotmesh.ErrUnknownNode},
		"SetAttribute without a key":   {view.SetAttribute("", "b"), slotmesh.ErrInvalid},
		"RotateSecret to none":         {c.RotateSecret(), slotmesh.ErrInvalid},
		"Txn of nothing":               {c.Txn(ctx, "tag", nil), slotmesh.ErrInvalid},
		"Batch without calls":          {c.Batch().Do(ctx), nil},
	} {
		wantErr(t, what, tt.got, tt.want)
	}
	if n := view.KeysIn(65535); n != 0 {
		t.Errorf("KeysIn(65535) = %d, want 0", n)
	}
	_, err := view.Report(ctx, "nobody")
	wantErr(t, "Report of nobody", err, slotmesh.ErrInvalid)
	_, err = view.Checkpoint(ctx, "n", "../up")
	wantErr(t, "Checkpoint outside of its directory", err, slotmesh.ErrInvalid)

	dir := t.TempDir()
	wantErr(t, "Checkpoint of no name", c.Checkpoint(""), slotmesh.ErrInvalid)
	if err := c.Checkpoint(dir); !errors.Is(err, slotmesh.ErrInvalid) || errors.Is(err, slotmesh.ErrDisk) {
		t.Errorf("Checkpoint to a directory that is there = %v, want ErrInvalid and not ErrDisk", err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	for what, err := range everyCall(over, c, "key") {
		wantErr(t, what+" out of time", err, context.Canceled)
	}
	for what, err := range everyOtherCall(over, c, "key") {
		if what == "Report of another" {
			wantErr(t, what, err, slotmesh.ErrInvalid)
			continue
		}
		wantErr(t, what+" out of time", err, context.Canceled)
	}
	wantErr(t, "Rebalance", view.Rebalance(ctx), nil) // what those changed has taken effect
	for what, err := range timeless(over, c, dir) {
		wantErr(t, what+" out of time", err, nil)
	}
	for range 2 {
		wantErr(t, "Close", c.Close(), nil)
		wantErr(t, "Shutdown of a closed cache", c.Shutdown(over), nil)
	}
	for what, err := range everyOtherCall(ctx, c, "key") {
		wantErr(t, what+" after Close", err, slotmesh.ErrClosed)
	}
	for what, err := range timeless(ctx, c, dir) {
		wantErr(t, what+" after Close", err, slotmesh.ErrClosed)
	}
}
