package node

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

func TestLoadRoundTrips(t *testing.T) {
	want := Load{Token: 1 << 60, Lease: 3 * time.Second, Wait: true, Ignore: 1 << 50}
	var got Load
	if ok := got.unpack(want.Call(0, "k").Value); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	waits := want.Call(0, "k").Value
	want.Look = true
	if ok := got.unpack(want.Call(0, "k").Value); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if b := want.Call(0, "k").Value; !bytes.HasPrefix(b, waits) {
		t.Errorf("%x does not begin with %x, as which earlier releases are to read it", b, waits)
	}
	long := Load{Token: 1, Lease: 1000 * time.Hour}
	if ok := got.unpack(long.Call(0, "k").Value); !ok || got.Lease != maxLoadLease {
		t.Errorf("got %+v, %v, want the longest lease", got, ok)
	}
	free := Release{Token: 9, How: ReleaseFailed, Text: "text"}
	var back Release
	if ok := back.unpack(free.Call(0, "k").Value); !ok || back != free {
		t.Errorf("got %+v, %v, want %+v", back, ok, free)
	}
}

// Who gives up while its question is on its way, or about to be asked again for it, is
// granted nothing that it would keep from others.
func TestWhoLeftIsGrantedNoLoad(t *testing.T) {
	n, s := openSlot(t)
	n.env.Uint64 = rand.Uint64
	ask := func(token uint64) int64 {
		var r Result
		c := Load{Token: token, Lease: time.Minute, Wait: true}.Call(s.no, "k")
		state := int64(-1)
		if err := n.load(&c, &transport.Request{Call: c, Timeout: 1e6}, &r, func(error) { state = r.Int }); err != nil {
			t.Fatal(err)
		}
		return state
	}
	release := func(token uint64) {
		c := Release{Token: token}.Call(s.no, "k")
		if err := n.giveBack(&c, new(Result), func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(4); got != LoadGranted {
		t.Fatalf("the first asks: %d", got)
	}
	if got := ask(5); got != -1 {
		t.Fatalf("the second asks: %d, want it to wait", got)
	}
	release(4)
	if len(n.lobby.ready) != 1 {
		t.Fatal("the second is not about to be asked for again")
	}
	release(5)
	g := n.lobby.ready[0]
	if err := n.run(&g.call, &g.req, g.r, g.done); err != nil || g.r.Int != LoadBusy {
		t.Errorf("the second, which has left, is told %d, %v", g.r.Int, err)
	}
	if got := ask(6); got != LoadGranted {
		t.Errorf("the third asks: %d, want the lease", got)
	}
}

func FuzzUnpackLoad(f *testing.F) {
	f.Add(Load{Token: 1, Lease: time.Second}.Call(0, "k").Value)
	f.Add(Release{Token: 1, How: ReleaseFailed, Text: "text"}.Call(0, "k").Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		var l Load
		if l.unpack(b) && (l.Lease < 0 || l.Lease > maxLoadLease || l.Token == 0) {
			t.Errorf("took %+v", l)
		}
		var r Release
		if r.unpack(b) && len(r.Text) > 1<<10 {
			t.Errorf("took a text of %d bytes", len(r.Text))
		}
	})
}
